"""SimPO (arXiv 2405.14734): length-normalised preference optimisation without a reference."""

import torch.nn.functional as F
from torch import Tensor

from lightning_modules.losses.checks import check_floating, check_number, check_shapes, full_precision
from lightning_modules.losses.dpo import PreferenceLoss


def simpo_loss(
    policy_chosen_logps: Tensor, policy_rejected_logps: Tensor, *, beta: float, gamma: float
) -> PreferenceLoss:
    """-log sigmoid(beta * (chosen - rejected) - gamma).

    Args:
        policy_chosen_logps, policy_rejected_logps: (B,), nats per token (`logps.normalise`).
        beta: above 0; 2.0 in the released settings.
        gamma: target margin of the rewards, at least 0; the authors state gamma / beta, 0.5 for Llama-3-8B base.

    Returns:
        losses (B,); the rewards are beta * log-probability.
    """
    check_shapes("(B,)", policy_chosen_logps=policy_chosen_logps, policy_rejected_logps=policy_rejected_logps)
    check_floating(policy_chosen_logps=policy_chosen_logps, policy_rejected_logps=policy_rejected_logps)
    check_number("beta", beta, above=0.0)
    check_number("gamma", gamma, at_least=0.0)
    chosen, rejected = full_precision(policy_chosen_logps), full_precision(policy_rejected_logps)
    losses = -F.logsigmoid(beta * (chosen - rejected) - gamma)  # SimPO Eq. 6
    return PreferenceLoss(losses, (beta * chosen).detach(), (beta * rejected).detach())
