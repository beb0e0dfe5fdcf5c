"""Rollouts: what is sampled, with which probabilities, and that batching and early leaving change nothing."""

import gc
import math

import pytest
import torch

from data.records.texts import Demonstration
from data.worlds.vocabulary import END, Vocabulary
from lightning_modules.networks.decoder.model import TinyDecoder
from lightning_modules.networks.decoder.to_transformers import as_llama
from lightning_modules.networks.hub.causal_lm import HubCausal
from lightning_modules.networks.language_model import LanguageModel, WorldCodec
from lightning_modules.networks.token_batch import padded_batch
from lightning_modules.sampling import cuda_graphs
from lightning_modules.sampling.sampler import Sampler, complete

LETTERS = "abcdefghij"
PROMPTS = [[1, 3, 4, 5], [1], [1, 7, 7], [1, 9, 8, 7, 6, 5, 4]]


def build(convolution=0, hub=False, seed=0, embedding_std=0.3):
    torch.manual_seed(seed)
    network = TinyDecoder(
        13, width=32, layers=2, heads=4, limit=64, embedding_std=embedding_std, convolution=convolution
    )
    codec = WorldCodec(Vocabulary(LETTERS, separator=""))
    return LanguageModel(HubCausal(as_llama(network), limit=64, padding=0) if hub else network, codec, pretrained=False)


@pytest.fixture(scope="module", params=["plain", "convolution", "hub"])
def model(request):
    return build(4 * (request.param == "convolution"), request.param == "hub")


def rollouts(model, prompts=PROMPTS, *, copies=5, seed=0, **options):
    sampler = Sampler(**{"max_tokens": 12, **options})
    return sampler.sample(model, prompts, copies=copies, generator=torch.Generator().manual_seed(seed))


def test_shapes_ends_and_padding(model):
    found = rollouts(model, copies=8)
    assert found.tokens.shape == found.logps.shape == found.mask.shape == (32, int(found.lengths.max()))
    assert 0 < found.finished.sum() < 32  # some ended by themselves, some ran out of room
    for row, tokens in enumerate(found.rows()):
        assert (END in tokens) == bool(found.finished[row])
        assert END not in tokens[:-1] and len(tokens) == found.lengths[row]
        assert found.finished[row] or len(tokens) == 12
    assert not found.tokens[~found.mask].any() and not found.logps[~found.mask].any()
    assert (found.logps[found.mask] < 0).all()


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7}, {"temperature": 1.5, "top_p": 0.8}, {"temperature": 0}])
def test_log_probabilities_are_those_of_the_training_pass(model, options):
    found = rollouts(model, leave_share=0.05, **options)
    prompts = [prompt for prompt in PROMPTS for _ in range(5)]
    batch = padded_batch(prompts, found.rows(), padding=0)
    with torch.no_grad():
        trained, mask = model.response_logps(batch, temperature=options.get("temperature", 1.0) or 1.0)
    assert torch.equal(mask, found.mask)
    assert (trained - found.logps).abs().max() < 1e-4


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_neither_batching_nor_early_leaving_changes_a_response(model, temperature):
    apart = {"temperature": temperature, "max_tokens": 12}
    never = rollouts(model, leave_share=1.0, **apart)
    for options in ({"leave_share": 0.01}, {"leave_share": 0.3}, {"batch": 1}, {"batch": 10}):
        found = rollouts(model, **options, **apart)
        assert found.rows() == never.rows()
        torch.testing.assert_close(found.logps, never.logps, atol=1e-4, rtol=1e-4)


def test_the_generator_alone_decides(model):
    assert rollouts(model).rows() == rollouts(model).rows()
    assert rollouts(model).rows() != rollouts(model, seed=1).rows()
    # The global generator has no part in it, and is left alone.
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    rollouts(model)
    assert torch.equal(before, torch.random.get_rng_state())


def test_copies_differ_and_greedy_ones_do_not(model):
    sampled = rollouts(model, copies=6).rows()
    assert len({tuple(row) for row in sampled[:6]}) > 1
    greedy = rollouts(model, copies=2, temperature=0).rows()
    assert greedy[0::2] == greedy[1::2]


def test_greedy_takes_the_most_probable_token_each_time(model):
    [row] = rollouts(model, [[1, 3, 4, 5]], copies=1, temperature=0).rows()
    written = [1, 3, 4, 5]
    for token in row:
        with torch.no_grad():
            logits = model.network.lm_head(model.network.hidden(torch.tensor([written])))[0, -1]
        assert token == logits.argmax()
        written.append(token)


def test_tokens_are_drawn_in_proportion_to_their_probability():
    sampler = Sampler(max_tokens=1, temperature=2.0)
    probabilities = torch.tensor([0.5, 0.0, 0.2, 0.3])
    # Uniform numbers at the middle of 1,000 equal intervals: counts are exact.
    uniforms = (torch.arange(1000) + 0.5) / 1000
    logits = (2.0 * probabilities.log()).expand(1000, -1)
    tokens, logps = sampler.choose(logits, uniforms)
    assert torch.bincount(tokens, minlength=4).tolist() == [500, 0, 200, 300]
    assert logps[0].item() == pytest.approx(math.log(0.5)) and logps[-1].item() == pytest.approx(math.log(0.3))


def test_nucleus_keeps_the_fewest_tokens_that_have_enough():
    probabilities = torch.tensor([0.1, 0.5, 0.15, 0.25])
    uniforms = (torch.arange(300) + 0.5) / 300
    logits = probabilities.log().expand(300, -1)
    # 0.5 + 0.25 reach 0.7; they are drawn 2 to 1, and keep the log-probability that they had.
    tokens, logps = Sampler(max_tokens=1, top_p=0.7).choose(logits, uniforms)
    assert torch.bincount(tokens, minlength=4).tolist() == [0, 200, 0, 100]
    assert logps[0].item() == pytest.approx(math.log(0.5))
    tokens, _ = Sampler(max_tokens=1, top_p=0.01).choose(logits, uniforms)
    assert set(tokens.tolist()) == {1}


def test_the_largest_uniform_number_never_falls_off_the_end():
    logits = torch.zeros(1, 1000)
    logits[0, 500:] = -torch.inf
    tokens, _ = Sampler(max_tokens=1).choose(logits, torch.tensor([1 - 2**-22]))
    assert tokens.item() < 500


def test_sampling_frequencies_follow_the_model():
    model = build()
    with torch.no_grad():
        expected = model.network.lm_head(model.network.hidden(torch.tensor([[1, 3]])))[0, -1].softmax(-1)
    found = rollouts(model, [[1, 3]], copies=4000, max_tokens=1)
    shares = torch.bincount(found.tokens[:, 0], minlength=13) / 4000
    assert (shares - expected).abs().max() < 4 * math.sqrt(0.25 / 4000)  # four standard errors


def test_results_can_enter_a_graph_and_the_mode_is_restored(model):
    model.train()
    found = rollouts(model)
    assert model.training
    weight = torch.ones((), requires_grad=True)
    (weight * found.logps).sum().backward()
    assert weight.grad == found.logps.sum()


def test_completions_name_their_examples(model):
    items = [Demonstration("x", "abc", ""), Demonstration("y", "j", "")]
    seen = []
    sampler = Sampler(max_tokens=6, batch=2)
    found = complete(model, items, sampler, copies=2, seed=3, progress=lambda *step: seen.append(step))
    assert [(one.example_id, one.sample) for one in found] == [("x", 0), ("x", 1), ("y", 0), ("y", 1)]
    assert all(one.tokens == len(one.response) + one.finished for one in found if "<" not in one.response)
    assert all(one.logp < 0 for one in found) and seen == [(1, 2), (2, 2)]
    again = complete(model, items, Sampler(max_tokens=6), copies=2, seed=3)
    assert [one._replace(logp=0.0) for one in found] == [one._replace(logp=0.0) for one in again]
    assert complete(model, [], sampler, copies=2, seed=3) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"batch": 0}, "batch"),
        ({"leave_share": 0.0}, "leave_share"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Sampler(**{"max_tokens": 3, **options})


def test_nothing_to_sample_is_refused(model):
    with pytest.raises(ValueError, match="at least one prompt"):
        rollouts(model, [])
    with pytest.raises(ValueError, match="copy"):
        rollouts(model, copies=0)
    with pytest.raises(ValueError, match="limit of 64"):
        rollouts(model, max_tokens=64)


@pytest.mark.parametrize("convolution", [0, 4])
@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "top_p": 0.8}, {"temperature": 0.0}, {"batch": 10}])
def test_fixed_shapes_change_no_response(convolution, options):
    model = build(convolution)
    found, wanted = rollouts(model, fixed=True, **options), rollouts(model, fixed=False, **options)
    assert found.rows() == wanted.rows()
    torch.testing.assert_close(found.logps, wanted.logps, atol=1e-4, rtol=1e-4)


def test_buffers_are_used_again_and_hold_nothing_of_the_batch_before():
    model = build(4)
    few = [[1, 3], [1, 4, 5], [1, 9, 3, 4, 4, 4, 4, 4, 4], [1, 4], [1, 6]]
    for prompts in (few[:3] * 3, few * 2, few[:3] * 3):  # 9 and 10 prompts share one size
        assert rollouts(model, prompts, fixed=True).rows() == rollouts(model, prompts, fixed=False).rows()
    assert len(cuda_graphs._kept[model.network]) == 1


def test_fixed_shapes_read_the_weights_as_they_are_now():
    model = build()
    before = rollouts(model, fixed=True).rows()
    with torch.no_grad():
        model.network.layers[0].output.weight.mul_(-3)
    assert rollouts(model, fixed=True).rows() == rollouts(model, fixed=False).rows() != before


def test_buffers_go_when_they_are_too_many_or_their_network_goes(monkeypatch):
    model = build()
    monkeypatch.setattr(cuda_graphs, "_KEPT_BYTES", 1)
    for room in (3, 4, 5):
        rollouts(model, max_tokens=room, fixed=True)
    assert len(cuda_graphs._kept[model.network]) == 1
    known = len(cuda_graphs._kept)
    del model
    gc.collect()
    assert len(cuda_graphs._kept) == known - 1


def test_batches_are_filled_up_by_at_most_a_quarter():
    sizes = [cuda_graphs._filled(count) for count in range(1, 600)]
    assert all(count <= size <= 1.25 * count for count, size in enumerate(sizes, start=1))
    assert len(set(sizes)) < 40


def test_networks_without_fixed_shapes_say_so():
    with pytest.raises(ValueError, match="fixed"):
        rollouts(build(hub=True), fixed=True)


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
def test_on_a_gpu_graphs_write_what_training_scores(compiled):
    model = build(4).to("cuda")
    batch = None
    for _ in range(2):
        found = rollouts(model, compiled=compiled)
        prompts = [prompt for prompt in PROMPTS for _ in range(5)]
        batch = padded_batch(prompts, found.rows(), padding=0).to(model.device)
        with torch.no_grad():
            trained, _ = model.response_logps(batch)
            assert (trained - found.logps).abs().max() < 1e-4
            model.network.layers[0].output.weight.mul_(-1)  # the graph reads the new weights


@pytest.mark.gpu
def test_on_a_gpu_graphs_outlive_others_that_were_dropped(monkeypatch):
    monkeypatch.setattr(cuda_graphs, "_KEPT_BYTES", 1)
    model = build().to("cuda")
    for room in (12, 10, 12):
        first = rollouts(model, max_tokens=room).rows()
        torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.empty_cache()
        assert rollouts(model, max_tokens=room).rows() == first


@pytest.mark.parametrize("fixed", [False, True])
def test_any_of_several_ends_ends_a_response(fixed):
    """A chat model ends its turn with one token and documents with another: whichever comes first."""
    model = build()
    plain = rollouts(model, copies=8, fixed=fixed)
    other = next(token for row in plain.rows() for token in row[:-1] if token != END)
    model.codec.ends = frozenset({END, other})
    found = rollouts(model, copies=8, fixed=fixed)
    for before, row in zip(plain.rows(), found.rows(), strict=True):
        place = next((at for at, token in enumerate(before) if token in (END, other)), len(before) - 1)
        assert row == before[: place + 1]
    assert {row[-1] for row, done in zip(found.rows(), found.finished, strict=True) if done} == {END, other}
    assert not any(done and row[-1] not in (END, other) for row, done in zip(found.rows(), found.finished, strict=True))
