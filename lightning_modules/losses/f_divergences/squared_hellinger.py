"""The squared Hellinger distance, without its usual factor 1/2."""

import math

import torch

from lightning_modules.losses.divergences import MAX_WEIGHT, FDivergence, continued

_EDGE = MAX_WEIGHT**-0.5 - 1
_phi, _phi_prime = continued(lambda r: r / (1 + r), lambda r: (1 + r) ** -2, _EDGE)

DIVERGENCE = FDivergence(
    f=lambda t: (t.sqrt() - 1).square(),
    f_prime=lambda t: 1 - t.rsqrt(),
    phi=_phi,
    phi_prime=_phi_prime,
    domain=(_EDGE, math.inf),
    r0=0.0,
    f_prime_exp=lambda x: -torch.expm1(-x / 2),
    curvature=0.5,
    slope_power=-0.5,
)
