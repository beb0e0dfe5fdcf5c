"""Exact: probabilities cannot be negative, so a critic above 2 gains nothing more."""

import math

import torch

from lightning_modules.losses.divergences import FDivergence

DIVERGENCE = FDivergence(
    f=lambda t: (t - 1).square(),
    f_prime=lambda t: 2 * (t - 1),
    phi=lambda r: r.clamp(max=2.0) - r.clamp(max=2.0).square() / 4,
    phi_prime=lambda r: 1 - r.clamp(max=2.0) / 2,
    domain=(-math.inf, math.inf),
    r0=0.0,
    f_prime_exp=lambda x: 2 * torch.expm1(x),
    curvature=2.0,
    slope_power=1.0,
)
