"""Exact optimum of the primal problem min over pi of D_f(pi || p_E) + beta KL(pi || pi0), for tables.

Independent of the dual that `f_sft` trains: it solves the primal's own stationarity condition,
f'(pi / p_E) + beta log(pi / pi0) = lambda, whose left side rises with pi, with lambda such that pi adds up to 1.
"""

import torch
from torch import Tensor

from lightning_modules.losses.checks import check_choice, check_number, check_shapes
from lightning_modules.losses.divergences import DIVERGENCES

_SMALLEST = -100.0
"""Log-probability below which nothing is looked for."""


@torch.no_grad()
def tabular_optimum(base_logps: Tensor, expert_logps: Tensor, *, divergence: str, beta: float) -> Tensor:
    """Log-probabilities of the optimal policy, (P, R) in fp64.

    Args:
        base_logps, expert_logps: (P, R), normalised, finite: the expert must show every response. (Where it does not,
            the dual of some rows has a bound on rewards that no demonstration can teach.)
        divergence: a key of `DIVERGENCES`. For the total variations it is p_E: an unbounded critic forces the match.
        beta: above 0.
    """
    check_choice("divergence", divergence, DIVERGENCES)
    check_number("beta", beta, above=0.0)
    check_shapes("(P, R)", base_logps=base_logps, expert_logps=expert_logps)
    base, expert = base_logps.double(), expert_logps.double()
    row = DIVERGENCES[divergence]
    if not row.invertible:
        return expert.clone()

    def slope(logps: Tensor) -> Tensor:
        return row.f_prime_exp(logps - expert) + beta * (logps - base)

    def policy(multiplier: Tensor) -> Tensor:
        low, high = torch.full_like(base, _SMALLEST), torch.zeros_like(base)
        for _ in range(60):
            middle = (low + high) / 2
            below = slope(middle) < multiplier
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    # At the even policy some response would have to rise and some to fall: lambda lies between their slopes.
    even = slope(torch.full_like(base, 1 / base.shape[1]).log())
    low, high = even.amin(1, keepdim=True), even.amax(1, keepdim=True)
    for _ in range(60):
        middle = (low + high) / 2
        short = torch.logsumexp(policy(middle), 1, keepdim=True) < 0
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return policy((low + high) / 2).log_softmax(1)
