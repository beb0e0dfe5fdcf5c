"""WRPO: the chosen reward blends the best response of a source model with the best one of the pivot itself.

Shapes: B triples of responses, N sources. Log-probabilities are in nats: sums or means, as in `dpo`. Both forms follow
InfiFPO (arXiv 2505.13878), App. C; its text calls the pivot's response dispreferred there, evidently a slip.
"""

from functools import partial

import torch.nn.functional as F
from torch import Tensor

from lightning_modules.losses.checks import check_number
from lightning_modules.losses.dpo import PreferenceLoss, log_ratios
from lightning_modules.losses.infifpo import Distance, Strategy, fuse_reference_logps


def wrpo_loss(
    policy_source_logps: Tensor,
    policy_pivot_logps: Tensor,
    policy_rejected_logps: Tensor,
    ref_source_logps: Tensor,
    ref_pivot_logps: Tensor,
    ref_rejected_logps: Tensor,
    *,
    beta: float,
    alpha: float,
) -> PreferenceLoss:
    """WRPO against one reference.

    Args:
        policy_source_logps, ref_source_logps: (B,), nats, of the best response that a source model wrote.
        policy_pivot_logps, ref_pivot_logps: (B,), nats, of the best response that the pivot wrote.
        policy_rejected_logps, ref_rejected_logps: (B,), nats, of the rejected response.
        beta: as in `dpo_loss`.
        alpha: share of the source's response, in [0, 1]. WRPO's code raises it linearly from 0 to 0.1; what InfiFPO
            used is unknown.
    """
    check_number("alpha", alpha, at_least=0.0, at_most=1.0)
    source, rejected = log_ratios(
        policy_source_logps, policy_rejected_logps, ref_source_logps, ref_rejected_logps, beta
    )
    pivot, _ = log_ratios(policy_pivot_logps, policy_rejected_logps, ref_pivot_logps, ref_rejected_logps, beta)
    chosen = alpha * source + (1 - alpha) * pivot
    losses = -F.logsigmoid(beta * (chosen - rejected))  # InfiFPO App. C, WRPO form
    return PreferenceLoss(losses, (beta * chosen).detach(), (beta * rejected).detach())


def infifpo_wrpo_loss(
    policy_source_logps: Tensor,
    policy_pivot_logps: Tensor,
    policy_rejected_logps: Tensor,
    init_source_logps: Tensor,
    init_pivot_logps: Tensor,
    init_rejected_logps: Tensor,
    scored_source_logps: Tensor,
    scored_pivot_logps: Tensor,
    scored_rejected_logps: Tensor,
    *,
    beta: float,
    alpha: float,
    strategy: Strategy = "max_margin",
    clip: bool = True,
    distance: Distance = "probability",
) -> PreferenceLoss:
    """WRPO against the fused reference of InfiFPO; both good responses are clipped and fused as chosen ones.

    Args:
        policy_source_logps to policy_rejected_logps, beta, alpha: as in `wrpo_loss`, in nats per unit of length.
        init_source_logps, init_pivot_logps, init_rejected_logps: (B,), of the same responses under the initial pivot.
        scored_source_logps, scored_pivot_logps, scored_rejected_logps: (B, N), of the same responses under the sources.
        strategy, clip, distance: as in `infifpo.fuse_reference_logps`; the selection is per response, from the initial
            pivot.
    """
    fuse = partial(fuse_reference_logps, strategy=strategy, clip=clip, distance=distance)
    by_source = fuse(init_source_logps, init_rejected_logps, scored_source_logps, scored_rejected_logps)
    by_pivot = fuse(init_pivot_logps, init_rejected_logps, scored_pivot_logps, scored_rejected_logps)
    return wrpo_loss(
        policy_source_logps,
        policy_pivot_logps,
        policy_rejected_logps,
        by_source.chosen,
        by_pivot.chosen,
        by_source.rejected,
        beta=beta,
        alpha=alpha,
    )
