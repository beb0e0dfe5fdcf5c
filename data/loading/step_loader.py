"""Batches as a pure function of (seed, step): what makes a killed run resume on exactly the data it would have seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

_WINDOW = 16


class StepLoader:
    """Iterable of collated batches, without any state but the next step.

    Every epoch is a permutation drawn from (seed, epoch). With ``bucket`` its items are sorted by length inside windows
    of 16 batches and the batches are put in random order again, so that little is padded. The last batch of an epoch
    may be smaller; nothing is dropped or seen twice.

    ``iter`` gives the batches from ``start_step`` to the end of its epoch; each further ``iter`` gives the next epoch.

    Args:
        items: what is batched.
        batch_size: items per batch, at least 1.
        seed: decides all permutations.
        collate: turns a list of items into a batch.
        length: length of an item for ``bucket``; ``None`` for no bucketing.
        start_step: first step to give, counted from 0 over all epochs.
    """

    def __init__(
        self,
        items: Sequence[Any],
        *,
        batch_size: int,
        seed: int,
        collate: Callable[[list[Any]], Any],
        length: Callable[[Any], int] | None = None,
        start_step: int = 0,
    ) -> None:
        if not items:
            raise ValueError("there is nothing to batch: give at least one training item")
        if batch_size < 1 or start_step < 0:
            raise ValueError(f"batch_size must be at least 1 and start_step at least 0, got {batch_size}, {start_step}")
        self.items = items
        self.batch_size = batch_size
        self.seed = seed
        self.collate = collate
        self.next_step = start_step
        self._lengths = None if length is None else np.array([length(item) for item in items])
        self._epoch: tuple[int, list[np.ndarray]] | None = None

    def __len__(self) -> int:
        """Steps per epoch."""
        return -(-len(self.items) // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        end = (self.next_step // len(self) + 1) * len(self)
        while self.next_step < end:
            step = self.next_step
            self.next_step = step + 1
            yield self.collate(self.at(step))

    def at(self, step: int) -> list[Any]:
        """Items of one step, before ``collate``."""
        epoch, inside = divmod(step, len(self))
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self._batches(epoch))
        return [self.items[index] for index in self._epoch[1][inside]]

    def _batches(self, epoch: int) -> list[np.ndarray]:
        generator = np.random.default_rng([self.seed, epoch])
        order = generator.permutation(len(self.items))
        if self._lengths is not None:
            width = self.batch_size * _WINDOW
            windows = [order[start : start + width] for start in range(0, len(order), width)]
            order = np.concatenate([window[np.argsort(self._lengths[window], kind="stable")] for window in windows])
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        if self._lengths is not None:
            batches = [batches[index] for index in generator.permutation(len(batches))]
        return batches
