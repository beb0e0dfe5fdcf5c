"""What holds for every architecture: masks, scores that equal brute force, padding without influence."""

import pytest
import torch

from lightning_modules.losses.logps import IGNORED
from tests.lightning_modules.tiny_models import KINDS, LABELS, SENTENCES, tiny

PROMPTS = [text for text, _ in SENTENCES]


@pytest.fixture(params=KINDS)
def network(request, tokenizer):
    torch.manual_seed(0)
    return tiny(request.param, tokenizer).build().eval()


def logps(network, prompts, answers):
    with torch.no_grad():
        values, mask = network.answer_logps(network.collate(prompts, answers))
    return values, mask


def test_scores_equal_brute_force(network):
    scores = network.score(PROMPTS, LABELS)
    for row, prompt in enumerate(PROMPTS):
        for column, label in enumerate(LABELS):
            values, mask = logps(network, [prompt], [label])
            assert torch.isclose(scores.sums[row, column], values[mask].sum(), atol=1e-4), (prompt, label)
            assert scores.lengths[column] == mask.sum()


def test_scores_of_one_token_answers(network):
    scores = network.score(PROMPTS[:2], [""])
    assert scores.sums.shape == (2, 1) and scores.lengths.tolist() == [1]
    values, mask = logps(network, PROMPTS[:2], ["", ""])
    assert torch.allclose(scores.sums[:, 0], values.sum(-1), atol=1e-5) and mask.sum() == 2


def test_prompt_and_padding_carry_no_loss(network):
    answers = [LABELS[3], LABELS[0]]
    values, mask = logps(network, PROMPTS[:2], answers)
    lengths = network.score(PROMPTS[:1], answers).lengths
    assert lengths[0] < lengths[1] == mask.shape[1]
    assert mask.sum(-1).tolist() == lengths.tolist()
    assert bool((values[~mask] == 0).all()) and bool((values[mask] < 0).all())


def test_padding_of_a_short_answer_changes_nothing(network):
    batch = network.collate(PROMPTS[:2], [LABELS[3], LABELS[0]])
    alone = network.collate(PROMPTS[:1], [LABELS[3]])
    values, _ = network.answer_logps(batch)
    single, _ = network.answer_logps(alone)
    assert torch.allclose(values[0, : single.shape[1]], single[0], atol=1e-5)


def test_scores_do_not_depend_on_the_other_prompts_of_the_batch(network):
    together = network.score(PROMPTS, LABELS).sums
    alone = torch.cat([network.score([prompt], LABELS).sums for prompt in PROMPTS])
    assert torch.allclose(together, alone, atol=1e-4)


def test_generation_does_not_depend_on_the_other_prompts_of_the_batch(network):
    together = network.generate(PROMPTS, max_tokens=5)
    assert together == [network.generate([prompt], max_tokens=5)[0] for prompt in PROMPTS]


def test_too_long_a_prompt_is_refused_not_cut(network):
    text = "<e1>a</e1> <e2>b</e2> " + "word " * 200
    with pytest.raises(ValueError, match=r"prompt has \d+ tokens but the model reads at most"):
        network.collate([text], ["Other"])
    assert network.count_tokens(text) > network.prompt_limit


def test_labels_outside_the_answer_are_ignored(network):
    labels = network.collate(PROMPTS[:2], [LABELS[3], LABELS[0]])["labels"]
    assert bool((labels[0] == IGNORED).any()) and not bool((labels[1] == IGNORED).any())
