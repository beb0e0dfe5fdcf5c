"""KL(pi || p_E)."""

import math

import torch

from lightning_modules.losses.divergences import MAX_WEIGHT, FDivergence, continued

_EDGE = -1 - math.log(MAX_WEIGHT)
_phi, _phi_prime = continued(lambda r: -torch.exp(-r - 1), lambda r: torch.exp(-r - 1), _EDGE)

DIVERGENCE = FDivergence(
    f=lambda t: torch.xlogy(t, t),
    f_prime=lambda t: t.log() + 1,
    phi=_phi,
    phi_prime=_phi_prime,
    domain=(_EDGE, math.inf),
    r0=-1.0,
    f_prime_exp=lambda x: x + 1,
    curvature=1.0,
)
