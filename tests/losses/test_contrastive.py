import math

import pytest
import torch

from lightning_modules.losses.contrastive import contrastive_loss


def test_value_by_hand():
    # Similarities of query 0: 1 to its own text, 0 to the other; at temperature 0.5 the logits are 2 and 0.
    # loss = -log(e^2 / (e^2 + 1)) = log(1 + e^-2). Query 1: its own 0.6, the other 0.8; logits 1.2 and 1.6.
    queries = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    wanted = [math.log(1 + math.exp(-2)), math.log(1 + math.exp(1.6 - 1.2))]
    assert contrastive_loss(queries, texts, temperature=0.5).tolist() == pytest.approx(wanted)


def test_equal_vectors_cost_the_logarithm_of_the_batch():
    ones = torch.ones(5, 3)
    assert contrastive_loss(ones, ones, temperature=0.1).tolist() == pytest.approx([math.log(5)] * 5)


def test_a_text_that_answers_both_is_no_negative():
    queries = torch.eye(3)
    texts = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 0, 1.0]])
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    masked = contrastive_loss(queries, texts, temperature=1.0, same=same)
    # Query 0 is left with its own text (1) against the third (0).
    assert masked[0].item() == pytest.approx(math.log(1 + math.exp(-1)))
    assert contrastive_loss(queries, texts, temperature=1.0)[0] > masked[0]
    # Alone in its batch, or with nothing but copies, a query costs nothing.
    everything = torch.ones(3, 3, dtype=torch.bool)
    assert contrastive_loss(queries, texts, temperature=1.0, same=everything).tolist() == [0] * 3


def test_a_step_down_the_gradient_brings_pairs_together_and_others_apart():
    queries = torch.tensor([[1.0, 0.2], [0.1, 1.0]], requires_grad=True)
    texts = torch.tensor([[0.5, 0.5], [0.4, 0.6]])
    contrastive_loss(queries, texts, temperature=1.0).sum().backward()
    moved = queries.detach() - 0.1 * queries.grad
    before, after = queries.detach() @ texts.T, moved @ texts.T
    own = (after - before).diagonal()
    assert (own > (after - before).flip(1).diagonal()).all() and queries.grad.isfinite().all()


@pytest.mark.parametrize(
    "bad",
    [
        {"queries": torch.ones(2, 3), "texts": torch.ones(3, 3), "temperature": 1.0},
        {"queries": torch.ones(2, 3), "texts": torch.ones(2, 3), "temperature": 0.0},
        {"queries": torch.ones(2, 3), "texts": torch.ones(2, 3), "temperature": 1.0, "same": torch.ones(3, 3).bool()},
    ],
)
def test_bad_arguments_are_refused(bad):
    with pytest.raises(ValueError):
        contrastive_loss(**bad)
