"""Total variation with the bound on the critic: no gradient at all beyond it.

Below it the exact dual is minus infinity, here it stays at -1/2.
"""

import math

import torch

from lightning_modules.losses.divergences import FDivergence

DIVERGENCE = FDivergence(
    f=lambda t: (t - 1).abs() / 2,
    f_prime=lambda t: 0.5 * torch.sign(t - 1),
    phi=lambda r: r.clamp(-0.5, 0.5),
    phi_prime=lambda r: (r.abs() <= 0.5).to(r.dtype),
    domain=(-0.5, math.inf),
    r0=0.0,
    f_prime_exp=lambda x: 0.5 * torch.sign(x),
    curvature=0.0,
    invertible=False,
    free_value=False,
)
