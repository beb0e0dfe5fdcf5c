"""Pushes demonstrations down again once r > 2: the weight turns negative."""

import math

import torch

from lightning_modules.losses.divergences import FDivergence

DIVERGENCE = FDivergence(
    f=lambda t: (t - 1).square(),
    f_prime=lambda t: 2 * (t - 1),
    phi=lambda r: r - r.square() / 4,
    phi_prime=lambda r: 1 - r / 2,
    domain=(-math.inf, 2.0),
    r0=0.0,
    f_prime_exp=lambda x: 2 * torch.expm1(x),
    curvature=2.0,
    slope_power=1.0,
)
