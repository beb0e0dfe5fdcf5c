"""How strong a retriever is: recall and precision of the first k passages."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple


class Strength(NamedTuple):
    """Means over questions, fractions.

    Attributes:
        hit: share of the questions with at least one right passage among the first k: the paper's recall@k.
        recall: share of a question's right passages that are among the first k; the same where there is only one.
        precision: share of the k places that hold a right passage; an empty place is a wrong one.
    """

    hit: float
    recall: float
    precision: float


def strength(found: Sequence[Sequence[str]], right: Sequence[Collection[str]], k: int) -> Strength:
    """Strength at ``k``.

    Args:
        found: ids for every question, best first.
        right: ids of the right passages of every question; questions without any are left out.
        k: places that count, at least 1.

    Raises:
        ValueError: no question with a right passage.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    pairs = [(set(row[:k]), set(gold)) for row, gold in zip(found, right, strict=True) if gold]
    if not pairs:
        raise ValueError("no question has a right passage: recall is undefined")
    common = [(len(shown & gold), len(gold)) for shown, gold in pairs]
    return Strength(
        hit=sum(hits > 0 for hits, _ in common) / len(common),
        recall=sum(hits / size for hits, size in common) / len(common),
        precision=sum(hits / k for hits, _ in common) / len(common),
    )
