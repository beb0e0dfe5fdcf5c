"""Preference losses over pairs: DPO and IPO.

Shapes: B pairs. A `logps` argument is (B,), in nats, one value per response: sums over tokens (DPO: beta about 0.1)
or means per unit of length from `logps.normalise` (IPO, length-normalised DPO: beta about 2.5). Reference values are
constants: pass them without a graph. Built on them: `reference_controls`, `infifpo`, and multi-reference DPO,
which is `dpo_loss` with `mrpo.harmonic_reference_logps` of the chosen and of the rejected responses.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from lightning_modules.losses.checks import check_floating, check_number, check_shapes, full_precision


class PreferenceLoss(NamedTuple):
    """Losses (B,) with a graph, and the implicit rewards (B,) of both responses, beta * log-ratio, detached."""

    losses: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor


def dpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    *,
    beta: float,
    label_smoothing: float = 0.0,
) -> PreferenceLoss:
    """DPO (arXiv 2305.18290), with conservative label smoothing.

    Args:
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps: (B,), nats.
        beta: strength of the pull to the reference, above 0.
        label_smoothing: assumed share of flipped preferences, in [0, 0.5].
    """
    check_number("label_smoothing", label_smoothing, at_least=0.0, at_most=0.5)
    chosen, rejected = log_ratios(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps, beta
    )
    logits = beta * (chosen - rejected)
    losses = -F.logsigmoid(logits) * (1 - label_smoothing) - F.logsigmoid(-logits) * label_smoothing  # DPO Eq. 7
    return PreferenceLoss(losses, (beta * chosen).detach(), (beta * rejected).detach())


def ipo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    *,
    beta: float,
) -> PreferenceLoss:
    """IPO (arXiv 2310.12036): squared distance of the log-ratio difference from 1 / (2 beta).

    Arguments as `dpo_loss`; `beta` is the paper's tau. Pass means per token, as common implementations do: the target
    does not grow with length, so with sums it is nearer to zero for long responses.
    """
    chosen, rejected = log_ratios(
        policy_chosen_logps, policy_rejected_logps, ref_chosen_logps, ref_rejected_logps, beta
    )
    losses = (chosen - rejected - 1 / (2 * beta)).square()  # IPO Eq. 17
    return PreferenceLoss(losses, (beta * chosen).detach(), (beta * rejected).detach())


def log_ratios(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_chosen_logps: Tensor,
    ref_rejected_logps: Tensor,
    beta: float,
) -> tuple[Tensor, Tensor]:
    """Check the arguments of a preference loss; policy less reference of the chosen and of the rejected, (B,) each."""
    tensors = {
        "policy_chosen_logps": policy_chosen_logps,
        "policy_rejected_logps": policy_rejected_logps,
        "ref_chosen_logps": ref_chosen_logps,
        "ref_rejected_logps": ref_rejected_logps,
    }
    check_shapes("(B,)", **tensors)
    check_floating(**tensors)
    check_number("beta", beta, above=0.0)
    chosen = full_precision(policy_chosen_logps) - full_precision(ref_chosen_logps)
    rejected = full_precision(policy_rejected_logps) - full_precision(ref_rejected_logps)
    return chosen, rejected
