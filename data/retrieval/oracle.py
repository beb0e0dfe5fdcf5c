"""The passages that answer come first; another retriever fills up: perfect recall, and the golden study's contexts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from data.files.stages import Stages
from data.retrieval.base import Banned, Gold, Hits, Pair, Progress, Retriever, learn


class OracleRetriever:
    """Gold first, then what ``negatives`` finds without it.

    Args:
        negatives: where the other passages come from; its strength is how hard they are.
    """

    view = "sentence"

    def __init__(self, *, negatives: Retriever) -> None:
        self.negatives = negatives

    def learn(self, pairs: Sequence[Pair]) -> None:
        """See ``base.Learner.learn``."""
        learn([self.negatives], pairs)

    def key(self) -> dict[str, Any]:
        """See ``Retriever.key``."""
        return {"retriever": "oracle", "negatives": self.negatives.key()}

    def index(self, texts: Sequence[str], stages: Stages, progress: Progress | None = None) -> None:
        """See ``Retriever.index``."""
        self.negatives.index(texts, stages, progress)

    def search(
        self,
        queries: Sequence[str],
        k: int,
        banned: Banned | None = None,
        progress: Progress | None = None,
        gold: Gold | None = None,
    ) -> Hits:
        """See ``Retriever.search``; gold scores lie above all others, and fall by 1 from one to the next.

        Raises:
            ValueError: without ``gold``.
        """
        if gold is None:
            raise ValueError("retriever=oracle needs questions whose gold passages are known, and got none")
        barred = [set(row) for row in banned] if banned is not None else [set()] * len(queries)
        right = [[place for place in row if place not in out][:k] for row, out in zip(gold, barred, strict=True)]
        hidden = [out | set(row) for out, row in zip(barred, gold, strict=True)]
        others = self.negatives.search(queries, k, hidden, progress, gold)
        indices = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        for row, found in enumerate(right):
            known = others.indices[row] >= 0
            rest, values = others.indices[row][known], others.scores[row][known]
            top = max(0.0, float(values[0])) if len(values) else 0.0
            filled = min(k, len(found) + len(rest))
            indices[row, :filled] = np.concatenate([np.array(found, dtype=np.int64), rest])[:k]
            above = top + np.arange(len(found), 0, -1, dtype=np.float32)
            scores[row, :filled] = np.concatenate([above, values])[:k]
        return Hits(indices, scores)
