"""BM25 over words (Robertson and Zaragoza 2009), by the bm25s library in its Lucene variant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from data.files.stages import Stages
from data.retrieval.base import (
    Banned,
    Gold,
    Hits,
    Progress,
    joined,
    no_words,
    require_index,
    require_texts,
    texts_digest,
    top_hits,
    without_wordless,
)
from data.retrieval.views import view_of

_BATCH = 256
_SCORES_AT_ONCE = 1 << 25
_STAGED_FROM = 50_000


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
        """See ``Retriever.index``; a second of work for 7,000 sentences, so only large indices are stages.

        Raises:
            ValueError: no text, or none with a word that counts.
        """
        import bm25s

        require_texts(texts, "retriever=bm25")
        if len(texts) < _STAGED_FROM:
            self._bm25 = self._built(texts)
        else:
            key = {**self.key(), "texts": texts_digest(texts)}
            folder = stages.get("bm25", key, lambda into: self._built(texts).save(str(into), show_progress=False))
            self._bm25 = bm25s.BM25.load(str(folder), mmap=True)
        self._size = len(texts)

    def _built(self, texts: Sequence[str]) -> Any:
        import bm25s

        made = bm25s.BM25(k1=self.k1, b=self.b)
        words = self._words(texts)
        if not any(words):
            left = " that is no function word (stopwords=true)" if self.stopwords else ""
            raise no_words(texts, "retriever=bm25", f"a word of two letters or more{left}")
        made.index(words, show_progress=False)
        return made

    def search(
        self,
        queries: Sequence[str],
        k: int,
        banned: Banned | None = None,
        progress: Progress | None = None,
        gold: Gold | None = None,
    ) -> Hits:
        """See ``Retriever.search``; texts without a common word score 0 and come last, in their order."""
        require_index(self._bm25, "retriever=bm25")
        words = self._words(queries)
        found = []
        step = max(1, min(_BATCH, _SCORES_AT_ONCE // max(1, self._size)))
        for start in range(0, len(words), step):
            batch = words[start : start + step]
            scores = np.stack([self._scores(query) for query in batch])
            found.append(top_hits(scores, k, banned[start : start + step] if banned is not None else None))
            if progress:
                progress(min(start + step, len(words)), len(words))
        return without_wordless(joined(found, k), queries)

    def _scores(self, words: list[str]) -> np.ndarray:
        known = [word for word in words if word in self._bm25.vocab_dict]
        return self._bm25.get_scores(known) if known else np.zeros(self._size, dtype=np.float32)
