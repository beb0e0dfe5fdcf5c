"""Embeddings of a corpus in shards: written so that a killed run goes on where it stopped, read as mapped files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.retrieval.base import Progress

STORAGES = ("float32", "float16")
_SHAPE = "vectors.json"
_AT_ONCE = 4096


def write_vectors(
    texts: Sequence[str],
    encode: Callable[[Sequence[str]], np.ndarray],
    into: Path,
    *,
    width: int,
    shard_size: int,
    storage: str = "float32",
    progress: Progress | None = None,
) -> None:
    """Embed ``texts`` into shards; shards that an earlier, killed call finished are kept.

    Args:
        texts: N texts; read shard by shard, so that they need not be in memory together.
        encode: texts -> (n, width) floats; deterministic.
        into: folder of this embedding alone, perhaps half full.
        width: dimensions D.
        shard_size: rows of a shard: what a kill can cost at most.
        storage: number format on disk, one of ``STORAGES``.
        progress: called with (rows done, N).
    """
    if storage not in STORAGES or shard_size < 1:
        raise ValueError(f"vectors: storage is one of {STORAGES} and shard_size 1 or more, got {storage}, {shard_size}")
    shape = {"rows": len(texts), "width": width, "shard_size": shard_size, "storage": storage}
    if _known(into / _SHAPE) != shape:
        # Shards of another division, such as a killed run with another shard_size left, hold other rows.
        for old in into.glob("shard-*"):
            old.unlink()
        (into / _SHAPE).write_text(json.dumps(shape))
    for start in range(0, len(texts), shard_size):
        end = min(start + shard_size, len(texts))
        path = into / _shard(start // shard_size)
        if not path.is_file():
            shard = np.empty((end - start, width), dtype=storage)
            for first in range(start, end, _AT_ONCE):
                last = min(first + _AT_ONCE, end)
                shard[first - start : last - start] = encode(texts[first:last])
                if progress:
                    progress(last, len(texts))
            # Written under another name: a shard that has its name is whole.
            half = path.with_suffix(".part")
            with half.open("wb") as stream:
                np.save(stream, shard)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(half, path)
        elif progress:
            progress(end, len(texts))


class Vectors:
    """N vectors of D dimensions, mapped from the shards that ``write_vectors`` wrote.

    Args:
        folder: the finished folder.

    Attributes:
        width: D.
    """

    def __init__(self, folder: Path) -> None:
        shape = json.loads((folder / _SHAPE).read_text())
        self._rows: int = shape["rows"]
        self._shard_size: int = shape["shard_size"]
        self.width: int = shape["width"]
        count = -(-self._rows // self._shard_size)
        self._shards = [np.load(folder / _shard(number), mmap_mode="r") for number in range(count)]

    def __len__(self) -> int:
        return self._rows

    def blocks(self, rows: int) -> Iterator[tuple[int, np.ndarray]]:
        """(position of the first, (n, D) float32) for runs of at most ``rows`` vectors, in order; none spans shards."""
        for number, shard in enumerate(self._shards):
            for start in range(0, len(shard), rows):
                block = np.ascontiguousarray(shard[start : start + rows], dtype=np.float32)
                yield number * self._shard_size + start, block

    def take(self, positions: np.ndarray) -> np.ndarray:
        """(n, D) float32 vectors at ``positions`` (n,), in that order."""
        taken = np.empty((len(positions), self.width), dtype=np.float32)
        shards = positions // self._shard_size
        for number in np.unique(shards):
            chosen = np.flatnonzero(shards == number)
            taken[chosen] = self._shards[number][positions[chosen] - number * self._shard_size]
        return taken


def _known(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return None


def _shard(number: int) -> str:
    return f"shard-{number:05d}.npy"
