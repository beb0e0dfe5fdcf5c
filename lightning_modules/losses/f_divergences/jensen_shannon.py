"""Twice the usual Jensen-Shannon divergence."""

import math

import torch
from torch import Tensor

from lightning_modules.losses.divergences import MAX_WEIGHT, FDivergence, continued

_EDGE = -math.log(2 * MAX_WEIGHT / (1 + MAX_WEIGHT))


def _dual(r: Tensor) -> Tensor:
    return torch.log1p(-torch.expm1(-r))  # log(2 - e^-r)


def _weight(r: Tensor) -> Tensor:
    return 1 / (2 * r.exp() - 1)  # e^-r / (2 - e^-r)


_phi, _phi_prime = continued(_dual, _weight, _EDGE)

DIVERGENCE = FDivergence(
    f=lambda t: torch.xlogy(t, t) - torch.xlogy(t + 1, (t + 1) / 2),
    f_prime=lambda t: math.log(2) - torch.log1p(1 / t),
    phi=_phi,
    phi_prime=_phi_prime,
    domain=(_EDGE, math.inf),
    r0=0.0,
    f_prime_exp=lambda x: math.log(2) + torch.nn.functional.logsigmoid(x),
    curvature=0.5,
)
