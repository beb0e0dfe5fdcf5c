"""What a retriever is: it indexes texts once and finds, for many queries at once, the positions of the nearest.

A retriever knows nothing of relations or passages: ``data.relations.neighbours`` uses it over tagged sentences,
``data.rag.passage_lists`` over the passages of a corpus. It states the text ``view`` that it wants to compare (see
``views``); whoever calls it applies the view. Adding one takes a file here and a file in ``conf/retriever``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from data.files.sources import digest_of
from data.files.stages import Stages

Progress = Callable[[int, int], None]
"""Called with (done, total) during long work."""

Banned = Sequence[Collection[int]]
"""For every query the positions that it must not get back."""

Gold = Sequence[Collection[int]]
"""For every query the positions of the texts that answer it."""

_WORD = re.compile(r"[^\W_]")

Pair = tuple[str, str]
"""A query and a text that answers it."""


class Hits(NamedTuple):
    """Result of a search over Q queries.

    Attributes:
        indices: (Q, K) int64 positions in the indexed texts, best first; -1 where fewer than K could be given.
        scores: (Q, K) float32, falling along a row; larger is closer; -inf beside -1. A text that has nothing in common
            with the query scores 0 or less: it stands there to fill up K and was not found, see ``matched``.
    """

    indices: np.ndarray
    scores: np.ndarray


_ROUNDING = 1e-6
"""Share of a row's best score below which a score is what rounding left of 0."""


def matched(hits: Hits) -> np.ndarray:
    """(Q, K) booleans: which hits were found, rather than handed out to fill a row up."""
    best = hits.scores.max(1, keepdims=True, initial=0.0)
    return (hits.indices >= 0) & (hits.scores > _ROUNDING * best)


class Retriever(Protocol):
    """Finds texts; deterministic: equal scores are ordered by position. Texts without a word are refused as a whole."""

    view: str

    def key(self) -> dict[str, Any]:
        """Plain settings that decide what is found; part of the content key of neighbour lists."""
        ...

    def index(self, texts: Sequence[str], stages: Stages, progress: Progress | None = None) -> None:
        """Take the texts to search in; costly products go through ``stages``."""
        ...

    def search(
        self,
        queries: Sequence[str],
        k: int,
        banned: Banned | None = None,
        progress: Progress | None = None,
        gold: Gold | None = None,
    ) -> Hits:
        """The ``k`` nearest texts of every query, without those in ``banned``.

        A query without a letter or digit has no hits; one whose words no text has gets all texts at score 0.

        ``gold`` is for retrievers that hand out the answer (``oracle``); all others must not look at it.
        """
        ...


@runtime_checkable
class Learner(Protocol):
    """A retriever, or a part of one, that is trained on pairs; ``learn`` comes before ``key`` and ``index``."""

    def learn(self, pairs: Sequence[Pair]) -> None:
        """Take in the pairs to train on; the training itself is a stage of ``index``."""
        ...


def learn(parts: Iterable[object], pairs: Sequence[Pair]) -> None:
    """Hand pairs to those of the parts that are trained."""
    for part in parts:
        if isinstance(part, Learner):
            part.learn(pairs)


def texts_digest(texts: Sequence[str]) -> str:
    """Hexadecimal SHA-256 of texts in their order; a corpus that knows its ``digest`` is not read for it."""
    known = getattr(texts, "digest", None)
    return known if isinstance(known, str) else digest_of(list(texts))


def top_hits(scores: np.ndarray, k: int, banned: Banned | None = None) -> Hits:
    """The ``k`` largest of every row of ``scores`` (Q, N), without the banned columns; ties go to the lower column.

    ``k`` may exceed N: rows are then filled with -1.
    """
    if k < 0:
        raise ValueError(f"k must be at least 0, got {k}")
    queries, size = scores.shape
    indices = np.full((queries, k), -1, dtype=np.int64)
    kept = np.full((queries, k), -np.inf, dtype=np.float32)
    for row in range(queries):
        values = np.array(scores[row], dtype=np.float32)
        barred = list(banned[row]) if banned is not None else []
        values[barred] = -np.inf
        count = min(k, size - len(set(barred)))
        if count <= 0:
            continue
        # Everything at least as large as the count-th value, then a stable sort: a plain partition would pick among
        # ties by accident.
        floor = np.partition(values, size - count)[size - count]
        found = np.flatnonzero(values >= floor)
        found = found[np.argsort(-values[found], kind="stable")][:count]
        indices[row, :count] = found
        kept[row, :count] = values[found]
    return Hits(indices, kept)


def without_wordless(hits: Hits, queries: Sequence[str]) -> Hits:
    """Hits with none for the queries that have neither letter nor digit: there is nothing to compare them by."""
    lost = np.array([not _WORD.search(query) for query in queries], dtype=bool)[:, None]
    if not lost.any():
        return hits
    return Hits(np.where(lost, -1, hits.indices), np.where(lost, np.float32(-np.inf), hits.scores))


def joined(parts: Sequence[Hits], k: int) -> Hits:
    """Hits of consecutive batches of queries as one; without batches, (0, k)."""
    if not parts:
        return Hits(np.empty((0, k), dtype=np.int64), np.empty((0, k), dtype=np.float32))
    return Hits(np.concatenate([part.indices for part in parts]), np.concatenate([part.scores for part in parts]))


def require_texts(texts: Sequence[str], name: str) -> None:
    """Raise ``ValueError`` where there is no text to search."""
    if not len(texts):
        raise ValueError(f"{name} has nothing to search: it got no text; give a corpus or a training set with some")


def no_words(texts: Sequence[str], name: str, wanted: str) -> ValueError:
    """The error of texts that all have no word left."""
    return ValueError(f"{name} has nothing to search: none of its {len(texts)} texts has {wanted}; give others")


def require_index(indexed: object | None, name: str) -> None:
    """Raise ``ValueError`` unless ``index`` was called."""
    if indexed is None:
        raise ValueError(f"{name}: search was called before index; index the texts first")
