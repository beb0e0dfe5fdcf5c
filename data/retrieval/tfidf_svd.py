"""A dense encoder without weights: TF-IDF vectors projected on their leading singular vectors, by scikit-learn.

Latent semantic analysis (Deerwester et al. 1990), learnt from the corpus that it searches.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.files.stages import Stages
from data.retrieval.base import Progress, no_words, require_texts, texts_digest

_AT_ONCE = 20_000
_ROUNDING = 1e-5
"""Length below which the projection of a unit vector is what rounding left of 0."""


class TfidfSvdEncoder:
    """Unit vectors of texts in the space of the leading singular vectors of a corpus.

    Args:
        dimensions: singular vectors kept, at most one fewer than there are terms and texts.
        max_terms: terms kept, the most frequent ones.
        fit_texts: at most so many texts, evenly spread over the corpus, are learnt from.
        seed: of the randomised decomposition.
    """

    def __init__(
        self, *, dimensions: int = 256, max_terms: int = 50_000, fit_texts: int = 100_000, seed: int = 0
    ) -> None:
        if dimensions < 1 or max_terms < 2 or fit_texts < 2:
            raise ValueError(
                f"encoder wants dimensions >= 1, max_terms >= 2 and fit_texts >= 2, got {dimensions}, {max_terms}, "
                f"{fit_texts}"
            )
        self.dimensions = int(dimensions)
        self.max_terms = int(max_terms)
        self.fit_texts = int(fit_texts)
        self.seed = int(seed)
        self._vectorizer: Any = None
        self._components: np.ndarray = np.empty((0, 0), dtype=np.float32)

    def key(self) -> dict[str, Any]:
        """See ``Encoder.key``."""
        return {
            "encoder": "tfidf_svd",
            "dimensions": self.dimensions,
            "max_terms": self.max_terms,
            "fit_texts": self.fit_texts,
            "seed": self.seed,
        }

    def fit(self, texts: Sequence[str], stages: Stages, progress: Progress | None = None) -> dict[str, Any]:
        """See ``Encoder.fit``; vocabulary and singular vectors are a stage.

        Raises:
            ValueError: no text, or none with a word that counts.
        """
        require_texts(texts, "the encoder tfidf_svd")
        fitted = {"texts": texts_digest(texts)}
        folder = stages.get("tfidf_svd", {**self.key(), **fitted}, lambda into: self._learn(texts, into))
        terms = json.loads((folder / "terms.json").read_text())
        with np.load(folder / "projection.npz") as stored:
            self._vectorizer = self._counter(vocabulary=terms)
            self._vectorizer.idf_ = stored["idf"]
            self._components = stored["components"]
        return fitted

    def _counter(self, **settings: Any) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer

        return TfidfVectorizer(sublinear_tf=True, stop_words="english", dtype=np.float32, **settings)

    def _learn(self, texts: Sequence[str], into: Path) -> None:
        from sklearn.decomposition import TruncatedSVD

        step = -(-len(texts) // self.fit_texts)
        vectorizer = self._counter(max_features=self.max_terms)
        try:
            counts = vectorizer.fit_transform(texts[index] for index in range(0, len(texts), step))
        except ValueError as error:
            if "empty vocabulary" not in str(error):
                raise
            wanted = "a word of two letters or more that is no function word"
            raise no_words(texts, "the encoder tfidf_svd", wanted) from None
        kept = max(1, min(self.dimensions, min(counts.shape) - 1))
        if counts.shape[1] == 1:  # the library decomposes no single term, which is its own singular vector
            components = np.ones((1, 1), dtype=np.float32)
        else:
            with np.errstate(invalid="ignore"):  # shares of a variance that is 0 where there is one text
                found = TruncatedSVD(n_components=kept, random_state=self.seed).fit(counts).components_
            components = found.astype(np.float32)
        (into / "terms.json").write_text(json.dumps(vectorizer.get_feature_names_out().tolist()))
        np.savez(into / "projection.npz", idf=vectorizer.idf_, components=components)

    def width(self) -> int:
        """See ``Encoder.width``."""
        return len(self._components)

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """See ``Encoder.encode_queries``; a text without a known term, or whose terms the kept dimensions do not
        tell apart from nothing, is the zero vector."""
        made = [self._project(texts[start : start + _AT_ONCE]) for start in range(0, len(texts), _AT_ONCE)]
        return np.concatenate(made) if made else np.empty((0, self.width()), dtype=np.float32)

    encode_texts = encode_queries

    def _project(self, texts: Sequence[str]) -> np.ndarray:
        vectors = np.asarray(self._vectorizer.transform(texts) @ self._components.T, dtype=np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        # Rounding must not be blown up to a direction of its own.
        return np.where(lengths > _ROUNDING, vectors / np.maximum(lengths, _ROUNDING), 0.0).astype(np.float32)
