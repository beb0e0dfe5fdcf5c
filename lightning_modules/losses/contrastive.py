"""Contrastive loss of bi-encoders with in-batch negatives (InfoNCE, arXiv 1807.03748; DPR, 2004.04906)."""

from __future__ import annotations

import torch
from torch import Tensor


def contrastive_loss(queries: Tensor, texts: Tensor, *, temperature: float, same: Tensor | None = None) -> Tensor:
    """-log softmax_i(q_i . t_j / temperature): each query should be nearest to its own text.

    Args:
        queries: (B, D).
        texts: (B, D); row i answers query i, the other rows are its negatives.
        temperature: above 0; smaller ones look at the hardest negatives only.
        same: (B, B) bool, true where text j answers query i as well: such a text is no negative. The diagonal is not
            looked at.

    Returns:
        (B,) losses in nats.
    """
    if queries.dim() != 2 or queries.shape != texts.shape:
        raise ValueError(f"queries and texts must both be (B, D), got {tuple(queries.shape)} and {tuple(texts.shape)}")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    size = len(queries)
    if same is not None and same.shape != (size, size):
        raise ValueError(f"same must be ({size}, {size}), got {tuple(same.shape)}")
    logits = (queries.float() @ texts.float().T) / temperature  # (B, B)
    own = torch.eye(size, dtype=torch.bool, device=logits.device)
    if same is not None:
        logits = logits.masked_fill(same & ~own, float("-inf"))
    return -torch.log_softmax(logits, dim=-1).diagonal()
