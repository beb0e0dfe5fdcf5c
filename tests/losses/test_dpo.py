import math

import pytest
import torch

from lightning_modules.losses.dpo import dpo_loss, ipo_loss


def tensors(*values):
    return [torch.tensor([value], dtype=torch.float64) for value in values]


# Chosen log-ratio -1 - (-2) = 1, rejected -3 - (-2.5) = -0.5: the difference is 1.5.
PAIR = tensors(-1.0, -3.0, -2.0, -2.5)


def softplus(x):
    return math.log1p(math.exp(x))


def test_dpo_worked_example():
    """Difference 1.5, beta 0.2: logit 0.3, loss -log sigmoid(0.3) = ln(1 + e^-0.3); rewards 0.2 * 1 and 0.2 * -0.5."""
    result = dpo_loss(*PAIR, beta=0.2)
    assert result.losses.item() == pytest.approx(softplus(-0.3))
    assert result.chosen_rewards.item() == pytest.approx(0.2)
    assert result.rejected_rewards.item() == pytest.approx(-0.1)


def test_dpo_label_smoothing_mixes_the_flipped_pair():
    """Logit 0.3, 10% flips: 0.9 ln(1 + e^-0.3) + 0.1 ln(1 + e^0.3)."""
    loss = dpo_loss(*PAIR, beta=0.2, label_smoothing=0.1).losses.item()
    assert loss == pytest.approx(0.9 * softplus(-0.3) + 0.1 * softplus(0.3))


def test_dpo_at_zero_margin_is_log_two():
    policy = tensors(-7.0, -9.0)
    assert dpo_loss(*policy, *policy, beta=0.1).losses.item() == pytest.approx(math.log(2))


def test_dpo_swapping_chosen_and_rejected_adds_the_logit():
    """-log sigmoid(-z) + log sigmoid(z) = z, and z = 0.3 here."""
    chosen, rejected, ref_chosen, ref_rejected = PAIR
    swapped = dpo_loss(rejected, chosen, ref_rejected, ref_chosen, beta=0.2).losses
    assert (swapped - dpo_loss(*PAIR, beta=0.2).losses).item() == pytest.approx(0.3)


def test_dpo_gradient_raises_chosen_and_lowers_rejected():
    """d loss / d policy_chosen = -beta sigmoid(-0.3), and the opposite for the rejected."""
    chosen, rejected = (value.clone().requires_grad_() for value in PAIR[:2])
    result = dpo_loss(chosen, rejected, *PAIR[2:], beta=0.2)
    assert not result.chosen_rewards.requires_grad and not result.rejected_rewards.requires_grad
    result.losses.sum().backward()
    expected = 0.2 / (1 + math.exp(0.3))
    assert chosen.grad is not None and chosen.grad.item() == pytest.approx(-expected)
    assert rejected.grad is not None and rejected.grad.item() == pytest.approx(expected)


def test_dpo_is_finite_for_extreme_ratios():
    chosen = torch.tensor([-5000.0, 5000.0], requires_grad=True)
    zeros = torch.zeros(2)
    losses = dpo_loss(chosen, zeros, zeros, zeros, beta=1.0).losses
    losses.sum().backward()
    assert losses.tolist() == [5000.0, 0.0]
    assert chosen.grad is not None and chosen.grad.tolist() == [-1.0, 0.0]


def test_ipo_worked_example():
    """Difference 1.5, beta 0.25: target 1 / 0.5 = 2, loss (1.5 - 2)^2 = 0.25; the gradient on chosen is 2 * -0.5."""
    chosen = PAIR[0].clone().requires_grad_()
    result = ipo_loss(chosen, *PAIR[1:], beta=0.25)
    assert result.losses.item() == pytest.approx(0.25)
    result.losses.sum().backward()
    assert chosen.grad is not None and chosen.grad.item() == pytest.approx(-1.0)
    assert result.chosen_rewards.item() == pytest.approx(0.25)
    assert result.rejected_rewards.item() == pytest.approx(-0.125)


def test_ipo_swapping_chosen_and_rejected():
    """The difference becomes -1.5: (-1.5 - 2)^2 = 12.25."""
    chosen, rejected, ref_chosen, ref_rejected = PAIR
    assert ipo_loss(rejected, chosen, ref_rejected, ref_chosen, beta=0.25).losses.item() == pytest.approx(12.25)


def test_half_precision_inputs_are_raised_before_the_difference():
    """The inputs are exact in bfloat16, the ratios -299 and -298.9921875 are not: there the spacing is 2, and their
    difference of -0.0078125 would be lost."""
    values = [torch.tensor([value], dtype=torch.bfloat16) for value in (-300.0, -300.0, -1.0, -1.0078125)]
    result = dpo_loss(*values, beta=1.0)
    assert result.losses.dtype == torch.float32
    assert result.losses.item() == pytest.approx(softplus(0.0078125), rel=1e-6)


def test_entry_checks():
    with pytest.raises(ValueError, match="beta is 0"):
        dpo_loss(*PAIR, beta=0.0)
    with pytest.raises(ValueError, match="label_smoothing"):
        dpo_loss(*PAIR, beta=0.1, label_smoothing=0.6)
    with pytest.raises(ValueError, match=r"ref_rejected_logps has shape \(2,\)"):
        ipo_loss(PAIR[0], PAIR[1], PAIR[2], torch.zeros(2), beta=0.1)
    with pytest.raises(ValueError, match=r"wanted \(B,\)"):
        dpo_loss(*(value[:, None] for value in PAIR), beta=0.1)
