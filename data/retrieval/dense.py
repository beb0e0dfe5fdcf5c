"""Dense retrieval: an encoder makes vectors, an index finds the nearest. Embeddings and index are stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data.files.stages import Stages
from data.records.builders import MadeBy
from data.retrieval.base import (
    Banned,
    Gold,
    Hits,
    Pair,
    Progress,
    learn,
    require_index,
    require_texts,
    texts_digest,
    without_wordless,
)
from data.retrieval.vector_index import Searcher, VectorIndex
from data.retrieval.vectors import STORAGES, Vectors, write_vectors


class Encoder(Protocol):
    """Makes vectors whose inner product says how near a text is to a query. May also be a ``base.Learner``."""

    def key(self) -> dict[str, Any]:
        """Plain settings that decide the vectors of given texts; raises ``DataNotFoundError`` without its weights."""
        ...

    def fit(self, texts: Sequence[str], stages: Stages, progress: Progress | None = None) -> dict[str, Any]:
        """Get ready for these texts (load weights, learn a vocabulary); returns what else decides the vectors."""
        ...

    def width(self) -> int:
        """Dimensions; known after ``fit``."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """(n, width) float32."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(n, width) float32."""
        ...


class DenseRetriever:
    """Inner product of vectors.

    Args:
        encoder: makes the vectors.
        index: finds the nearest.
        shard_size: texts per shard of the embeddings: what a killed run repeats at most.
        storage: number format of the embeddings on disk, "float32" or "float16".
    """

    view = "sentence"

    def __init__(
        self, *, encoder: Encoder, index: VectorIndex | None = None, shard_size: int = 5_000, storage: str = "float32"
    ) -> None:
        if shard_size < 1 or storage not in STORAGES:
            raise ValueError(
                f"retriever wants shard_size of 1 or more and storage of {', '.join(STORAGES)}, got {shard_size}, "
                f"{storage!r}"
            )
        self.encoder = encoder
        self.vector_index = index or VectorIndex()
        self.shard_size = int(shard_size)
        self.storage = storage
        self._searcher: Searcher | None = None

    def learn(self, pairs: Sequence[Pair]) -> None:
        """See ``base.Learner.learn``."""
        learn([self.encoder], pairs)

    def key(self) -> dict[str, Any]:
        """See ``Retriever.key``: the digest of the weights, not their name."""
        index = {name: value for name, value in vars(self.vector_index).items() if name != "gpu"}
        return {"retriever": "dense", "encoder": self.encoder.key(), "storage": self.storage, "index": index}

    def index(self, texts: Sequence[str], stages: Stages, progress: Progress | None = None) -> None:
        """See ``Retriever.index``; embeddings and index are stages of their own. ``ValueError`` without a text."""
        require_texts(texts, "a dense retriever")
        fitted = self.encoder.fit(texts, stages, progress)
        key = {"encoder": self.encoder.key(), "fitted": fitted, "texts": texts_digest(texts), "storage": self.storage}

        def embed(into: Path) -> None:
            write_vectors(
                texts,
                self.encoder.encode_texts,
                into,
                width=self.encoder.width(),
                shard_size=self.shard_size,
                storage=self.storage,
                progress=progress,
            )

        vectors = Vectors(stages.get("vectors", key, MadeBy(embed, (self.encoder,))))
        settings = self.vector_index.settings(len(vectors), vectors.width)
        folder = stages.get(
            "vector_index",
            {"vectors": key, "settings": settings._asdict()},
            MadeBy(lambda into: self.vector_index.build(vectors, into, progress), (self.encoder, self.vector_index)),
        )
        self._searcher = self.vector_index.open(folder, vectors)

    def search(
        self,
        queries: Sequence[str],
        k: int,
        banned: Banned | None = None,
        progress: Progress | None = None,
        gold: Gold | None = None,
    ) -> Hits:
        """See ``Retriever.search``; where equal vectors tie at rank k, faiss chooses which of them get in."""
        require_index(self._searcher, "a dense retriever")
        assert self._searcher is not None
        widest = max((len(set(barred)) for barred in banned), default=0) if banned is not None else 0
        if not len(queries) or not k:
            return Hits(np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k), dtype=np.float32))
        hits = self._searcher.search(self.encoder.encode_queries(list(queries)), k + widest, progress)
        return without_wordless(without_banned(hits, banned, k), queries)


def without_banned(hits: Hits, banned: Banned | None, k: int) -> Hits:
    """The first ``k`` of every row that are not banned, order kept; rows filled with -1."""
    if banned is None:
        return Hits(hits.indices[:, :k], hits.scores[:, :k])
    indices = np.full((len(hits.indices), k), -1, dtype=np.int64)
    scores = np.full((len(hits.indices), k), -np.inf, dtype=np.float32)
    for row, barred in enumerate(banned):
        kept = ~np.isin(hits.indices[row], list(barred)) & (hits.indices[row] >= 0)
        chosen = np.flatnonzero(kept)[:k]
        indices[row, : len(chosen)] = hits.indices[row, chosen]
        scores[row, : len(chosen)] = hits.scores[row, chosen]
    return Hits(indices, scores)
