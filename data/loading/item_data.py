"""What data of a generated world share: training items in batches, from any step on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from data.loading.step_loader import StepLoader


class ItemData:
    """Data whose training examples are a sequence of items.

    Subclasses set ``batch_size`` and ``seed`` and give ``items``.

    Attributes:
        collate: turns a list of items into a training batch; set before ``train_dataloader``.
        count_tokens: tokens of a text; a method may set it in ``attach``.
        start_step: first step that ``train_dataloader`` gives.
    """

    batch_size: int
    seed: int
    collate: Callable[[list[Any]], Any] | None = None
    count_tokens: Callable[[str], int] | None = None
    start_step: int = 0

    def items(self, split: str, limit: int | None = None) -> Sequence[Any]:
        """Items of a split in their order; with ``limit`` a fixed choice of so many."""
        raise NotImplementedError

    def require(self, split: str) -> None:
        """Raise ``ValueError`` unless a split can be judged: it is there, and its rows can be read.

        A run asks before it trains, so that no training is lost to a test that is missing.
        """
        self.items(split, 1)

    def item_length(self) -> Callable[[Any], int] | None:
        """Length of an item, for batches of like length; ``None``: batches are as drawn."""
        return None

    @property
    def steps_per_epoch(self) -> int:
        """Training steps in one pass over train; the last one may be smaller."""
        return -(-len(self.items("train")) // self.batch_size)

    def train_dataloader(self) -> StepLoader:
        """Batches from ``start_step`` on; ``ValueError`` before ``collate`` is set."""
        if self.collate is None:
            raise ValueError("data.collate must be set to the method's collate before train_dataloader is called")
        return StepLoader(
            self.items("train"),
            batch_size=self.batch_size,
            seed=self.seed,
            collate=self.collate,
            length=self.item_length(),
            start_step=self.start_step,
        )
