"""Neyman's chi-squared: Pearson's with the two arguments changed over."""

import math

import torch

from lightning_modules.losses.divergences import MAX_WEIGHT, FDivergence, continued

_EDGE = MAX_WEIGHT**-2 - 1
_phi, _phi_prime = continued(lambda r: 2 * (1 + r).sqrt() - 2, lambda r: (1 + r) ** -0.5, _EDGE)

DIVERGENCE = FDivergence(
    f=lambda t: (1 - t).square() / t,
    f_prime=lambda t: 1 - t**-2,
    phi=_phi,
    phi_prime=_phi_prime,
    domain=(_EDGE, math.inf),
    r0=0.0,
    f_prime_exp=lambda x: -torch.expm1(-2 * x),
    curvature=2.0,
    slope_power=-2.0,
)
