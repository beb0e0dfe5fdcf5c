"""Nearest vectors by inner product, through faiss (Johnson et al. 2017, arXiv 1702.08734).

Four kinds: ``flat`` compares with every vector, straight from the mapped embeddings; ``ivf_flat`` looks into the
nearest lists only; ``ivf_pq`` also keeps a code of a few bytes instead of each vector, and ranks its candidates again
by the stored ones; ``hnsw`` walks a graph of neighbours. ``benchmarks/retrieval_scale.py`` measures how they compare.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.retrieval.base import Hits, Progress, joined
from data.retrieval.vectors import Vectors

AUTO = "auto"
_FILE, _SETTINGS = "index.faiss", "settings.json"
_BLOCK = 65_536
_QUERIES = 512
_TRAINING_PER_LIST = 40
_TRAINING_ROUNDS = 10
_PQ_BITS = 8


class Settings(NamedTuple):
    """What an index over N vectors of D dimensions is built and searched with; unused fields are 0.

    Attributes:
        kind: a key of ``KINDS``.
        lists: inverted lists.
        probes: lists looked into per query.
        code_bytes: bytes of a product-quantised vector.
        refine: candidates per wanted hit that are ranked again by their stored vectors; 0 takes the index's order.
        links: neighbours of a node of the graph.
        build_breadth: candidates kept while a node is linked (efConstruction).
        search_breadth: candidates kept while the graph is walked (efSearch).
    """

    kind: str
    lists: int = 0
    probes: int = 0
    code_bytes: int = 0
    refine: int = 0
    links: int = 0
    build_breadth: int = 0
    search_breadth: int = 0


def _ivf_flat(faiss: Any, width: int, settings: Settings) -> Any:
    quantiser = faiss.IndexFlatIP(width)
    index = faiss.IndexIVFFlat(quantiser, width, settings.lists, faiss.METRIC_INNER_PRODUCT)
    index.own_fields = True
    quantiser.this.disown()
    return index


def _ivf_pq(faiss: Any, width: int, settings: Settings) -> Any:
    quantiser = faiss.IndexFlatIP(width)
    index = faiss.IndexIVFPQ(
        quantiser, width, settings.lists, settings.code_bytes, _PQ_BITS, faiss.METRIC_INNER_PRODUCT
    )
    index.own_fields = True
    quantiser.this.disown()
    return index


def _hnsw(faiss: Any, width: int, settings: Settings) -> Any:
    index = faiss.IndexHNSWFlat(width, settings.links, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = settings.build_breadth
    return index


KINDS: dict[str, Callable[[Any, int, Settings], Any] | None] = {
    "flat": None,
    "ivf_flat": _ivf_flat,
    "ivf_pq": _ivf_pq,
    "hnsw": _hnsw,
}
"""How an empty index is made, by kind; ``flat`` has none, the embeddings are its index."""

BY_SIZE: tuple[tuple[float, str], ...] = ((1_000_000, "flat"), (5_000_000, "ivf_flat"), (math.inf, "ivf_pq"))
"""What ``kind: auto`` takes: the first whose number of vectors is not exceeded."""


class VectorIndex:
    """Builds an index as files, opens it mapped, searches it in batches.

    Args:
        kind: "auto" (by the number of vectors, ``BY_SIZE``) or a key of ``KINDS``.
        lists: inverted lists; ``None``: four times the square root of the number of vectors.
        probes: lists looked into per query; ``None``: a sixteenth of them, at least 16.
        code_bytes: bytes per vector of ``ivf_pq``; ``None``: one for eight dimensions. It must divide the dimensions.
        refine: see ``Settings``; only ``ivf_pq`` uses it.
        links: see ``Settings``.
        build_breadth: see ``Settings``.
        search_breadth: see ``Settings``.
        gpu: use a GPU where faiss finds one (``hnsw`` has no GPU form and stays on the CPU).
    """

    def __init__(
        self,
        *,
        kind: str = AUTO,
        lists: int | None = None,
        probes: int | None = None,
        code_bytes: int | None = None,
        refine: int = 10,
        links: int = 32,
        build_breadth: int = 80,
        search_breadth: int = 128,
        gpu: bool = True,
    ) -> None:
        if kind != AUTO and kind not in KINDS:
            raise ValueError(f"index.kind must be {AUTO} or one of {', '.join(KINDS)}, got {kind!r}")
        counts = {"lists": lists, "probes": probes, "code_bytes": code_bytes, "links": links}
        counts |= {"build_breadth": build_breadth, "search_breadth": search_breadth}
        for name, value in counts.items():
            if value is not None and value < 1:
                raise ValueError(f"index.{name} must be at least 1 or null, got {value}")
        if refine < 0:
            raise ValueError(f"index.refine must be at least 0, got {refine}")
        self.kind = kind
        self.lists = lists
        self.probes = probes
        self.code_bytes = code_bytes
        self.refine = int(refine)
        self.links = int(links)
        self.build_breadth = int(build_breadth)
        self.search_breadth = int(search_breadth)
        self.gpu = bool(gpu)

    def settings(self, rows: int, width: int) -> Settings:
        """Everything resolved for ``rows`` vectors of ``width`` dimensions."""
        kind = next(kind for most, kind in BY_SIZE if rows <= most) if self.kind == AUTO else self.kind
        if kind == "flat" or not rows:
            return Settings("flat")
        if kind == "hnsw":
            breadths = {"build_breadth": self.build_breadth, "search_breadth": self.search_breadth}
            return Settings(kind, links=self.links, **breadths)
        lists = min(self.lists or max(1, round(4 * math.sqrt(rows))), rows)
        probes = min(self.probes or max(16, lists // 16), lists)
        if kind == "ivf_flat":
            return Settings(kind, lists=lists, probes=probes)
        code_bytes = self.code_bytes or max(1, width // 8)
        if rows < 2**_PQ_BITS:
            raise ValueError(f"index.kind=ivf_pq learns codes from {2**_PQ_BITS} vectors or more, got {rows}: use auto")
        if width % code_bytes:
            raise ValueError(f"index.code_bytes must divide the {width} dimensions, got {code_bytes}")
        return Settings(kind, lists=lists, probes=probes, code_bytes=code_bytes, refine=self.refine)

    def build(self, vectors: Vectors, into: Path, progress: Progress | None = None) -> None:
        """Train on a sample and add every vector, block by block; writes nothing but the settings for ``flat``."""
        settings = self.settings(len(vectors), vectors.width)
        (into / _SETTINGS).write_text(json.dumps(settings._asdict()))
        make = KINDS[settings.kind]
        if make is None:
            return
        faiss = _faiss()
        index = make(faiss, vectors.width, settings)
        if not index.is_trained:
            wanted = max(_TRAINING_PER_LIST * settings.lists, 2**_PQ_BITS * _TRAINING_PER_LIST)
            sample = np.arange(len(vectors))
            if wanted < len(vectors):
                sample = np.sort(np.random.default_rng(0).choice(len(vectors), wanted, replace=False))
            # Fewer rounds than faiss' 25: benchmarks/retrieval_scale.py compares recall with faiss' own. A small corpus
            # is no reason to complain on standard error.
            index.cp.niter = _TRAINING_ROUNDS
            index.cp.min_points_per_centroid = 1
            if hasattr(index, "pq"):
                index.pq.cp.min_points_per_centroid = 1
            index.train(vectors.take(sample))
        for start, block in vectors.blocks(_BLOCK):
            index.add(block)
            if progress:
                progress(start + len(block), len(vectors))
        faiss.write_index(index, str(into / _FILE))

    def open(self, folder: Path, vectors: Vectors) -> Searcher:
        """The finished index in ``folder`` over the vectors that it was built from."""
        settings = Settings(**json.loads((folder / _SETTINGS).read_text()))
        if KINDS[settings.kind] is None:
            return Searcher(settings, vectors, _on_gpu(_whole(vectors)) if self._has_gpu() else None)
        faiss = _faiss()
        index = faiss.read_index(str(folder / _FILE), faiss.IO_FLAG_MMAP_IFC)
        # Before a copy goes to a GPU: what divides an index among several hides these.
        if hasattr(index, "nprobe"):
            index.nprobe = settings.probes
        if hasattr(index, "hnsw"):
            index.hnsw.efSearch = settings.search_breadth
        elif self._has_gpu():
            index = _on_gpu(index)
        return Searcher(settings, vectors, index)

    def _has_gpu(self) -> bool:
        # faiss-cpu has the function too, and finds none.
        return self.gpu and _faiss().get_num_gpus() > 0


class Searcher:
    """Nearest vectors of many queries.

    Args:
        settings: what the index was built with.
        vectors: what it was built from.
        index: the faiss index; ``None`` compares with all of ``vectors``, block by block.
    """

    def __init__(self, settings: Settings, vectors: Vectors, index: Any = None) -> None:
        self.settings = settings
        self._vectors = vectors
        self._index = index

    def search(self, queries: np.ndarray, k: int, progress: Progress | None = None) -> Hits:
        """The ``k`` largest inner products of each of (Q, D) float32 queries; rows filled with -1 and -inf."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        found = []
        for start in range(0, len(queries), _QUERIES):
            found.append(self._batch(queries[start : start + _QUERIES], k))
            if progress:
                progress(min(start + _QUERIES, len(queries)), len(queries))
        return joined(found, k)

    def _batch(self, queries: np.ndarray, k: int) -> Hits:
        wanted = min(k, len(self._vectors))
        if not wanted:
            return _padded(np.empty((len(queries), 0)), np.empty((len(queries), 0), dtype=np.int64), k)
        if self._index is None:
            return _padded(*self._compare_all(queries, wanted), k)
        depth = min(wanted * self.settings.refine, len(self._vectors)) if self.settings.refine else wanted
        scores, positions = self._index.search(queries, depth)
        if self.settings.refine:
            # All candidates at once: each stored vector is read from disk once, however many queries want it.
            distinct, places = np.unique(positions, return_inverse=True)
            stored = self._vectors.take(np.maximum(distinct, 0))
            places = places.reshape(positions.shape)
            scores = np.stack([stored[row] @ query for row, query in zip(places, queries, strict=True)])
        scores = np.where(positions < 0, -np.inf, scores)
        return _padded(*_best(scores, positions, wanted), k)

    def _compare_all(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        faiss = _faiss()
        scores = np.empty((len(queries), 0), dtype=np.float32)
        positions = np.empty((len(queries), 0), dtype=np.int64)
        for start, block in self._vectors.blocks(_BLOCK):
            more, where = faiss.knn(queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
            scores = np.concatenate([scores, more], axis=1)
            positions = np.concatenate([positions, where + start], axis=1)
            scores, positions = _best(scores, positions, k)
        return scores, positions


def _best(scores: np.ndarray, positions: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` best of every row, larger scores first, ties by position."""
    order = np.lexsort((positions, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(positions, order, axis=1)


def _padded(scores: np.ndarray, positions: np.ndarray, k: int) -> Hits:
    indices = np.full((len(scores), k), -1, dtype=np.int64)
    values = np.full((len(scores), k), -np.inf, dtype=np.float32)
    indices[:, : positions.shape[1]] = positions
    values[:, : scores.shape[1]] = scores
    return Hits(indices, values)


def _whole(vectors: Vectors) -> Any:
    index = _faiss().IndexFlatIP(vectors.width)
    for _, block in vectors.blocks(_BLOCK):
        index.add(block)
    return index


def _on_gpu(index: Any) -> Any:
    """The index on all GPUs: its vectors are divided among them."""
    faiss = _faiss()
    options = faiss.GpuMultipleClonerOptions()
    options.shard = True
    return faiss.index_cpu_to_all_gpus(index, co=options)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise ValueError("dense retrieval needs faiss: pip install -e '.[cpu]' (or '.[gpu]')") from None
    return faiss
