"""Each question is answered by one of several retrievers, drawn once: the paper's mixture of training retrievers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.files.sources import digest_of
from data.files.stages import Stages
from data.retrieval.base import Banned, Gold, Hits, Pair, Progress, Retriever, learn


class MixedRetriever:
    """Draws a retriever for every query from its text and the seed, each equally likely.

    Scores keep the scale of the retriever that was drawn: they compare within a query only. Nothing is fused: what that
    retriever did not find keeps its score of 0.

    Args:
        parts: the retrievers by name; the names, in alphabetical order, decide the draw.
        seed: another seed, another mixture.
    """

    view = "sentence"

    def __init__(self, *, parts: Mapping[str, Any], seed: int) -> None:
        if not parts:
            raise ValueError("retriever=mixed needs at least one retriever in parts")
        self.parts: dict[str, Retriever] = {name: parts[name] for name in sorted(parts)}
        self.seed = int(seed)

    def learn(self, pairs: Sequence[Pair]) -> None:
        """See ``base.Learner.learn``."""
        learn(self.parts.values(), pairs)

    def key(self) -> dict[str, Any]:
        """See ``Retriever.key``."""
        parts = {name: part.key() for name, part in self.parts.items()}
        return {"retriever": "mixed", "parts": parts, "seed": self.seed}

    def index(self, texts: Sequence[str], stages: Stages, progress: Progress | None = None) -> None:
        """See ``Retriever.index``: every part indexes all texts."""
        for part in self.parts.values():
            part.index(texts, stages, progress)

    def drawn(self, query: str) -> str:
        """Name of the part that answers a query."""
        names = list(self.parts)
        return names[int(digest_of([self.seed, query])[:16], 16) % len(names)]

    def search(
        self,
        queries: Sequence[str],
        k: int,
        banned: Banned | None = None,
        progress: Progress | None = None,
        gold: Gold | None = None,
    ) -> Hits:
        """See ``Retriever.search``."""
        indices = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        drawn = [self.drawn(query) for query in queries]
        done = 0
        for name, part in self.parts.items():
            rows = [row for row, chosen in enumerate(drawn) if chosen == name]
            hits = part.search(
                [queries[row] for row in rows],
                k,
                [banned[row] for row in rows] if banned is not None else None,
                None,
                [gold[row] for row in rows] if gold is not None else None,
            )
            # A part may give fewer columns than k: the retriever "none" gives no column at all.
            indices[rows, : hits.indices.shape[1]] = hits.indices
            scores[rows, : hits.scores.shape[1]] = hits.scores
            done += len(rows)
            if progress:
                progress(done, len(queries))
        return Hits(indices, scores)
