import math

import pytest
import torch

from lightning_modules.losses.divergences import DIVERGENCES, MAX_WEIGHT

ROWS = sorted(DIVERGENCES)
CONTINUED = ["jensen_shannon", "kl_expert_policy", "kl_policy_expert", "neyman", "squared_hellinger"]
# Rows with a smooth dual: for the others phi is piecewise linear.
CURVED = [name for name in ROWS if not name.startswith("total_variation")]


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def derivative(function, points):
    points = points.clone().requires_grad_()
    return torch.autograd.grad(function(points).sum(), points)[0]


def test_the_table_offers_these_rows():
    """A row that is added needs no other file; a row that is renamed breaks recorded runs, so it is noticed here."""
    assert ROWS == [
        "jensen_shannon",
        "kl_expert_policy",
        "kl_policy_expert",
        "neyman",
        "pearson_clamped",
        "pearson_unclamped",
        "squared_hellinger",
        "total_variation",
        "total_variation_bounded",
    ]


@pytest.mark.parametrize(
    ("name", "f_at_4", "f_prime_at_4"),
    [
        ("total_variation", 1.5, 0.5),
        ("total_variation_bounded", 1.5, 0.5),
        ("pearson_clamped", 9.0, 6.0),
        ("pearson_unclamped", 9.0, 6.0),
        ("squared_hellinger", 1.0, 0.5),
        ("neyman", 2.25, 15 / 16),
        ("jensen_shannon", 4 * math.log(4) - 5 * math.log(2.5), math.log(1.6)),
        ("kl_policy_expert", 4 * math.log(4), math.log(4) + 1),
        ("kl_expert_policy", -math.log(4), -0.25),
    ],
)
def test_generators_at_ratio_four(name, f_at_4, f_prime_at_4):
    """|4-1|/2; (4-1)^2; (2-1)^2 with slope 1 - 1/2; 9/4 with slope 1 - 1/16; 4 ln 4 - 5 ln(5/2) with slope
    ln(2*4/5); t ln t with slope ln t + 1; -ln t with slope -1/t."""
    row = DIVERGENCES[name]
    assert row.f(double(4.0)).item() == pytest.approx(f_at_4)
    assert row.f_prime(double(4.0)).item() == pytest.approx(f_prime_at_4)


@pytest.mark.parametrize(
    ("name", "reward", "phi", "weight"),
    [
        ("total_variation", 3.0, 3.0, 1.0),
        ("total_variation_bounded", 3.0, 0.5, 0.0),
        ("total_variation_bounded", 0.25, 0.25, 1.0),
        ("total_variation_bounded", -3.0, -0.5, 0.0),
        ("pearson_clamped", 1.0, 0.75, 0.5),
        ("pearson_clamped", 4.0, 1.0, 0.0),
        ("pearson_unclamped", 4.0, 0.0, -1.0),
        ("squared_hellinger", 1.0, 0.5, 0.25),
        ("neyman", 3.0, 2.0, 0.5),
        ("jensen_shannon", math.log(2), math.log(1.5), 1 / 3),
        ("kl_policy_expert", math.log(2) - 1, -0.5, 0.5),
        ("kl_expert_policy", 2.0, 1 + math.log(2), 0.5),
    ],
)
def test_duals_at_hand_computed_rewards(name, reward, phi, weight):
    """r; cut at 1/2; r - r^2/4 with weight 1 - r/2, flat from 2 if clamped; r/(1+r) with 1/(1+r)^2; 2 sqrt(1+r) - 2
    with 1/sqrt(1+r); log(2 - e^-r) = log(2 - 1/2) with (1/2)/(3/2); -e^-(r+1) = -1/2; 1 + log r with 1/r."""
    row = DIVERGENCES[name]
    assert row.phi(double(reward)).item() == pytest.approx(phi)
    assert row.phi_prime(double(reward)).item() == pytest.approx(weight)


@pytest.mark.parametrize("name", ROWS)
def test_autograd_of_f_is_f_prime(name):
    row, points = DIVERGENCES[name], double(0.03, 0.2, 0.7, 1.3, 2.0, 9.0)
    torch.testing.assert_close(derivative(row.f, points), row.f_prime(points))


@pytest.mark.parametrize("name", ROWS)
def test_autograd_of_phi_is_phi_prime_inside_and_outside_the_domain(name):
    row, points = DIVERGENCES[name], torch.linspace(-50, 50, 1001, dtype=torch.float64) + 0.0123
    torch.testing.assert_close(derivative(row.phi, points), row.phi_prime(points))


@pytest.mark.parametrize("name", ROWS)
def test_f_vanishes_at_one_with_the_stated_curvature(name):
    row = DIVERGENCES[name]
    assert row.f(double(1.0)).item() == 0.0
    assert derivative(row.f_prime, double(1.0)).item() == pytest.approx(row.curvature)


@pytest.mark.parametrize("name", ROWS)
def test_phi_touches_the_line_r_from_below_at_r0(name):
    """phi(r) <= r with equality at r0, where the weight is 1: this is why one demonstration with free V is SFT."""
    row, points = DIVERGENCES[name], torch.linspace(-20, 20, 4001, dtype=torch.float64)
    start = double(row.r0)
    assert row.phi(start).item() == row.r0 and row.phi_prime(start).item() == 1.0
    inside = points[points >= row.domain[0]]
    assert (row.phi(inside) - inside).max() <= 1e-12
    if name in CURVED:
        assert derivative(row.phi_prime, start).item() == pytest.approx(-1 / row.curvature)


@pytest.mark.parametrize("name", CURVED)
def test_phi_is_the_negative_conjugate_of_f(name):
    """phi(r) = -sup_t (-r t - f(t)), with the supremum at t = phi'(r): equal there, and never below anywhere else."""
    row = DIVERGENCES[name]
    low, high = max(row.domain[0], -4.0), min(row.domain[1], 1.9)
    for reward in torch.linspace(low + 1e-9, high, 7, dtype=torch.float64):
        best = row.phi_prime(reward)
        torch.testing.assert_close(row.phi(reward), reward * best + row.f(best), rtol=1e-9, atol=1e-9)
        others = torch.linspace(0.01, 12, 500, dtype=torch.float64)
        assert (reward * others + row.f(others) >= row.phi(reward) - 1e-12).all()


@pytest.mark.parametrize("name", CURVED)
def test_minus_f_prime_of_the_weight_gives_the_reward_back(name):
    row = DIVERGENCES[name]
    low, high = max(row.domain[0], -4.0), min(row.domain[1], 1.9)
    rewards = torch.linspace(low + 1e-9, high, 21, dtype=torch.float64)
    torch.testing.assert_close(-row.f_prime(row.phi_prime(rewards)), rewards, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CONTINUED)
def test_below_the_edge_phi_is_a_straight_line_of_the_largest_weight(name):
    row = DIVERGENCES[name]
    edge = double(row.domain[0])
    assert row.phi_prime(edge).item() == pytest.approx(MAX_WEIGHT)
    torch.testing.assert_close(row.phi(edge - 3), row.phi(edge) - 3 * MAX_WEIGHT)
    assert row.phi_prime(edge - 3).item() == pytest.approx(MAX_WEIGHT)
    torch.testing.assert_close(row.phi(edge - 1e-9), row.phi(edge + 1e-9), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ROWS)
def test_f_prime_exp_is_f_prime_of_the_ratio_with_the_stated_growth(name):
    row, logs = DIVERGENCES[name], double(-3.0, -0.4, 0.3, 2.0)
    torch.testing.assert_close(row.f_prime_exp(logs), row.f_prime(logs.exp()))
    if row.slope_power != 0:
        expected = row.curvature * (row.slope_power * logs).exp()
        torch.testing.assert_close(derivative(row.f_prime_exp, logs), expected)
    elif row.invertible:
        assert derivative(row.f_prime_exp, double(-80.0, 0.0, 80.0)).abs().max() <= 1.0
