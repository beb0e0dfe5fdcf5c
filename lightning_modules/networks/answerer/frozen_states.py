"""What the frozen lower layers of an encoder make of the training texts: computed once, shared by every pass and seed.

Frozen layers have no dropout and no gradient, so their output is a function of the text alone. Three passes over six
layers, two of them frozen, would spend a seventh of their arithmetic on computing it again and again.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lightning_modules.base import Progress

_STATES, _ROWS = "states.npy", "rows.json"
_TOKENS_AT_ONCE = 2048

Lower = Callable[[Tensor], Tensor]
"""Token ids (B, S) without padding -> states (B, S, D)."""


def write_states(rows: Sequence[Sequence[int]], lower: Lower, into: Path, progress: Progress | None = None) -> None:
    """Compute the states of distinct rows of token ids.

    Only rows of one length are computed together: nothing is padded, and what a row gets does not depend on the batch
    that it is trained in.

    Args:
        rows: token ids of N texts.
        lower: the frozen layers.
        into: folder to fill.
        progress: called with (texts done, N).
    """
    by_length: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    for row in sorted({tuple(row) for row in rows}):
        by_length[len(row)].append(row)
    ordered = [row for length in sorted(by_length) for row in by_length[length]]
    total, done, states = sum(map(len, ordered)), 0, None
    for length in sorted(by_length):
        group, size = by_length[length], math.ceil(_TOKENS_AT_ONCE / length)
        for start in range(0, len(group), size):
            found = lower(torch.tensor(group[start : start + size])).flatten(0, 1).numpy()
            if states is None:
                shape = (total, found.shape[1])
                states = np.lib.format.open_memmap(into / _STATES, mode="w+", dtype=np.float32, shape=shape)
            states[done : done + len(found)] = found
            done += len(found)
            if progress is not None:
                progress(round(len(ordered) * done / total), len(ordered))
    if states is not None:
        states.flush()
    (into / _ROWS).write_text(json.dumps(ordered))


class FrozenStates:
    """The states that ``write_states`` wrote, mapped from disk.

    Args:
        folder: the finished folder.
    """

    def __init__(self, folder: Path) -> None:
        self._start: dict[tuple[int, ...], int] = {}
        position = 0
        for row in json.loads((folder / _ROWS).read_text()):
            self._start[tuple(row)] = position
            position += len(row)
        self._states = np.load(folder / _STATES, mmap_mode="r")

    def take(self, rows: Sequence[Sequence[int]]) -> Tensor | None:
        """States (B, S, D) of rows of token ids, zero beyond the end of a row; None if a row is unknown."""
        starts = [self._start.get(tuple(row)) for row in rows]
        if None in starts:
            return None
        states = np.zeros((len(rows), max(map(len, rows)), self._states.shape[1]), dtype=np.float32)
        for place, (row, start) in enumerate(zip(rows, starts, strict=True)):
            assert start is not None
            states[place, : len(row)] = self._states[start : start + len(row)]
        return torch.from_numpy(states)
