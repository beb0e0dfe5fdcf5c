"""Without the bound on the critic: plain SFT."""

import torch

from lightning_modules.losses.divergences import FDivergence

DIVERGENCE = FDivergence(
    f=lambda t: (t - 1).abs() / 2,
    f_prime=lambda t: 0.5 * torch.sign(t - 1),
    phi=lambda r: r + 0.0,
    phi_prime=torch.ones_like,
    domain=(-0.5, 0.5),
    r0=0.0,
    f_prime_exp=lambda x: 0.5 * torch.sign(x),
    curvature=0.0,
    invertible=False,
)
