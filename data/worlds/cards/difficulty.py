"""How hard a card game is: the share of hands that can be won, and how many ways there are to win a problem."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import fmean, median
from typing import NamedTuple


class Difficulty(NamedTuple):
    """Measured over draws.

    Attributes:
        draws: how many were looked at.
        share_solvable: share of them with at least one solution.
        mean_solutions: over the solvable ones.
        median_solutions: over the solvable ones.
        share_single: share of the solvable ones that have exactly one solution.
    """

    draws: int
    share_solvable: float
    mean_solutions: float
    median_solutions: float
    share_single: float


def measure(draws: Iterable[object], solutions: Callable[[object], int]) -> Difficulty:
    """Count solutions over draws; ``ValueError`` when there is no draw, or none can be solved."""
    counts = [solutions(draw) for draw in draws]
    solved = [count for count in counts if count]
    if not solved:
        raise ValueError(f"{len(counts)} draws hold no solvable one: draw more, or widen the targets")
    single = sum(count == 1 for count in solved) / len(solved)
    return Difficulty(len(counts), len(solved) / len(counts), fmean(solved), median(solved), single)
