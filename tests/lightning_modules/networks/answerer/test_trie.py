"""The tree of answers: a small one by hand, and a decoder that reads it as it reads the answers one by one."""

import pytest
import torch

from lightning_modules.networks.answerer.label_vocabulary import START
from lightning_modules.networks.answerer.trie import answer_trie
from tests.lightning_modules.networks.answerer.test_marked_generator import PROMPTS, build

ANSWERS = ("part of", "part", "part of a whole", "member of", "Cause-Effect(e1,e2)", "Cause-Effect(e2,e1)", "part of")


def test_a_tree_by_hand():
    # Prefixes: (), (5), (5 6), (7); the second answer is the beginning of the first, with its end (2).
    trie = answer_trie([[5, 6, 2], [5, 2], [7, 2]], start=1)
    assert trie.pieces.tolist() == [1, 5, 6, 7] and trie.depths.tolist() == [0, 1, 2, 1]
    assert trie.visible.int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 1]]
    assert trie.nodes.tolist() == [[0, 1, 2], [0, 1, 0], [0, 3, 0]]
    assert trie.targets.tolist() == [[5, 6, 2], [5, 2, 0], [7, 2, 0]]
    logps = torch.zeros(1, 4, 8)
    logps[0, 0, 5], logps[0, 1, 6], logps[0, 2, 2], logps[0, 1, 2], logps[0, 0, 7], logps[0, 3, 2] = range(1, 7)
    logps[0, 0, 0] = 100.0  # what stands beyond an answer's end counts nothing
    assert trie.sums(logps).tolist() == [[1 + 2 + 3, 1 + 4, 5 + 6]]


@pytest.mark.parametrize("answers", [[], [[3], []]])
def test_nothing_is_no_tree(answers):
    with pytest.raises(ValueError, match="at least one"):
        answer_trie(answers, start=1)


def test_a_decoder_scores_the_tree_as_it_scores_answers_alone(tokenizer):
    network = build(tokenizer).eval()
    scores = network.score(PROMPTS, ANSWERS)
    trie = answer_trie(network._pieces(ANSWERS), start=START)
    assert len(trie.pieces) < trie.mask.sum() < trie.mask.numel()
    for column, answer in enumerate(ANSWERS):
        logps, mask = network.answer_logps(network.collate(PROMPTS, [answer] * len(PROMPTS)))
        assert torch.allclose(scores.sums[:, column], (logps * mask).sum(-1), atol=1e-5)
        assert int(scores.lengths[column]) == int(mask[0].sum())
    assert torch.equal(scores.sums[:, 0], scores.sums[:, 6])
