"""The reference of MRPO (arXiv 2405.16388): several reference models in place of one. The loss itself is `dpo_loss`."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_modules.losses.checks import check_floating, check_number, check_shapes, full_precision


def harmonic_reference_logps(
    ref_logps: Tensor, *, weights: Sequence[float] | None = None, clip_range: float | None = None
) -> Tensor:
    """The one reference that MRPO (arXiv 2405.16388) puts in place of several: their weighted harmonic mean.

    Args:
        ref_logps: (B, K), nats, the main reference in column 0.
        weights: K positive weights that sum to 1; None is uniform. (MRPO's adaptive weights peek at the pair that is
            being scored; fixed ones are the sounder choice.)
        clip_range: nats by which the others may differ from column 0 before they are clipped; None clips nothing.
            MRPO clips within a relative range that it adapts; the schedule is not reproduced.

    Returns:
        (B,), nats.
    """
    check_shapes("(B, K)", ref_logps=ref_logps)
    check_floating(ref_logps=ref_logps)
    count = ref_logps.shape[1]
    weights = [1 / count] * count if weights is None else weights
    if len(weights) != count or min(weights) <= 0 or not math.isclose(sum(weights), 1.0, abs_tol=1e-6):
        raise ValueError(f"weights is {list(weights)}, wanted {count} positive numbers that sum to 1, one a reference")
    logps = full_precision(ref_logps)
    if clip_range is not None:
        check_number("clip_range", clip_range, at_least=0.0)
        logps = torch.minimum(torch.maximum(logps, logps[:, :1] - clip_range), logps[:, :1] + clip_range)
    log_weights = torch.as_tensor([math.log(weight) for weight in weights], dtype=logps.dtype, device=logps.device)
    return -torch.logsumexp(log_weights - logps, dim=1)  # MRPO: 1 / sum_k (weight_k / p_k)
