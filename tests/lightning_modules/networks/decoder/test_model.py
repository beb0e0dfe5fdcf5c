"""The small decoder: what a token sees, and that decoding step by step is the same function."""

import pytest
import torch

from lightning_modules.networks.causal_network import branch_mask, segment_mask
from lightning_modules.networks.decoder import model as tiny_decoder
from lightning_modules.networks.decoder.model import Convolution, Sight, TinyDecoder, rope_angles, rotate

V = 40


def decoder(convolution=0, **options):
    torch.manual_seed(0)
    sizes = {"width": 32, "layers": 2, "heads": 4, "limit": 64, "embedding_std": 1.0, "convolution": convolution}
    return TinyDecoder(V, **{**sizes, **options}).eval()


def ids(*shape, seed=0):
    return torch.randint(3, V, shape, generator=torch.Generator().manual_seed(seed))


def logits(network, *args, **options):
    return network.lm_head(network(*args, **options))


@pytest.fixture(params=[0, 4], ids=["plain", "convolution"])
def network(request):
    return decoder(request.param)


def test_shapes_and_number_of_parameters():
    network = TinyDecoder(248, width=64, layers=2, heads=4)
    assert network.feedforward == 168  # 8/3 * 64 = 170.7
    layer = 64 * 192 + 64 * 64 + 3 * 64 * 168 + 2 * 64
    assert sum(weight.numel() for weight in network.parameters()) == 248 * 64 + 2 * layer + 64
    untied = TinyDecoder(248, width=64, layers=2, heads=4, tied=False, convolution=4)
    assert sum(weight.numel() for weight in untied.parameters()) == 2 * 248 * 64 + 2 * (layer + 4 * 64) + 64
    assert logits(network, ids(3, 5)).shape == (3, 5, 248)


def test_no_token_sees_a_later_one(network):
    changed = ids(2, 12)
    before = logits(network, changed)
    changed[:, 7] = 3
    after = logits(network, changed)
    assert torch.equal(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:], atol=1e-2)


@pytest.mark.parametrize("masked_up_to", [2048, 0], ids=["one mask", "segment by segment"])
def test_packed_sequences_are_as_if_alone(network, masked_up_to, monkeypatch):
    monkeypatch.setattr(tiny_decoder, "_MASKED_UP_TO", masked_up_to)
    rows = [[ids(1, 5, seed=1), ids(1, 7, seed=2)], [ids(1, 2, seed=3), ids(1, 10, seed=4)]]
    packed = torch.cat([torch.cat(row, dim=1) for row in rows])
    segments = torch.tensor([[0] * 5 + [1] * 7, [2] * 2 + [3] * 10])
    positions = torch.tensor([[*range(5), *range(7)], [*range(2), *range(10)]])
    found = logits(network, packed, positions=positions, segments=segments)
    alone = torch.cat([torch.cat([logits(network, one) for one in row], dim=1) for row in rows])
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("masked_up_to", [2048, 0], ids=["one mask", "segment by segment"])
def test_changing_one_packed_sequence_changes_no_other(network, masked_up_to, monkeypatch):
    monkeypatch.setattr(tiny_decoder, "_MASKED_UP_TO", masked_up_to)
    packed, segments = ids(1, 12), torch.tensor([[0] * 5 + [1] * 7])
    positions = torch.tensor([[*range(5), *range(7)]])
    before = logits(network, packed, positions=positions, segments=segments)
    for place, others in ((4, slice(5, 12)), (6, slice(0, 5))):
        changed = packed.clone()
        changed[0, place] = 3 if packed[0, place] != 3 else 4
        after = logits(network, changed, positions=positions, segments=segments)
        assert torch.equal(before[:, others], after[:, others])
        assert not torch.equal(before[0, place], after[0, place])


def test_both_responses_see_the_prompt_and_neither_the_other(network):
    prompt, chosen, rejected = ids(1, 6, seed=1), ids(1, 4, seed=2), ids(1, 3, seed=3)
    shared = torch.cat((prompt, chosen, rejected), dim=1)
    positions = torch.tensor([[*range(10), *range(6, 9)]])
    mask = branch_mask(torch.tensor([[0] * 6 + [1] * 4 + [2] * 3]))
    found = logits(network, shared, positions=positions, mask=mask)
    with_chosen = logits(network, torch.cat((prompt, chosen), dim=1))
    with_rejected = logits(network, torch.cat((prompt, rejected), dim=1))
    torch.testing.assert_close(found[:, :10], with_chosen, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[:, 10:], with_rejected[:, 6:], atol=1e-5, rtol=1e-5)


def test_masks_by_hand():
    assert segment_mask(torch.tensor([[5, 5, 6]])).int().tolist() == [[[1, 0, 0], [1, 1, 0], [0, 0, 1]]]
    rows = [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]]
    assert branch_mask(torch.tensor([[0, 1, 2, 2]])).int().tolist() == [rows]


def test_convolution_by_hand():
    mixer = Convolution(1, 3)
    mixer.weight.data = torch.tensor([[1.0], [10.0], [100.0]])
    states = torch.tensor([[[1.0], [2.0], [3.0]]])
    # Token 2 is 3 itself, and of the mix 1 * 3 + 10 * 2 + 100 * 1.
    plain = Sight(torch.empty(0), torch.empty(0))
    assert mixer(states, plain).flatten().tolist() == [2.0, 4 + 10, 6 + 20 + 100]
    assert mixer(states[:, :1], plain).flatten().tolist() == [2.0]


def test_rotation_depends_on_distances_alone_and_is_scaled():
    angles = rope_angles(40, 8, base=100.0, scaling=1.0)
    assert angles[3].tolist() == pytest.approx([3.0, 3 * 100**-0.25, 3 * 100**-0.5, 3 * 100**-0.75])
    torch.testing.assert_close(rope_angles(40, 8, base=100.0, scaling=4.0)[36], angles[9])
    query, key = torch.randn(2, 1, 1, 8, dtype=torch.float64)

    def turned(states, at):
        return rotate(states, angles[at].cos(), angles[at].sin())

    def score(at, other):
        return (turned(query, at) * turned(key, other)).sum()

    torch.testing.assert_close(score(7, 2), score(25, 20))
    assert abs(score(7, 2) - score(7, 3)) > 1e-3


@pytest.mark.parametrize("tied", [True, False])
def test_step_by_step_is_the_same_function_and_rows_may_leave(network, tied):
    network = decoder(network.convolution, tied=tied)
    prompts = [[1, 5, 6, 7, 8, 9], [1], [1, 9, 8]]  # a prompt shorter than the convolution too
    copies, room = 3, 6
    decoding = network.open(prompts, copies=copies, room=room)
    rows = [list(prompt) for prompt in prompts for _ in range(copies)]
    alive = list(range(9))
    found = decoding.logits.repeat_interleave(copies, dim=0)
    # First uneven groups (3, 1, 2), then whole groups gone (1, 0, 2), then one row.
    leaving = {1: [0, 1, 2, 4, 6, 8], 3: [1, 4, 5], 5: [2]}
    for time in range(room):
        with torch.no_grad():
            full = torch.stack([logits(network, torch.tensor([rows[row]]))[0, -1] for row in alive])
        torch.testing.assert_close(found, full, atol=1e-4, rtol=1e-5)
        if time in leaving:
            decoding.keep(torch.tensor(leaving[time]))
            alive = [alive[place] for place in leaving[time]]
        tokens = ids(len(alive), seed=time)
        for row, token in zip(alive, tokens.tolist(), strict=True):
            rows[row].append(token)
        found = decoding.step(tokens)
    assert alive == [8] and found.shape == (1, V)


def test_checkpointing_changes_no_gradient():
    gradients = []
    for gradient_checkpointing in (False, True):
        network = decoder(4, gradient_checkpointing=gradient_checkpointing).train()
        logits(network, ids(2, 9)).square().mean().backward()
        gradients.append([weight.grad for weight in network.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
        assert one.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"width": 36}, "multiple of 2 \\* heads = 8"),
        ({"layers": 0}, "layers"),
        ({"convolution": 1}, "convolution"),
        ({"rope_scaling": 0.5}, "rope_scaling"),
        ({"embedding_std": 0.0}, "embedding_std"),
        ({"feedforward": 0}, "feedforward"),
    ],
)
def test_bad_sizes_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        decoder(**options)


def test_too_long_and_contradictory_inputs_are_refused():
    network = decoder()
    with pytest.raises(ValueError, match="65 tokens"):
        network(ids(1, 65))
    with pytest.raises(ValueError, match="not both"):
        network(ids(1, 3), segments=torch.zeros(1, 3, dtype=torch.long), mask=torch.ones(1, 3, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="limit of 64"):
        network.open([[1] * 60], copies=1, room=5)
    with pytest.raises(ValueError, match="start token"):
        network.open([[1], []], copies=1, room=5)
