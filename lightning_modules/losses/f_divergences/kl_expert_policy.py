"""KL(p_E || pi)."""

import math

import torch

from lightning_modules.losses.divergences import MAX_WEIGHT, FDivergence, continued

_EDGE = 1 / MAX_WEIGHT
_phi, _phi_prime = continued(lambda r: 1 + r.log(), lambda r: 1 / r, _EDGE)

DIVERGENCE = FDivergence(
    f=lambda t: -t.log(),
    f_prime=lambda t: -1 / t,
    phi=_phi,
    phi_prime=_phi_prime,
    domain=(_EDGE, math.inf),
    r0=1.0,
    f_prime_exp=lambda x: -torch.exp(-x),
    curvature=1.0,
    slope_power=-1.0,
)
