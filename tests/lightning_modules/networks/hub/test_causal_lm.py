"""Models of the transformers library behind our protocol, and the Llama that equals our decoder."""

import pytest
import torch

from lightning_modules.networks.causal_network import branch_mask
from lightning_modules.networks.decoder.model import TinyDecoder
from lightning_modules.networks.decoder.to_transformers import as_llama
from lightning_modules.networks.hub.causal_lm import HubCausal
from tests.lightning_modules.tiny_models import tiny

V = 40


def decoder(**options):
    torch.manual_seed(0)
    return TinyDecoder(V, **{"width": 32, "layers": 2, "heads": 4, "limit": 64, "embedding_std": 1.0, **options})


def ids(*shape, seed=0):
    return torch.randint(3, V, shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def network():
    return HubCausal(as_llama(decoder()), limit=64, padding=0)


def logits(network, *args, **options):
    with torch.no_grad():
        return network.lm_head(network.hidden(*args, **options))


@pytest.mark.parametrize("options", [{}, {"tied": False}, {"rope_scaling": 2.0, "rope_base": 500.0}])
def test_the_llama_computes_what_our_decoder_computes(options):
    ours = decoder(**options)
    theirs = as_llama(ours)
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids(3, 30)).logits, ours.lm_head(ours(ids(3, 30))), atol=1e-4, rtol=1e-4)
    assert sum(weight.numel() for weight in theirs.parameters()) == sum(weight.numel() for weight in ours.parameters())


def test_a_llama_has_no_convolution():
    with pytest.raises(ValueError, match="convolution=0"):
        as_llama(decoder(convolution=4))


def test_packed_sequences_are_as_if_alone(network):
    one, other = ids(1, 5, seed=1), ids(1, 7, seed=2)
    packed = {"positions": torch.tensor([[*range(5), *range(7)]]), "segments": torch.tensor([[0] * 5 + [1] * 7])}
    found = logits(network, torch.cat((one, other), dim=1), **packed)
    alone = torch.cat((logits(network, one), logits(network, other)), dim=1)
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)


def test_both_responses_see_the_prompt_and_neither_the_other(network):
    prompt, chosen, rejected = ids(1, 6, seed=1), ids(1, 4, seed=2), ids(1, 3, seed=3)
    mask = branch_mask(torch.tensor([[0] * 6 + [1] * 4 + [2] * 3]))
    shared = torch.cat((prompt, chosen, rejected), dim=1)
    found = logits(network, shared, positions=torch.tensor([[*range(10), *range(6, 9)]]), mask=mask)
    torch.testing.assert_close(found[:, :10], logits(network, shared[:, :10]), atol=1e-5, rtol=1e-5)
    with_rejected = logits(network, torch.cat((prompt, rejected), dim=1))
    torch.testing.assert_close(found[:, 10:], with_rejected[:, 6:], atol=1e-5, rtol=1e-5)


def test_step_by_step_is_the_same_function_and_rows_may_leave(network):
    prompts = [[1, 5, 6, 7], [1], [1, 9]]
    decoding = network.open(prompts, copies=2, room=4)
    rows = [list(prompt) for prompt in prompts for _ in range(2)]
    alive, found = list(range(6)), decoding.logits.repeat_interleave(2, dim=0)
    for time, staying in enumerate(([0, 1, 2, 3, 4, 5], [0, 3, 5], [1, 2], [1])):
        full = torch.stack([logits(network, torch.tensor([rows[row]]))[0, -1] for row in alive])
        torch.testing.assert_close(found, full, atol=1e-4, rtol=1e-5)
        decoding.keep(torch.tensor(staying))
        alive = [alive[place] for place in staying]
        tokens = ids(len(alive), seed=time)
        for row, token in zip(alive, tokens.tolist(), strict=True):
            rows[row].append(token)
        found = decoding.step(tokens)


def test_too_long_and_contradictory_inputs_are_refused(network):
    with pytest.raises(ValueError, match="65 tokens"):
        network.hidden(ids(1, 65))
    with pytest.raises(ValueError, match="not both"):
        network.hidden(ids(1, 2), segments=torch.zeros(1, 2).long(), mask=torch.ones(1, 2, 2).bool())
    with pytest.raises(ValueError, match="limit of 64"):
        network.open([[1] * 60], copies=1, room=5)
    with pytest.raises(ValueError, match="start token"):
        network.open([[]], copies=1, room=5)


def test_a_pretrained_config_makes_a_language_model(tokenizer):
    model = tiny("causal", tokenizer, answer_prefix=" ", prompt_wrapper="{prompt} to").build_language_model(None)
    [prompt], [response] = model.codec.prompt_ids(["cause of"]), model.codec.response_ids(["effect"])
    assert response[-1] == model.codec.end and model.codec.texts([response]) == ["effect"]
    assert model.codec.texts([prompt]) == ["cause of to"]
    assert model.network.limit == 256 and model.is_new("anything")
    with pytest.raises(ValueError, match="seq2seq"):
        tiny("seq2seq", tokenizer).build_language_model(None)
