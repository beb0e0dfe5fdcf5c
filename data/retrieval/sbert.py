"""Sentence-embedding retrieval (Reimers and Gurevych 2019, https://aclanthology.org/D19-1410), as RAG4RE does it.

all-MiniLM-L6-v2 by sentence-transformers, cosine by a faiss inner-product index over normalised vectors. Exact search.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.files.sources import digest_of, locate_weights, weights_digest
from data.files.stages import Stages
from data.retrieval.base import Banned, Gold, Hits, Progress, require_index, require_texts, without_wordless
from data.retrieval.views import view_of

_EMBEDDED_AT_ONCE = 512


class SbertRetriever:
    """Cosine similarity of sentence embeddings.

    Args:
        weights: sentence-transformers model, see ``sources.locate_weights``.
        revision: revision of a hub id.
        view: text view that is compared; "sentence" is what RAG4RE embeds.
        batch_size: texts per forward pass; changes speed, and scores in the seventh digit.
    """

    def __init__(
        self, *, weights: str, revision: str | None = None, view: str = "sentence", batch_size: int = 32
    ) -> None:
        view_of(view)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.weights = weights
        self.revision = revision
        self.view = view
        self.batch_size = int(batch_size)
        self._stages: Stages | None = None
        self._index: Any = None
        self._encoder: Any = None
        self._copies: dict[str, list[int]] = {}
        self._texts: list[str] = []

    def key(self) -> dict[str, Any]:
        """See ``Retriever.key``: the digest of the weights, not their name."""
        digest = weights_digest(locate_weights(self.weights, self.revision))
        return {"retriever": "sbert", "view": self.view, "weights": digest}

    def index(self, texts: Sequence[str], stages: Stages, progress: Progress | None = None) -> None:
        """See ``Retriever.index``; the embeddings are a stage."""
        try:
            import faiss
        except ImportError:
            raise ValueError("retriever=sbert needs faiss: pip install -e '.[encoders,cpu]' (or gpu)") from None
        require_texts(texts, "retriever=sbert")
        self._stages = stages
        # Every distinct text is indexed once: copies of one sentence would otherwise tie, or miss a tie by rounding, in
        # an order that depends on the number of queries. SemEval's train has 21 such copies.
        self._copies = defaultdict(list)
        for position, text in enumerate(texts):
            self._copies[text].append(position)
        self._texts = list(self._copies)
        vectors = self._embeddings(self._texts, progress)
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(vectors)

    def search(
        self,
        queries: Sequence[str],
        k: int,
        banned: Banned | None = None,
        progress: Progress | None = None,
        gold: Gold | None = None,
    ) -> Hits:
        """See ``Retriever.search``; scores are cosines."""
        require_index(self._index, "retriever=sbert")
        indices = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        widest = max((len(set(barred)) for barred in banned), default=0) if banned is not None else 0
        wanted = min(k + widest, self._index.ntotal)
        if not wanted or not len(queries) or not k:
            return Hits(indices, scores)
        distinct = {query: row for row, query in enumerate(dict.fromkeys(queries))}
        values, texts = self._index.search(self._embeddings(list(distinct), progress), wanted)
        for row, query in enumerate(queries):
            barred = set(banned[row]) if banned is not None else set()
            found = zip(values[distinct[query]], texts[distinct[query]], strict=True)
            near = [(value, place) for value, text in found for place in self._copies[self._texts[text]]]
            near = sorted((-value, place) for value, place in near if place not in barred)[:k]
            indices[row, : len(near)] = [place for _, place in near]
            scores[row, : len(near)] = [-value for value, _ in near]
        return without_wordless(Hits(indices, scores), queries)

    def _embeddings(self, texts: Sequence[str], progress: Progress | None) -> np.ndarray:
        """(N, width) float32 unit vectors in the order of ``texts``."""
        assert self._stages is not None
        key = {"weights": self.key()["weights"], "texts": digest_of(list(texts)), "normalised": True}
        folder = self._stages.get("embeddings", key, lambda into: self._embed(texts, into, progress))
        return np.load(folder / "embeddings.npy")

    def _embed(self, texts: Sequence[str], into: Path, progress: Progress | None) -> None:
        encoder = self._load()
        # Texts of like length share a batch, so that little is padded.
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        vectors = np.empty((len(texts), encoder.get_embedding_dimension()), dtype=np.float32)
        for start in range(0, len(order), _EMBEDDED_AT_ONCE):
            chosen = order[start : start + _EMBEDDED_AT_ONCE]
            vectors[chosen] = encoder.encode(
                [texts[index] for index in chosen],
                batch_size=self.batch_size,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
            if progress:
                progress(start + len(chosen), len(order))
        np.save(into / "embeddings.npy", vectors)

    def _load(self) -> Any:
        if self._encoder is None:
            folder = locate_weights(self.weights, self.revision)
            try:
                from sentence_transformers import SentenceTransformer
            except ImportError:
                raise ValueError("retriever=sbert needs sentence-transformers: pip install -e '.[encoders]'") from None
            from transformers.utils import logging

            shown = logging.is_progress_bar_enabled()
            logging.disable_progress_bar()
            try:
                self._encoder = SentenceTransformer(str(folder), local_files_only=True).eval()
                self._encoder.tokenizer.split_special_tokens = True  # [SEP] in a sentence is text
            finally:
                if shown:
                    logging.enable_progress_bar()
        return self._encoder
