import math

import pytest
import torch

from lightning_modules.losses.dpo import dpo_loss
from lightning_modules.losses.lengths import TextScores
from lightning_modules.losses.ln_dpo import ln_dpo_loss


def scores(total, tokens, size):
    return TextScores(torch.tensor([total], dtype=torch.float64), torch.tensor([tokens]), torch.tensor([size]))


# The reference has another tokenizer: other token counts, the same bytes.
FOUR = scores(-6.0, 3, 12), scores(-8.0, 4, 10), scores(-6.0, 2, 12), scores(-9.0, 3, 10)


def softplus(x):
    return math.log1p(math.exp(x))


def test_worked_example_per_token_and_per_byte():
    """Per token: chosen -2 + 3 = 1, rejected -2 + 3 = 1, difference 0: ln 2. Per byte: chosen -0.5 + 0.5 = 0, rejected
    -0.8 + 0.9 = 0.1, difference -0.1: softplus(0.2) at beta 2."""
    assert ln_dpo_loss(*FOUR, beta=2.0).losses.item() == pytest.approx(math.log(2))
    result = ln_dpo_loss(*FOUR, beta=2.0, length_unit="byte")
    assert result.losses.item() == pytest.approx(softplus(0.2))
    assert result.rejected_rewards.item() == pytest.approx(0.2)


def test_without_normalising_it_is_dpo():
    plain = dpo_loss(*(each.sums for each in FOUR), beta=0.1, label_smoothing=0.2)
    assert torch.equal(ln_dpo_loss(*FOUR, beta=0.1, length_unit="sequence", label_smoothing=0.2).losses, plain.losses)


def test_gradient_raises_chosen_and_lowers_rejected_by_the_inverse_of_their_lengths():
    """At difference 0: -beta / 2 / 3 on the chosen sum and beta / 2 / 4 on the rejected one."""
    chosen, rejected = (each._replace(sums=each.sums.clone().requires_grad_()) for each in FOUR[:2])
    ln_dpo_loss(chosen, rejected, *FOUR[2:], beta=2.0).losses.sum().backward()
    assert chosen.sums.grad is not None and chosen.sums.grad.item() == pytest.approx(-1 / 3)
    assert rejected.sums.grad is not None and rejected.sums.grad.item() == pytest.approx(1 / 4)
