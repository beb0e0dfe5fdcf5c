"""The order in which retrieved passages are shown (arXiv 2410.05983, section on retrieval reordering, and controls).

An order takes what is really shown, best first, after anything that did not fit has been dropped: reordering before
dropping would drop good passages. It returns the same passages, each once.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar

from data.files.sources import digest_of
from data.records.passages import Passage

Item = TypeVar("Item")


class Order(Protocol):
    """Decides where each passage stands in the prompt."""

    def arrange(self, passages: Sequence[Passage], *, example_id: str, gold: Collection[str]) -> list[Passage]:
        """Passages in the order of the prompt.

        Args:
            passages: k passages, best first.
            example_id: id of the question: what random orders draw from, so that no call depends on another.
            gold: ids of the passages that hold the answer.
        """
        ...


def reordered(ranked: Sequence[Item]) -> list[Item]:
    """Best at both ends: 1 3 5 ... 6 4 2.

    pos(d_i) = (i + 1) / 2 for odd i, (k + 1) - i / 2 for even i, counted from 1; the same rule for both parities of k.
    """
    return [*ranked[0::2], *reversed(ranked[1::2])]


class OriginalOrder:
    """As retrieved: best first, farthest from a question that stands last."""

    def arrange(self, passages: Sequence[Passage], *, example_id: str, gold: Collection[str]) -> list[Passage]:
        """See ``Order.arrange``."""
        return list(passages)


class ReorderedOrder:
    """Best at both ends, worst in the middle: see ``reordered``."""

    def arrange(self, passages: Sequence[Passage], *, example_id: str, gold: Collection[str]) -> list[Passage]:
        """See ``Order.arrange``."""
        return reordered(passages)


class ReversedOrder:
    """Worst first, best next to the question: the control that tells reordering from mere nearness."""

    def arrange(self, passages: Sequence[Passage], *, example_id: str, gold: Collection[str]) -> list[Passage]:
        """See ``Order.arrange``."""
        return list(reversed(passages))


class RandomOrder:
    """A permutation drawn from the seed and the question's id.

    Args:
        seed: decides the permutations.
    """

    def __init__(self, *, seed: int) -> None:
        self.seed = int(seed)

    def arrange(self, passages: Sequence[Passage], *, example_id: str, gold: Collection[str]) -> list[Passage]:
        """See ``Order.arrange``."""
        # Sorting by a hash of each passage keeps the relative order of two passages when a third is added or dropped.
        return sorted(passages, key=lambda passage: digest_of([self.seed, example_id, passage.id]))


class GoldAtOrder:
    """The gold passages side by side at a chosen place, the others as retrieved: the lost-in-the-middle probe.

    Args:
        position: 0 puts them first, 1 last, 0.5 in the middle; ``None`` draws a place for every question, each equally
            likely: gold balanced over positions. Without gold among the passages the order stays as it is.
        seed: decides the drawn places.
    """

    def __init__(self, *, position: float | None = None, seed: int = 0) -> None:
        if position is not None and not 0.0 <= position <= 1.0:
            raise ValueError(f"order.position must be 0 (first) to 1 (last) or null (drawn), got {position}")
        self.position = position
        self.seed = int(seed)

    def arrange(self, passages: Sequence[Passage], *, example_id: str, gold: Collection[str]) -> list[Passage]:
        """See ``Order.arrange``."""
        found = [passage for passage in passages if passage.id in gold]
        others = [passage for passage in passages if passage.id not in gold]
        if not found:
            return others
        if self.position is None:
            place = int(digest_of([self.seed, example_id])[:16], 16) % (len(others) + 1)
        else:
            place = round(self.position * len(others))
        return [*others[:place], *found, *others[place:]]
