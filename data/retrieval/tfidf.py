"""Cosine of TF-IDF vectors, by scikit-learn: one sparse matrix product per batch of queries."""

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
    top_hits,
    without_wordless,
)
from data.retrieval.views import view_of

_BATCH = 256


class TfidfRetriever:
    """Cosine similarity of TF-IDF vectors with logarithmic term counts.

    Args:
        view: text view that is compared, see ``views``.
        max_ngram: longest word sequence that counts as a term, 1 to 3.
    """

    def __init__(self, *, view: str = "sentence", max_ngram: int = 2) -> None:
        view_of(view)
        if not 1 <= max_ngram <= 3:
            raise ValueError(f"max_ngram must be 1 to 3, got {max_ngram}")
        self.view = view
        self.max_ngram = int(max_ngram)
        self._vectorizer: Any = None
        self._matrix: Any = None

    def key(self) -> dict[str, Any]:
        """See ``Retriever.key``."""
        return {"retriever": "tfidf", "view": self.view, "max_ngram": self.max_ngram}

    def index(self, texts: Sequence[str], stages: Stages, progress: Progress | None = None) -> None:
        """See ``Retriever.index``; half a second for 7,000 sentences, so no stage.

        Raises:
            ValueError: no text, or none with a word.
        """
        from sklearn.feature_extraction.text import TfidfVectorizer

        require_texts(texts, "retriever=tfidf")
        # The default pattern drops one-letter words, but "a" and "I" can stand between two entities.
        self._vectorizer = TfidfVectorizer(
            sublinear_tf=True, ngram_range=(1, self.max_ngram), token_pattern=r"(?u)\b\w+\b", dtype=np.float32
        )
        try:
            self._matrix = self._vectorizer.fit_transform(list(texts)).T.tocsr()
        except ValueError as error:
            if "empty vocabulary" not in str(error):
                raise
            raise no_words(texts, "retriever=tfidf", "a word (a letter or digit)") from None

    def search(
        self,
        queries: Sequence[str],
        k: int,
        banned: Banned | None = None,
        progress: Progress | None = None,
        gold: Gold | None = None,
    ) -> Hits:
        """See ``Retriever.search``; texts without a common term score 0 and come last, in their order."""
        require_index(self._matrix, "retriever=tfidf")
        found = []
        for start in range(0, len(queries), _BATCH):
            vectors = self._vectorizer.transform(list(queries[start : start + _BATCH]))
            scores = (vectors @ self._matrix).toarray()
            found.append(top_hits(scores, k, banned[start : start + _BATCH] if banned is not None else None))
            if progress:
                progress(min(start + _BATCH, len(queries)), len(queries))
        return without_wordless(joined(found, k), queries)
