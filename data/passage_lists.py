"""Which passages of a corpus a question gets to see: retrieved once, kept as a stage, shared by cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.answers import has_answer
from data.artifacts import Stages
from data.corpora import PassageFile, PassageTexts
from data.records.builders import MadeBy
from data.records.passages import Passage, RagExample
from data.records.relations import Neighbour
from data.retrieval.base import Progress, Retriever, learn
from data.sources import digest_of

PLAIN_VIEW = "sentence"


def without_hidden_answers(passages: Sequence[Passage], example: RagExample) -> list[Passage]:
    """Passages that are gold or hold none of the accepted answers, in their order.

    What a retriever ranks high without being marked as gold may answer all the same: no "hard negative" at all.
    """
    gold, answers = example.gold, example.answers
    return [passage for passage in passages if passage.id in gold or not has_answer(passage.text, answers)]


class PassageLists:
    """Retrieved passages of any questions, best first.

    Args:
        retriever: finds passages by title and text.
        corpus: what is searched.
        stages: where lists, embeddings and indices live.
        training: questions with gold passages that retrievers which are trained here learn from; never those that are
            evaluated. Others ignore them.
    """

    def __init__(
        self, retriever: Retriever, corpus: PassageFile, stages: Stages, *, training: Sequence[RagExample] = ()
    ) -> None:
        if retriever.view != PLAIN_VIEW:
            raise ValueError(
                f"the view {retriever.view!r} is for sentences with marked entities, passages have none: choose a "
                f"retriever with the view {PLAIN_VIEW!r}"
            )
        self._retriever = retriever
        self._corpus = corpus
        self._stages = stages
        self._texts = PassageTexts(corpus)
        self._indexed = False
        learn([retriever], self._pairs(training))

    def _pairs(self, training: Sequence[RagExample]) -> list[tuple[str, str]]:
        places = self._corpus.positions({name for example in training for name in example.gold})
        return [
            (example.question, self._texts[places[name]])
            for example in training
            for name in example.gold
            if name in places
        ]

    def of(
        self, examples: Sequence[RagExample], k: int, *, progress: Progress | None = None
    ) -> list[list[Neighbour]]:
        """Ids and scores of the ``k`` best passages of every question, in the order of ``examples``.

        Fewer only where the retriever gives fewer. Gold ids are handed to the retriever, for ``oracle``; a question
        whose gold is unknown or not in the corpus has none.
        """
        queries = [example.question for example in examples]
        places = self._corpus.positions({name for example in examples for name in example.gold})
        gold = [[places[name] for name in example.gold if name in places] for example in examples]
        key = {
            "retriever": self._retriever.key(),
            "corpus": self._corpus.digest,
            "queries": digest_of(queries),
            "gold": digest_of(gold),
            "k": k,
        }

        def build(into: Path) -> None:
            if not self._indexed:
                self._retriever.index(self._texts, self._stages, progress)
                self._indexed = True
            hits = self._retriever.search(queries, k, None, progress, gold)
            np.savez(into / "passages.npz", indices=hits.indices, scores=hits.scores)

        with np.load(self._stages.get("passages", key, MadeBy(build, (self._retriever,))) / "passages.npz") as stored:
            indices, scores = stored["indices"], stored["scores"]
        return [
            [
                Neighbour(self._corpus[place].id, float(score))
                for place, score in zip(row, row_scores, strict=True)
                if place >= 0
            ]
            for row, row_scores in zip(indices, scores, strict=True)
        ]
