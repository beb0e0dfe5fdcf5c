"""Neighbour lists of a whole split: which training sentences a prompt may show, computed once and shared by cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.files.sources import digest_of
from data.files.stages import Stages
from data.records.builders import MadeBy
from data.records.relations import Neighbour, RelationExample, without_tags
from data.relations.prompts import MAX_NEIGHBOURS
from data.retrieval.base import Progress, Retriever
from data.retrieval.views import view_of


class NeighbourLists:
    """Nearest training examples of any examples, best first, ``MAX_NEIGHBOURS`` long (fewer only in a smaller pool).

    Args:
        retriever: finds positions by text.
        pool: the training examples.
        stages: where finished lists and embeddings live.
    """

    def __init__(self, retriever: Retriever, pool: Sequence[RelationExample], stages: Stages) -> None:
        self._retriever = retriever
        self._pool = pool
        self._stages = stages
        view = view_of(retriever.view)
        self._texts = [view(example.text) for example in pool]
        self._indexed = False

    def of(
        self, examples: Sequence[RelationExample], *, exclude_same_sentence: bool, progress: Progress | None = None
    ) -> list[list[Neighbour]]:
        """Lists for ``examples``, in their order.

        Args:
            examples: the queries.
            exclude_same_sentence: never give back a pool example with the query's sentence (tags removed), the query
                itself above all. For training prompts: a labelled neighbour would otherwise hand over the answer.
            progress: called with (done, total) while searching.
        """
        view = view_of(self._retriever.view)
        queries = [view(example.text) for example in examples]
        banned = self._same_sentence(examples) if exclude_same_sentence else None
        key = {
            "retriever": self._retriever.key(),
            "pool": digest_of(self._texts),
            "queries": digest_of(queries),
            "banned": None if banned is None else digest_of([sorted(positions) for positions in banned]),
            "k": MAX_NEIGHBOURS,
        }

        def build(into: Path) -> None:
            if not self._indexed:
                self._retriever.index(self._texts, self._stages, progress)
                self._indexed = True
            hits = self._retriever.search(queries, MAX_NEIGHBOURS, banned, progress)
            np.savez(into / "neighbours.npz", indices=hits.indices, scores=hits.scores)

        made = MadeBy(build, (self._retriever,))
        with np.load(self._stages.get("neighbours", key, made) / "neighbours.npz") as stored:
            indices, scores = stored["indices"], stored["scores"]
        return [
            [
                Neighbour(self._pool[index].id, float(score))
                for index, score in zip(row, row_scores, strict=True)
                if index >= 0
            ]
            for row, row_scores in zip(indices, scores, strict=True)
        ]

    def _same_sentence(self, examples: Sequence[RelationExample]) -> list[list[int]]:
        positions: dict[str, list[int]] = defaultdict(list)
        for index, example in enumerate(self._pool):
            positions[without_tags(example.text)].append(index)
        return [positions.get(without_tags(example.text), []) for example in examples]
