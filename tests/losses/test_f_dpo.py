import math

import pytest
import torch

from lightning_modules.losses.divergences import DIVERGENCES
from lightning_modules.losses.dpo import dpo_loss
from lightning_modules.losses.f_dpo import f_dpo_loss

INVERTIBLE = sorted(name for name, row in DIVERGENCES.items() if row.invertible)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def softplus(x):
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(
    ("name", "difference"),
    [
        ("kl_policy_expert", math.log(8)),
        ("kl_expert_policy", 2 - 0.25),
        ("pearson_clamped", 2 * (4 - 0.5)),
        ("squared_hellinger", math.sqrt(2) - 0.5),
        ("neyman", 4 - 1 / 16),
        ("jensen_shannon", math.log(8 / 5) - math.log(2 / 3)),
    ],
)
def test_worked_examples_at_ratios_four_and_one_half(name, difference):
    """Chosen ratio 4, rejected 1/2, beta 0.2; the logit is 0.2 (f'(4) - f'(1/2)): ln 8; -1/4 + 2; 2 (4 - 1/2);
    -1/2 + sqrt 2; -1/16 + 4; ln(8/5) - ln(1/1.5)."""
    ratios = double(4.0).log(), double(0.5).log()
    result = f_dpo_loss(*ratios, double(0.0), double(0.0), divergence=name, beta=0.2)
    assert result.losses.item() == pytest.approx(softplus(-0.2 * difference))
    assert (result.chosen_rewards - result.rejected_rewards).item() == pytest.approx(0.2 * difference)
    swapped = f_dpo_loss(*ratios[::-1], double(0.0), double(0.0), divergence=name, beta=0.2)
    assert swapped.losses.item() == pytest.approx(softplus(0.2 * difference))


def test_kl_from_policy_is_dpo():
    torch.manual_seed(0)
    values = -10 * torch.rand(4, 100, dtype=torch.float64)
    f_dpo, dpo = f_dpo_loss(*values, divergence="kl_policy_expert", beta=0.3), dpo_loss(*values, beta=0.3)
    torch.testing.assert_close(f_dpo.losses, dpo.losses)


@pytest.mark.parametrize("name", INVERTIBLE)
def test_zero_margin_is_log_two_with_half_the_curvature_as_gradient(name):
    """At ratio 1 the slope of f'(e^x) is f''(1): the gradient is -beta f''(1) / 2 on chosen, and the opposite on
    rejected."""
    chosen, rejected = (double(-3.0).requires_grad_() for _ in range(2))
    loss = f_dpo_loss(chosen, rejected, double(-3.0), double(-3.0), divergence=name, beta=0.4).losses
    assert loss.item() == pytest.approx(math.log(2))
    loss.sum().backward()
    expected = 0.4 * DIVERGENCES[name].curvature / 2
    assert chosen.grad is not None and chosen.grad.item() == pytest.approx(-expected)
    assert rejected.grad is not None and rejected.grad.item() == pytest.approx(expected)


@pytest.mark.parametrize("name", INVERTIBLE)
@pytest.mark.parametrize("beta", [0.01, 0.1, 1.0])
def test_loss_and_gradient_are_finite_from_minus_50_to_50_nats(name, beta):
    """In fp32, with slopes of at most beta * curvature * max_slope."""
    axis = torch.linspace(-50, 50, 101)
    chosen, rejected = (grid.flatten().requires_grad_() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    zeros = torch.zeros(len(chosen))
    losses = f_dpo_loss(chosen, rejected, zeros, zeros, divergence=name, beta=beta).losses
    losses.sum().backward()
    assert losses.isfinite().all()
    bound = beta * max(DIVERGENCES[name].curvature * 100.0, 1.0) * 1.001
    for side, sign in ((chosen, -1), (rejected, 1)):
        assert side.grad is not None and side.grad.isfinite().all()
        assert side.grad.abs().max() <= bound and (sign * side.grad >= 0).all()


@pytest.mark.parametrize("name", [name for name in INVERTIBLE if DIVERGENCES[name].slope_power != 0])
def test_the_reward_is_a_straight_line_beyond_the_largest_slope(name):
    """With max_slope e^2 the reward has slope beta curvature e^2 from |x| = 2 / |k| on, and joins without a jump."""
    row = DIVERGENCES[name]
    edge = 2 / row.slope_power
    points = double(edge * (1 - 1e-9), edge, edge * (1 + 1e-9), 5 * edge)
    zeros = torch.zeros_like(points)
    rewards = f_dpo_loss(points, zeros, zeros, zeros, divergence=name, beta=1.0, max_slope=math.exp(2)).chosen_rewards
    assert rewards[1].item() == pytest.approx(row.f_prime_exp(double(edge)).item())
    assert rewards[0].item() == pytest.approx(rewards[2].item(), rel=1e-6)
    expected = row.f_prime_exp(double(edge)).item() + row.curvature * math.exp(2) * 4 * edge
    assert rewards[3].item() == pytest.approx(expected)


def test_entry_checks():
    four = [double(0.0)] * 4
    with pytest.raises(ValueError, match="divergence is 'total_variation', wanted one of jensen_shannon"):
        f_dpo_loss(*four, divergence="total_variation", beta=0.1)
    with pytest.raises(ValueError, match="max_slope"):
        f_dpo_loss(*four, divergence="neyman", beta=0.1, max_slope=0.5)
    with pytest.raises(ValueError, match="beta"):
        f_dpo_loss(*four, divergence="neyman", beta=-0.1)
