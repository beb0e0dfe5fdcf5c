"""BM25 over words (Robertson and Zaragoza 2009), by the bm25s library in its Lucene variant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from data.artifacts import Stages
from data.retrieval.base import Banned, Hits, Progress, joined, require_index, top_hits
from data.retrieval.views import view_of

_BATCH = 256


class BM25Retriever:
    """BM25 with lower-cased words of two letters or more; no stemming.

    Args:
        view: text view that is compared, see ``views``.
        k1: saturation of repeated terms, at least 0.
        b: weight of the length normalisation, 0 to 1.
        stopwords: drop English function words. Off, because they carry relations ("caused by", "made of").
    """

    def __init__(self, *, view: str = "sentence", k1: float = 1.5, b: float = 0.75, stopwords: bool = False) -> None:
        view_of(view)
        if k1 < 0 or not 0 <= b <= 1:
            raise ValueError(f"BM25 wants k1 >= 0 and 0 <= b <= 1, got k1={k1}, b={b}")
        self.view = view
        self.k1 = float(k1)
        self.b = float(b)
        self.stopwords = bool(stopwords)
        self._bm25: Any = None
        self._size = 0

    def key(self) -> dict[str, Any]:
        """See ``Retriever.key``."""
        return {"retriever": "bm25", "view": self.view, "k1": self.k1, "b": self.b, "stopwords": self.stopwords}

    def _words(self, texts: Sequence[str]) -> list[list[str]]:
        import bm25s

        stopwords = "en" if self.stopwords else None
        return bm25s.tokenize(list(texts), stopwords=stopwords, return_ids=False, show_progress=False)

    def index(self, texts: Sequence[str], stages: Stages, progress: Progress | None = None) -> None:
        """See ``Retriever.index``; a second of work for 7,000 sentences, so no stage."""
        import bm25s

        self._bm25 = bm25s.BM25(k1=self.k1, b=self.b)
        self._bm25.index(self._words(texts), show_progress=False)
        self._size = len(texts)

    def search(
        self, queries: Sequence[str], k: int, banned: Banned | None = None, progress: Progress | None = None
    ) -> Hits:
        """See ``Retriever.search``; texts without a common word score 0 and come last, in their order."""
        require_index(self._bm25, "retriever=bm25")
        words = self._words(queries)
        found = []
        for start in range(0, len(words), _BATCH):
            batch = words[start : start + _BATCH]
            scores = np.stack([self._scores(query) for query in batch])
            found.append(top_hits(scores, k, banned[start : start + _BATCH] if banned is not None else None))
            if progress:
                progress(min(start + _BATCH, len(words)), len(words))
        return joined(found, k)

    def _scores(self, words: list[str]) -> np.ndarray:
        known = [word for word in words if word in self._bm25.vocab_dict]
        return self._bm25.get_scores(known) if known else np.zeros(self._size, dtype=np.float32)
