"""f-DPO (arXiv 2309.16240): DPO with the reward of another f-divergence between policy and reference.

Shapes: B pairs; log-probabilities (B,) in nats, as in `dpo`. The divergence here is D_f(pi || pi_ref): it acts on
preference pairs, and is another method than the `f_sft` of the same name.
"""

import math

import torch.nn.functional as F
from torch import Tensor

from lightning_modules.losses.checks import check_choice, check_number
from lightning_modules.losses.divergences import DIVERGENCES
from lightning_modules.losses.dpo import PreferenceLoss, log_ratios


def offered() -> list[str]:
    """Names of the divergences whose f' determines the ratio, which an implicit reward needs."""
    return [name for name, row in DIVERGENCES.items() if row.invertible]


def f_dpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    *,
    divergence: str,
    beta: float,
    max_slope: float = 100.0,
) -> PreferenceLoss:
    """-log sigmoid of the reward difference, with reward beta * f'(pi / pi_ref). `kl_policy_expert` is DPO.

    Args:
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps: (B,), nats.
        divergence: a key of `DIVERGENCES` whose f' determines the ratio, which excludes total variation. For Pearson
            f'(0) is finite: the closed form behind the loss misses optima that rule a response out.
        beta: above 0.
        max_slope: for most divergences the reward is exponential in the log-ratio and overflows at lengths of a few
            dozen tokens. It goes on as a straight line from where its slope is this many times that at ratio 1.
    """
    check_choice("divergence", divergence, offered())
    check_number("max_slope", max_slope, at_least=1.0)
    chosen, rejected = log_ratios(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps, beta
    )
    chosen_rewards = beta * _implicit_reward(chosen, divergence, max_slope)
    rejected_rewards = beta * _implicit_reward(rejected, divergence, max_slope)
    losses = -F.logsigmoid(chosen_rewards - rejected_rewards)  # f-DPO, Theorem 1 in the Bradley-Terry loss
    return PreferenceLoss(losses, chosen_rewards.detach(), rejected_rewards.detach())


def _implicit_reward(log_ratio: Tensor, divergence: str, max_slope: float) -> Tensor:
    row = DIVERGENCES[divergence]
    if row.slope_power == 0:
        return row.f_prime_exp(log_ratio)
    edge = math.log(max_slope) / row.slope_power
    slope = row.curvature * max_slope
    if edge > 0:
        return row.f_prime_exp(log_ratio.clamp(max=edge)) + slope * F.relu(log_ratio - edge)
    return row.f_prime_exp(log_ratio.clamp(min=edge)) - slope * F.relu(edge - log_ratio)
