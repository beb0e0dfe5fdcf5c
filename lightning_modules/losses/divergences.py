"""f-divergences D_f(pi || p_E) = E_{p_E}[f(pi / p_E)] of a policy pi from the demonstrations p_E, with their dual form.

The dual critic of `f_sft` is phi(r) = -f*(-r), with f* the convex conjugate of f. At the optimum r = -f'(pi / p_E) and
phi'(r) = pi / p_E: phi' is the weight that a demonstration gets. Every phi is concave and touches the line r from
below at r0, where the weight is 1 and training starts. After a reconstruction of arXiv 2507.00018, whose printed
losses could not be recovered; names say which argument comes first, because the literature swaps them.

Curvatures f''(1) differ, 2 for Pearson and Neyman, 1 for the two KLs, 1/2 for Hellinger and Jensen-Shannon, so one beta
is not the same strength in every row.

Where the weight has a pole or grows exponentially, phi continues as a straight line below the `edge`, where the weight
reaches MAX_WEIGHT. That point is ours: a demonstration weighs at most ten times its weight under SFT.

To add a divergence, add a row: nothing else names them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]

MAX_WEIGHT = 10.0


@dataclass(frozen=True)
class FDivergence:
    """One row of the table; all functions are elementwise and keep the dtype.

    Attributes:
        f: generator, convex on t > 0 with f(1) = 0; t is a probability ratio pi / p_E.
        f_prime: its derivative.
        phi: the dual -f*(-r), continued below the edge; r is a reward in the units of beta * log-ratio.
        phi_prime: its derivative, the weight of a demonstration, at least 0 but for `pearson_unclamped`.
        domain: (low, high) where phi is the exact dual: low is the edge or minus infinity.
        r0: the reward of weight 1, with phi(r0) = r0.
        f_prime_exp: x -> f'(e^x) without overflow for negative exponents; x is a log-ratio in nats.
        curvature: f''(1), also the slope of f_prime_exp at 0; phi''(r0) is its negative inverse.
        slope_power: k where the slope of f_prime_exp is curvature * e^(kx); 0 where that slope is bounded.
        invertible: whether f' determines the ratio, which an implicit reward needs; false for total variation.
    """

    f: Function
    f_prime: Function
    phi: Function
    phi_prime: Function
    domain: tuple[float, float]
    r0: float
    f_prime_exp: Function
    curvature: float
    slope_power: float = 0.0
    invertible: bool = True


def _continued(phi: Function, phi_prime: Function, edge: float) -> tuple[Function, Function]:
    # The clamp keeps the branch that is not taken away from the pole: its infinite gradient times zero would be NaN.
    # The line hangs on a relu of its own, so that no two large gradients cancel where only a small one is left.
    def value(r: Tensor) -> Tensor:
        return phi(r.clamp(min=edge)) - MAX_WEIGHT * torch.relu(edge - r)

    def weight(r: Tensor) -> Tensor:
        return phi_prime(r.clamp(min=edge))

    return value, weight


def _half_distance_slope(t: Tensor) -> Tensor:
    return 0.5 * torch.sign(t - 1)


def _jensen_shannon_phi(r: Tensor) -> Tensor:
    return torch.log1p(-torch.expm1(-r))  # log(2 - e^-r)


def _jensen_shannon_weight(r: Tensor) -> Tensor:
    return 1 / (2 * r.exp() - 1)  # e^-r / (2 - e^-r)


# Edges solve phi'(r) = MAX_WEIGHT.
_HELLINGER_EDGE = MAX_WEIGHT**-0.5 - 1
_NEYMAN_EDGE = MAX_WEIGHT**-2 - 1
_JENSEN_SHANNON_EDGE = -math.log(2 * MAX_WEIGHT / (1 + MAX_WEIGHT))
_KL_POLICY_EXPERT_EDGE = -1 - math.log(MAX_WEIGHT)
_KL_EXPERT_POLICY_EDGE = 1 / MAX_WEIGHT

_hellinger = _continued(lambda r: r / (1 + r), lambda r: (1 + r) ** -2, _HELLINGER_EDGE)
_neyman = _continued(lambda r: 2 * (1 + r).sqrt() - 2, lambda r: (1 + r) ** -0.5, _NEYMAN_EDGE)
_jensen_shannon = _continued(_jensen_shannon_phi, _jensen_shannon_weight, _JENSEN_SHANNON_EDGE)
_kl_policy_expert = _continued(lambda r: -torch.exp(-r - 1), lambda r: torch.exp(-r - 1), _KL_POLICY_EXPERT_EDGE)
_kl_expert_policy = _continued(lambda r: 1 + r.log(), lambda r: 1 / r, _KL_EXPERT_POLICY_EDGE)

DIVERGENCES: dict[str, FDivergence] = {
    # Without the bound on the critic: plain SFT.
    "total_variation": FDivergence(
        f=lambda t: (t - 1).abs() / 2,
        f_prime=_half_distance_slope,
        phi=lambda r: r + 0.0,
        phi_prime=torch.ones_like,
        domain=(-0.5, 0.5),
        r0=0.0,
        f_prime_exp=lambda x: 0.5 * torch.sign(x),
        curvature=0.0,
        invertible=False,
    ),
    # With the bound: no gradient at all beyond it. Below it the exact dual is minus infinity, here it stays at -1/2.
    "total_variation_bounded": FDivergence(
        f=lambda t: (t - 1).abs() / 2,
        f_prime=_half_distance_slope,
        phi=lambda r: r.clamp(-0.5, 0.5),
        phi_prime=lambda r: (r.abs() <= 0.5).to(r.dtype),
        domain=(-0.5, math.inf),
        r0=0.0,
        f_prime_exp=lambda x: 0.5 * torch.sign(x),
        curvature=0.0,
        invertible=False,
    ),
    # Exact: probabilities cannot be negative, so a critic above 2 gains nothing more.
    "pearson_clamped": FDivergence(
        f=lambda t: (t - 1).square(),
        f_prime=lambda t: 2 * (t - 1),
        phi=lambda r: r.clamp(max=2.0) - r.clamp(max=2.0).square() / 4,
        phi_prime=lambda r: 1 - r.clamp(max=2.0) / 2,
        domain=(-math.inf, math.inf),
        r0=0.0,
        f_prime_exp=lambda x: 2 * torch.expm1(x),
        curvature=2.0,
        slope_power=1.0,
    ),
    # Pushes demonstrations down again once r > 2: the weight turns negative.
    "pearson_unclamped": FDivergence(
        f=lambda t: (t - 1).square(),
        f_prime=lambda t: 2 * (t - 1),
        phi=lambda r: r - r.square() / 4,
        phi_prime=lambda r: 1 - r / 2,
        domain=(-math.inf, 2.0),
        r0=0.0,
        f_prime_exp=lambda x: 2 * torch.expm1(x),
        curvature=2.0,
        slope_power=1.0,
    ),
    "squared_hellinger": FDivergence(
        f=lambda t: (t.sqrt() - 1).square(),
        f_prime=lambda t: 1 - t.rsqrt(),
        phi=_hellinger[0],
        phi_prime=_hellinger[1],
        domain=(_HELLINGER_EDGE, math.inf),
        r0=0.0,
        f_prime_exp=lambda x: -torch.expm1(-x / 2),
        curvature=0.5,
        slope_power=-0.5,
    ),
    "neyman": FDivergence(
        f=lambda t: (1 - t).square() / t,
        f_prime=lambda t: 1 - t**-2,
        phi=_neyman[0],
        phi_prime=_neyman[1],
        domain=(_NEYMAN_EDGE, math.inf),
        r0=0.0,
        f_prime_exp=lambda x: -torch.expm1(-2 * x),
        curvature=2.0,
        slope_power=-2.0,
    ),
    # Twice the usual Jensen-Shannon divergence.
    "jensen_shannon": FDivergence(
        f=lambda t: torch.xlogy(t, t) - torch.xlogy(t + 1, (t + 1) / 2),
        f_prime=lambda t: math.log(2) - torch.log1p(1 / t),
        phi=_jensen_shannon[0],
        phi_prime=_jensen_shannon[1],
        domain=(_JENSEN_SHANNON_EDGE, math.inf),
        r0=0.0,
        f_prime_exp=lambda x: math.log(2) + torch.nn.functional.logsigmoid(x),
        curvature=0.5,
    ),
    # KL(pi || p_E)
    "kl_policy_expert": FDivergence(
        f=lambda t: torch.xlogy(t, t),
        f_prime=lambda t: t.log() + 1,
        phi=_kl_policy_expert[0],
        phi_prime=_kl_policy_expert[1],
        domain=(_KL_POLICY_EXPERT_EDGE, math.inf),
        r0=-1.0,
        f_prime_exp=lambda x: x + 1,
        curvature=1.0,
    ),
    # KL(p_E || pi)
    "kl_expert_policy": FDivergence(
        f=lambda t: -t.log(),
        f_prime=lambda t: -1 / t,
        phi=_kl_expert_policy[0],
        phi_prime=_kl_expert_policy[1],
        domain=(_KL_EXPERT_POLICY_EDGE, math.inf),
        r0=1.0,
        f_prime_exp=lambda x: -torch.exp(-x),
        curvature=1.0,
        slope_power=-1.0,
    ),
}
