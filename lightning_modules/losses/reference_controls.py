"""Controls for InfiFPO: one source alone as the reference, and a margin that is the same for every pair.

Shapes: B pairs, N sources; log-probabilities per unit of length, in nats. The first control asks whether fusing beats
the best single source (arXiv 2512.10040 found that it did not), the second whether a gain comes from the fused
reference or from the mean of the margin that it adds.
"""

from torch import Tensor

from lightning_modules.losses.checks import check_number, check_shapes, full_precision
from lightning_modules.losses.dpo import PreferenceLoss, dpo_loss


def single_reference_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    source_chosen_logps: Tensor,
    source_rejected_logps: Tensor,
    *,
    source: int,
    beta: float,
) -> PreferenceLoss:
    """Length-normalised DPO with one source as the reference: neither clipped nor fused.

    Args:
        policy_chosen_logps, policy_rejected_logps: (B,).
        source_chosen_logps, source_rejected_logps: (B, N).
        source: its column, from 0.
        beta: above 0.
    """
    check_shapes("(B, N)", source_chosen_logps=source_chosen_logps, source_rejected_logps=source_rejected_logps)
    count = source_chosen_logps.shape[1]
    if not 0 <= source < count:
        raise ValueError(f"source is {source}, wanted a column of the {count} sources, counted from 0")
    chosen, rejected = source_chosen_logps[:, source].detach(), source_rejected_logps[:, source].detach()
    return dpo_loss(policy_chosen_logps, policy_rejected_logps, chosen, rejected, beta=beta)


def constant_margin_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    init_chosen_logps: Tensor,
    init_rejected_logps: Tensor,
    *,
    margin: float,
    beta: float,
) -> PreferenceLoss:
    """Length-normalised DPO whose log-ratios must differ by `margin` more: InfiFPO with m alike for all pairs.

    Args:
        policy_chosen_logps, policy_rejected_logps, init_chosen_logps, init_rejected_logps: (B,).
        margin: nats per unit of length, at least 0: the mean of `infifpo.fusion_margin` over the training pairs.
        beta: above 0.
    """
    check_number("margin", margin, at_least=0.0)
    rejected = full_precision(init_rejected_logps) - margin
    return dpo_loss(policy_chosen_logps, policy_rejected_logps, init_chosen_logps, rejected, beta=beta)
