"""Which passages of a corpus a question gets to see: retrieved once, kept as a stage, shared by cells.

A question set names its gold passages by ids of its own, a corpus its passages by others: they meet by the text
(``same_text``) where the question brings the passage and the corpus has its text, else by the id.
"""

from __future__ import annotations

import hashlib
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.files.sources import digest_of
from data.files.stages import Stages
from data.rag.corpus import PassageFile, PassageTexts, passage_id
from data.records.builders import MadeBy
from data.records.passages import Passage, RagExample
from data.records.relations import Neighbour
from data.retrieval.base import Progress, Retriever, learn
from data.scoring.answers import has_answer

PLAIN_VIEW = "sentence"


def same_text(text: str) -> bytes:
    """Digest that texts share which differ in white space, letter case or Unicode form alone."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return hashlib.blake2b(" ".join(plain.split()).encode(), digest_size=12).digest()


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
        self._known: dict[tuple[str, bytes | None], int | None] = {}
        pairs = zip(training, self._gold_places(training), strict=True)
        learn([retriever], [(example.question, self._texts[place]) for example, found in pairs for place in found])

    def _gold_places(self, examples: Sequence[RagExample]) -> list[list[int]]:
        """Positions in the corpus of the gold passages of every question; those that it lacks are left out.

        Of several passages with the text of a gold one, that with its id, or else with its title, or else the first.
        The corpus is read once for the ids, and once more for texts unless all ids are digests of the texts.
        """
        gold = [_gold_of(example) for example in examples]
        wanted = {key: passage for row in gold for key, passage in row if key not in self._known}
        if wanted:
            by_id = self._corpus.positions({name for name, _ in wanted})
            settled = {name for (name, _), passage in wanted.items() if passage and name == passage_id(passage.text)}
            looked_for = {mark for name, mark in wanted if mark and not (name in by_id and name in settled)}
            by_text: dict[bytes, list[tuple[int, Passage]]] = defaultdict(list)
            for place, passage in enumerate(self._corpus) if looked_for else ():
                if (digest := same_text(passage.text)) in looked_for:
                    by_text[digest].append((place, passage))
            for (name, mark), gold_passage in wanted.items():
                alike = by_text.get(mark, []) if mark else []
                named = [at for at, found in alike if found.id == name]
                titled = [at for at, found in alike if gold_passage and found.title == gold_passage.title]
                places = [*named, *titled, *(at for at, _ in alike)]
                self._known[name, mark] = places[0] if places else by_id.get(name)
        found = [[self._known[key] for key, _ in row] for row in gold]
        return [[place for place in row if place is not None] for row in found]

    def located(self, examples: Sequence[RagExample], *, name: str) -> list[RagExample]:
        """The questions with their gold passages under the ids that the corpus gives them.

        Gold that the corpus lacks keeps its id: it counts as not found. Where that happens to some questions, a warning
        says to how many.

        Args:
            examples: questions; those whose gold is not known stay as they are.
            name: what messages call questions and corpus.

        Raises:
            ValueError: no question has all its gold passages in the corpus, so that every score by gold would be 0
                whatever is retrieved.
        """
        places = self._gold_places(examples)
        judged = [(example, found) for example, found in zip(examples, places, strict=True) if example.gold]
        whole = sum(len(found) == len(example.gold) for example, found in judged)
        if judged and not whole:
            raise ValueError(
                f"{name}: none of {len(judged)} questions has its gold passages in the corpus, by id or by text, and "
                "recall by gold would be 0 whatever is retrieved: search a corpus that has them (passages cut by "
                "corpus.chunk are others), or set gold=unknown and score by answers alone"
            )
        if whole < len(judged):
            lacking = len(judged) - whole
            warnings.warn(
                f"{name}: {lacking} of {len(judged)} questions ({lacking / len(judged):.1%}) lack gold passages in the "
                f"corpus, by id and by text: recall by gold cannot exceed {whole / len(judged):.1%}",
                stacklevel=2,
            )
        return [self._renamed(example) for example in examples]

    def _renamed(self, example: RagExample) -> RagExample:
        places = [(key[0], self._known[key]) for key, _ in _gold_of(example)]
        names = [name if place is None else self._corpus[place].id for name, place in places]
        return example._replace(gold=tuple(dict.fromkeys(names)))

    def of(self, examples: Sequence[RagExample], k: int, *, progress: Progress | None = None) -> list[list[Neighbour]]:
        """Ids and scores of the ``k`` best passages of every question, in the order of ``examples``.

        Fewer only where the retriever gives fewer. Gold passages are handed to the retriever, for ``oracle``; a
        question whose gold is unknown or not in the corpus has none. The ids are the corpus's: see ``located``.
        """
        queries = [example.question for example in examples]
        gold = self._gold_places(examples)
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


def _gold_of(example: RagExample) -> list[tuple[tuple[str, bytes | None], Passage | None]]:
    """Of every gold passage its id and the digest of its text, and itself; ``None`` where the question lacks it."""
    own = {passage.id: passage for passage in example.passages}
    found = [(name, own.get(name)) for name in example.gold]
    return [((name, passage and same_text(passage.text)), passage) for name, passage in found]
