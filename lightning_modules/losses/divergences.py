"""f-divergences D_f(pi || p_E) = E_{p_E}[f(pi / p_E)] of a policy pi from the demonstrations p_E, with their dual form.

The dual critic of `f_sft` is phi(r) = -f*(-r), with f* the convex conjugate of f. At the optimum r = -f'(pi / p_E) and
phi'(r) = pi / p_E: phi' is the weight that a demonstration gets. Every phi is concave and touches the line r from
below at r0, where the weight is 1 and training starts. After a reconstruction of arXiv 2507.00018, whose printed
losses could not be recovered; names say which argument comes first, because the literature swaps them.

Curvatures f''(1) differ, 2 for Pearson and Neyman, 1 for the two KLs, 1/2 for Hellinger and Jensen-Shannon, so one beta
is not the same strength in every row.

Where the weight has a pole or grows exponentially, phi continues as a straight line below the `edge`, where the weight
reaches MAX_WEIGHT. That point is ours: a demonstration weighs at most ten times its weight under SFT.

To add a divergence, add a file to `f_divergences` that has a DIVERGENCE: nothing else names them, and a run counts the
one that its config names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_modules.losses.by_name import ByName

Function = Callable[[Tensor], Tensor]

MAX_WEIGHT = 10.0


@dataclass(frozen=True)
class FDivergence:
    """One divergence; all functions are elementwise and keep the dtype.

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
        free_value: whether a free V has a best one; false where the critic gains nothing beyond a bound while V falls.
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
    free_value: bool = True


def continued(phi: Function, phi_prime: Function, edge: float) -> tuple[Function, Function]:
    """phi and its derivative, going on as a straight line below ``edge``, where the derivative is MAX_WEIGHT."""

    # The clamp keeps the branch that is not taken away from the pole: its infinite gradient times zero would be NaN.
    # The line hangs on a relu of its own, so that no two large gradients cancel where only a small one is left.
    def value(r: Tensor) -> Tensor:
        return phi(r.clamp(min=edge)) - MAX_WEIGHT * torch.relu(edge - r)

    def weight(r: Tensor) -> Tensor:
        return phi_prime(r.clamp(min=edge))

    return value, weight


BY_NAME = "lightning_modules.losses.f_divergences"

DIVERGENCES: Mapping[str, FDivergence] = ByName(BY_NAME, "DIVERGENCE")
