"""Several rankings fused into one by reciprocal rank (Cormack, Clarke and Buettcher 2009)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.files.stages import Stages
from data.retrieval.base import Banned, Gold, Hits, Pair, Progress, Retriever, learn, matched


class HybridRetriever:
    """score(text) = sum over the rankings that found it of 1 / (constant + rank), ranks counted from 1.

    A place alone is no merit: retrievers fill their rows up with texts that score 0, and those are not fused. A text
    that no part found is not given; a part that found nothing for a query has no say in it.

    Args:
        parts: the retrievers by name.
        constant: how little the first ranks stand out; 60 in the paper.
        depth: texts of each ranking that are fused; more where more are asked for.
    """

    view = "sentence"

    def __init__(self, *, parts: Mapping[str, Any], constant: float = 60.0, depth: int = 100) -> None:
        if len(parts) < 2:
            raise ValueError(f"retriever=hybrid fuses at least two retrievers, got {sorted(parts)}")
        if constant < 0 or depth < 1:
            raise ValueError(f"retriever=hybrid wants constant >= 0 and depth >= 1, got {constant}, {depth}")
        self.parts: dict[str, Retriever] = dict(parts)
        self.constant = float(constant)
        self.depth = int(depth)

    def learn(self, pairs: Sequence[Pair]) -> None:
        """See ``base.Learner.learn``."""
        learn(self.parts.values(), pairs)

    def key(self) -> dict[str, Any]:
        """See ``Retriever.key``."""
        parts = {name: part.key() for name, part in self.parts.items()}
        return {"retriever": "hybrid", "parts": parts, "constant": self.constant, "depth": self.depth}

    def index(self, texts: Sequence[str], stages: Stages, progress: Progress | None = None) -> None:
        """See ``Retriever.index``: every part indexes all texts."""
        for part in self.parts.values():
            part.index(texts, stages, progress)

    def search(
        self,
        queries: Sequence[str],
        k: int,
        banned: Banned | None = None,
        progress: Progress | None = None,
        gold: Gold | None = None,
    ) -> Hits:
        """See ``Retriever.search``.

        Raises:
            ValueError: a part whose scores are all below 0, so that none of them says that a text was found.
        """
        depth = max(k, self.depth)
        found = {name: part.search(queries, depth, banned, progress, gold) for name, part in self.parts.items()}
        rankings = [_found(name, hits) for name, hits in found.items()]
        indices = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        for row in range(len(queries)):
            summed: dict[int, float] = defaultdict(float)
            for ranking in rankings:
                for rank, place in enumerate(ranking[row].tolist(), start=1):
                    if place >= 0:
                        summed[place] += 1.0 / (self.constant + rank)
            best = sorted(summed.items(), key=lambda item: (-item[1], item[0]))[:k]
            indices[row, : len(best)] = [place for place, _ in best]
            scores[row, : len(best)] = [score for _, score in best]
        return Hits(indices, scores)


def _found(name: str, hits: Hits) -> np.ndarray:
    """(Q, K) positions of what a part found, -1 elsewhere."""
    scores = hits.scores[hits.indices >= 0]
    if len(scores) and scores.max() < 0:
        raise ValueError(
            f"retriever=hybrid fuses what scores above 0, but all scores of its part {name!r} are below (the best is "
            f"{scores.max():.3g}): give it a scale on which 0 means that nothing was found"
        )
    return np.where(matched(hits), hits.indices, -1)
