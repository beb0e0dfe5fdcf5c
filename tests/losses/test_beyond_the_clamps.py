"""Far from the reference no clamp may turn a gradient round, or lose one that the formula has: every loss, in fp32.

Each case is a loss of one log-ratio x in nats, at 19, 21 and 60 nats on both sides of the largest bound (20) and beyond
all others. Wanted is the sign of the exact derivative, written down by hand: -1 where the loss pulls x up, 1 where it
pulls x down, 0 where the method itself stops (PPO's clip, a bounded critic) or the derivative is below fp32's reach.
"""

import math

import pytest
import torch

from lightning_modules.losses.divergences import DIVERGENCES
from lightning_modules.losses.dpo import dpo_loss, ipo_loss
from lightning_modules.losses.f_dpo import f_dpo_loss
from lightning_modules.losses.f_sft import f_sft_loss
from lightning_modules.losses.infifpo import infifpo_loss
from lightning_modules.losses.mrpo import harmonic_reference_logps
from lightning_modules.losses.policy_gradient import clipped_policy_loss, kl_estimates, value_loss
from lightning_modules.losses.simpo import simpo_loss
from lightning_modules.losses.wrpo import infifpo_wrpo_loss, wrpo_loss

NATS = (-60.0, -21.0, -19.0, 19.0, 21.0, 60.0)
ONE = torch.ones(1, 1, dtype=torch.bool)
DUALS = sorted(DIVERGENCES)
INVERTIBLE = [name for name in DUALS if DIVERGENCES[name].invertible]


def at(loss, nats, start=-100.0):
    """Value and derivative of a loss of logps (1, 1), for a reference at ``start``: differences are exact in fp32."""
    logps = torch.tensor([[start + nats]], requires_grad=True)
    value = loss(logps, torch.tensor([[start]])).sum()
    (gradient,) = torch.autograd.grad(value, logps)
    assert value.isfinite() and gradient.isfinite().all()
    return value.item(), gradient.item()


def signs(loss):
    return [int(math.copysign(1, gradient)) if gradient else 0 for _, gradient in (at(loss, nats) for nats in NATS)]


def tangent(x):
    """e^x up to 20 and its tangent there beyond."""
    return math.exp(x) if x <= 20 else math.exp(20) * (1 + x - 20)


def slope(x):
    return math.exp(min(x, 20.0))


@pytest.mark.parametrize("nats", NATS)
def test_k3_pulls_back_from_both_sides_however_far(nats):
    """e^-d - 1 + d, slope 1 - e^-d: down for d < 0 (below -20 as the tangent), up for d > 0."""
    value, gradient = at(lambda policy, ref: kl_estimates(policy, ref, estimator="k3"), nats)
    assert value == pytest.approx(tangent(-nats) - 1 + nats, rel=1e-5)
    assert gradient == pytest.approx(1 - slope(-nats), rel=1e-5) and gradient * nats > 0


def test_k3_never_falls_on_the_way_out():
    d = torch.linspace(-120, 120, 2401, dtype=torch.float64)[None].requires_grad_()
    estimates = kl_estimates(d, torch.zeros_like(d), estimator="k3")
    (gradient,) = torch.autograd.grad(estimates.sum(), d)
    assert (estimates >= 0).all() and (gradient.diff() >= -1e-6).all(), "convex, with its least value 0 at d = 0"


@pytest.mark.parametrize(("estimator", "wanted"), [("k1", [1] * 6), ("k2", [-1, -1, -1, 1, 1, 1])])
def test_k1_and_k2_have_no_bound(estimator, wanted):
    assert signs(lambda policy, ref: kl_estimates(policy, ref, estimator=estimator)) == wanted


@pytest.mark.parametrize("nats", NATS)
@pytest.mark.parametrize("advantage", [-2.0, 2.0])
def test_the_policy_gradient_stops_only_where_ppo_clips(nats, advantage):
    """Slope -A ratio where the clip does not bind, else 0: it binds above for a gain and below for a loss. A token that
    has become e^21 times as likely and was wrong must still be pushed down."""
    gain = torch.tensor([advantage])
    value, gradient = at(lambda policy, old: clipped_policy_loss(policy, old, gain, ONE, clip_eps=0.2), nats)
    bound = (nats > 0) == (advantage > 0)
    clipped = 1.2 if nats > 0 else 0.8
    assert value == pytest.approx(-advantage * (clipped if bound else tangent(nats)), rel=1e-5)
    assert gradient == pytest.approx(0.0 if bound else -advantage * slope(nats), rel=1e-5)
    assert bound or gradient * advantage < 0


@pytest.mark.parametrize("nats", NATS)
def test_the_value_loss_moves_a_value_towards_its_return_or_not_at_all(nats):
    for clip_range in (None, 0.5):
        value, gradient = at(
            lambda values, old, c=clip_range: value_loss(values, old, torch.full_like(old, -100.0), ONE, clip_range=c),
            nats,
        )
        assert value == pytest.approx(nats**2 / 2) and gradient == pytest.approx(nats)


PULLED_UP = [-1] * 6
DUAL_SIGNS = {
    "kl_expert_policy": PULLED_UP,
    "neyman": PULLED_UP,
    "squared_hellinger": PULLED_UP,
    "total_variation": PULLED_UP,
    # The weight falls as e^-u. Jensen-Shannon's is lost in the rounding of 2 - e^-r from 17 nats on.
    "jensen_shannon": [-1, -1, -1, 0, 0, 0],
    "kl_policy_expert": PULLED_UP,
    # By definition: a critic above 2 gains nothing more; a bounded one has no gradient beyond either bound.
    "pearson_clamped": [-1, -1, -1, 0, 0, 0],
    "total_variation_bounded": [0] * 6,
    # By definition, and the reason for the clamped row: demonstrations are pushed down again above 2.
    "pearson_unclamped": [-1, -1, -1, 1, 1, 1],
}


@pytest.mark.parametrize("name", DUALS)
def test_demonstrations_keep_the_sign_of_their_weight(name):
    row = DIVERGENCES[name]
    assert signs(lambda policy, base: f_sft_loss(policy - base, divergence=name, beta=1.0)) == DUAL_SIGNS[name]
    for nats in NATS:
        _, gradient = at(lambda policy, base: f_sft_loss(policy - base, divergence=name, beta=1.0), nats)
        weight = row.phi_prime(torch.tensor(nats + row.r0, dtype=torch.float64)).item()
        assert gradient == pytest.approx(-weight, rel=1e-3, abs=1e-8)


PAIRS = {
    "dpo": dict(loss=dpo_loss, beta=0.1),
    "smoothed dpo": dict(loss=dpo_loss, beta=0.01, label_smoothing=0.1),
    # The target, 1 / (2 beta) = 500 nats, lies beyond all of these.
    "ipo": dict(loss=ipo_loss, beta=0.001),
    "infifpo": dict(loss=lambda c, r, rc, rr, **o: infifpo_loss(c, r, rc, rr, rc[:, None], rr[:, None], **o), beta=0.1),
    "wrpo": dict(loss=lambda c, r, rc, rr, **o: wrpo_loss(c, c, r, rc, rc, rr, **o), beta=0.1, alpha=0.5),
    "infifpo wrpo": dict(
        loss=lambda c, r, rc, rr, **o: infifpo_wrpo_loss(
            c, c, r, rc, rc, rr, rc[:, None], rc[:, None], rr[:, None], **o
        ),
        beta=0.1,
        alpha=0.5,
    ),
    "simpo": dict(loss=lambda c, r, rc, rr, **o: simpo_loss(c - rc, r - rr, **o), beta=0.1, gamma=0.5),
    # The other reference is 60 nats off and cut to 5.
    "mrpo": dict(loss=lambda c, r, rc, rr, **o: dpo_loss(c, r, _fused(rc, -60.0), _fused(rr, 60.0), **o), beta=0.1),
}


def _fused(reference, off):
    return harmonic_reference_logps(torch.stack([reference, reference + off], 1), clip_range=5.0)


def moved(side, loss, **options):
    """The loss of a pair of which one side is ``logps`` and everything else stands at the reference."""

    def of(logps, start):
        moving, still = logps[0], start[0]
        pair = (moving, still) if side == "chosen" else (still, moving)
        return loss(*pair, still, still, **options).losses

    return of


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(("side", "wanted"), [("chosen", -1), ("rejected", 1)])
def test_pairs_raise_the_chosen_and_lower_the_rejected_at_any_distance(name, side, wanted):
    assert signs(moved(side, **PAIRS[name])) == [wanted] * 6


def reward_slope(name, x):
    """d f'(e^x) / dx by hand, at most 100 times what it is at 0: t f''(t) at t = e^x."""
    exact = {
        "kl_policy_expert": lambda: 1.0,
        "kl_expert_policy": lambda: math.exp(-x),
        "pearson_clamped": lambda: 2 * math.exp(x),
        "pearson_unclamped": lambda: 2 * math.exp(x),
        "squared_hellinger": lambda: math.exp(-x / 2) / 2,
        "neyman": lambda: 2 * math.exp(-2 * x),
        "jensen_shannon": lambda: 1 / (1 + math.exp(x)),
    }[name]()
    return min(exact, 100 * DIVERGENCES[name].curvature)


@pytest.mark.parametrize("name", INVERTIBLE)
@pytest.mark.parametrize("nats", NATS)
@pytest.mark.parametrize(("side", "wanted"), [("chosen", -1), ("rejected", 1)])
def test_steep_rewards_of_f_dpo_keep_sign_and_slope(name, nats, side, wanted):
    """Slope of the loss: beta sigma(-margin) d reward. Beta is so small that the sigmoid has not settled at 6,000."""
    beta = 1e-4
    _, gradient = at(moved(side, f_dpo_loss, divergence=name, beta=beta), nats)
    both = torch.tensor([nats, 0.0])
    rewards = f_dpo_loss(both, both, *torch.zeros(2, 2), divergence=name, beta=beta).chosen_rewards
    margin = (rewards[0] - rewards[1]).item() * -wanted
    exact = wanted * beta * reward_slope(name, nats) / (1 + math.exp(margin))
    assert gradient == pytest.approx(exact, rel=1e-3, abs=beta * 1e-7) and gradient * wanted >= 0
