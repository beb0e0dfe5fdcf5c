"""Layouts of prompts and responses, by hand, and that none of them changes a log-probability."""

import pytest
import torch

from data.worlds.vocabulary import Vocabulary
from lightning_modules.losses.logps import IGNORED
from lightning_modules.networks.decoder.model import TinyDecoder
from lightning_modules.networks.language_model import LanguageModel, WorldCodec
from lightning_modules.networks.token_batch import packed_batch, padded_batch, shared_prompt_batch

PROMPTS = [[1, 5, 6], [1, 7], [1, 8, 9, 5]]
RESPONSES = [[7, 2], [9, 8, 6, 2], [2]]
OTHERS = [[8, 8, 2], [2], [5, 2]]


def language_model(convolution=0):
    torch.manual_seed(0)
    network = TinyDecoder(12, width=32, layers=2, heads=4, limit=64, embedding_std=1.0, convolution=convolution)
    return LanguageModel(network, WorldCodec(Vocabulary("abcdefghi", separator="")), pretrained=False)


@pytest.fixture(params=[0, 4], ids=["plain", "convolution"])
def model(request):
    return language_model(request.param)


def by_hand(model, prompt, response):
    """Log-probability of each response token, from one plain pass over one sequence."""
    ids = torch.tensor([[*prompt, *response]])
    logps = model.network.lm_head(model.network.hidden(ids))[0].log_softmax(-1)
    return [logps[len(prompt) - 1 + place, token].item() for place, token in enumerate(response)]


def check(model, batch, prompts, responses):
    logps, mask = model.response_logps(batch)
    assert mask.sum(-1).tolist() == [len(response) for response in responses]
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        assert logps[row, : len(response)].tolist() == pytest.approx(by_hand(model, prompt, response), abs=1e-5)
        assert not logps[row, len(response) :].any()


def test_padded_rows_by_hand():
    batch = padded_batch(PROMPTS[:2], RESPONSES[:2], padding=0)
    assert batch.ids.tolist() == [[1, 5, 6, 7, 2, 0], [1, 7, 9, 8, 6, 2]]
    # State 2 of row 0 predicts its first response token; row 1 begins at 6 and its prompt ends at 7.
    assert batch.sources.tolist() == [[2, 3, 0, 0], [7, 8, 9, 10]]
    assert batch.targets.tolist() == [[7, 2, IGNORED, IGNORED], [9, 8, 6, 2]]
    assert (batch.positions, batch.segments, batch.branches, batch.read.item()) == (None, None, None, 11)


def test_packed_rows_by_hand():
    # Lengths 5, 6, 5 in rows of 11: 6 and 5 share the first row, the third sequence gets a row of its own.
    batch = packed_batch(PROMPTS, RESPONSES, row_length=11, padding=0)
    assert batch.ids.tolist() == [[1, 7, 9, 8, 6, 2, 1, 5, 6, 7, 2], [1, 8, 9, 5, 2, 0, 0, 0, 0, 0, 0]]
    assert batch.positions[0].tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4]
    assert batch.segments.tolist() == [[1] * 6 + [0] * 5, [2] * 5 + [-1] * 6]
    assert batch.sources.tolist() == [[8, 9, 0, 0], [1, 2, 3, 4], [14, 0, 0, 0]]
    assert batch.read.item() == 16


def test_shared_prompts_by_hand():
    batch = shared_prompt_batch(PROMPTS[:2], RESPONSES[:2], OTHERS[:2], padding=0)
    assert batch.ids.tolist() == [[1, 5, 6, 7, 2, 8, 8, 2], [1, 7, 9, 8, 6, 2, 2, 0]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 3, 4, 5], [0, 1, 2, 3, 4, 5, 2, 0]]
    assert batch.branches.tolist() == [[0, 0, 0, 1, 1, 2, 2, 2], [0, 0, 1, 1, 1, 1, 2, 3]]
    # Both first tokens come from the prompt's last state: 2 in row 0, 9 in row 1.
    assert batch.sources.tolist() == [[2, 3, 0, 0], [9, 10, 11, 12], [2, 5, 6, 0], [9, 0, 0, 0]]


def test_no_layout_changes_a_log_probability(model):
    check(model, padded_batch(PROMPTS, RESPONSES, padding=0), PROMPTS, RESPONSES)
    check(model, packed_batch(PROMPTS, RESPONSES, row_length=11, padding=0), PROMPTS, RESPONSES)
    check(model, shared_prompt_batch(PROMPTS, RESPONSES, OTHERS, padding=0), PROMPTS * 2, RESPONSES + OTHERS)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_chunks_change_neither_values_nor_gradients(model, temperature):
    batch = padded_batch(PROMPTS, RESPONSES, padding=0)
    found = []
    for chunk in (None, 2):
        model.zero_grad()
        logps, _ = model.response_logps(batch, temperature=temperature, chunk=chunk)
        logps.sum().backward()
        found.append((logps, [weight.grad.clone() for weight in model.parameters()]))
    torch.testing.assert_close(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("lay", [
    lambda: padded_batch([[1], []], [[2], [2]], padding=0),
    lambda: packed_batch([[], [1]], [[2], [2]], row_length=4, padding=0),
    lambda: shared_prompt_batch([[]], [[2]], [[3]], padding=0),
])  # fmt: skip
def test_an_empty_prompt_is_refused_and_reads_no_other_row(lay):
    with pytest.raises(ValueError, match="a prompt without tokens predicts nothing"):
        lay()


def test_a_sequence_longer_than_a_row_or_the_network_is_refused(model):
    with pytest.raises(ValueError, match=r"method\.packing"):
        packed_batch(PROMPTS, RESPONSES, row_length=5, padding=0)
    with pytest.raises(ValueError, match="limit of 64"):
        model.check_lengths([[1] * 60], [[2] * 5])
    model.check_lengths([[1] * 60], [[2] * 4])
