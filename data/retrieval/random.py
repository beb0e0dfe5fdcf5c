"""Random neighbours: the control that has the prompt's form and length but no likeness to the query."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from data.files.stages import Stages
from data.retrieval.base import Banned, Gold, Hits, Progress, joined, require_index, top_hits


class RandomRetriever:
    """Draws without replacement; a query's draw depends on its text and ``seed`` alone, never on its batch.

    A smaller ``k`` gives a prefix of what a larger one gives. Scores are the uniform numbers drawn; they mean nothing.

    Args:
        seed: another seed, other neighbours.
        view: text view that names the query.
    """

    def __init__(self, *, seed: int, view: str = "sentence") -> None:
        self.seed = int(seed)
        self.view = view
        self._size: int | None = None

    def key(self) -> dict[str, Any]:
        """See ``Retriever.key``."""
        return {"retriever": "random", "seed": self.seed, "view": self.view}

    def index(self, texts: Sequence[str], stages: Stages, progress: Progress | None = None) -> None:
        """See ``Retriever.index``: only the number of texts matters."""
        self._size = len(texts)

    def search(
        self,
        queries: Sequence[str],
        k: int,
        banned: Banned | None = None,
        progress: Progress | None = None,
        gold: Gold | None = None,
    ) -> Hits:
        """See ``Retriever.search``."""
        require_index(self._size, "retriever=random")
        size = self._size or 0
        found = []
        for row, query in enumerate(queries):
            drawn = hashlib.sha256(f"{self.seed}:{query}".encode()).digest()
            generator = np.random.default_rng(int.from_bytes(drawn[:16]))
            scores = generator.random((1, size), dtype=np.float32)
            found.append(top_hits(scores, k, [banned[row]] if banned is not None else None))
            if progress:
                progress(row + 1, len(queries))
        return joined(found, k)
