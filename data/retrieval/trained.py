"""The encoder that is trained here, on questions and the passages that answer them: no weights from anywhere.

The training itself is handed in (``lightning_modules.rag.bag_encoder``), so that nothing here imports it; its weights
are a stage, and encoding with them is a sparse matrix product.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data.files.sources import digest_of
from data.files.stages import Stages
from data.loading.step_loader import StepLoader
from data.records.builders import MadeBy
from data.retrieval.base import Pair, Progress, no_words, texts_digest

_WORD = re.compile(r"\w+")
_VOCABULARY, _WEIGHTS = "words.json", "model.safetensors"


class Training(Protocol):
    """Turns pairs into weights."""

    def key(self) -> dict[str, Any]:
        """Plain settings that decide the weights."""
        ...

    def train(self, data: Any, folder: Path, progress: Progress | None = None) -> None:
        """Write ``folder``/model.safetensors: vectors (V, D), query_weights (V,), text_weights (V,)."""
        ...


class PairData:
    """Pairs as ``lightning_modules.training.fit.fit`` takes them.

    Args:
        pairs: queries and texts.
        words: word ids of a text, each once.
        word_weights: (V,) first weights of the words.
        batch_size: pairs per step; the other texts of a step are a query's negatives.
        seed: order of the pairs.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        words: Callable[[str], list[int]],
        word_weights: np.ndarray,
        batch_size: int,
        seed: int,
    ) -> None:
        numbers = {text: number for number, text in enumerate(dict.fromkeys(text for _, text in pairs))}
        bags = {text: words(text) for text in numbers}
        self._items = [(words(query), bags[text], numbers[text]) for query, text in pairs]
        self.word_weights = word_weights
        self.batch_size = batch_size
        self.seed = seed
        self.start_step = 0
        self.collate: Callable[[list[Any]], Any] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Training steps in one pass."""
        return -(-len(self._items) // self.batch_size)

    def train_dataloader(self) -> StepLoader:
        """Batches from ``start_step`` on; ``ValueError`` before ``collate`` is set."""
        if self.collate is None:
            raise ValueError("data.collate must be set to the module's collate before train_dataloader is called")
        return StepLoader(
            self._items,
            batch_size=self.batch_size,
            seed=self.seed,
            collate=self.collate,
            start_step=self.start_step,
        )


class TrainedEncoder:
    """Weighted bags of word vectors, trained on pairs.

    Args:
        training: see ``Training``.
        max_words: words kept, those in most texts.
        batch_size: pairs per training step.
        seed: order of the pairs.
    """

    def __init__(self, *, training: Training, max_words: int = 30_000, batch_size: int = 64, seed: int = 0) -> None:
        if max_words < 1 or batch_size < 2:
            raise ValueError(f"encoder wants max_words >= 1 and batch_size >= 2, got {max_words}, {batch_size}")
        self.training = training
        self.max_words = int(max_words)
        self.batch_size = int(batch_size)
        self.seed = int(seed)
        self._pairs: list[Pair] = []
        self._words: dict[str, int] = {}
        self._weights: dict[str, np.ndarray] = {}

    def learn(self, pairs: Sequence[Pair]) -> None:
        """See ``base.Learner.learn``."""
        self._pairs = list(pairs)

    def key(self) -> dict[str, Any]:
        """See ``Encoder.key``; ``ValueError`` where there are no pairs to train on."""
        if not self._pairs:
            raise ValueError(
                "retriever=trained has no pair to train on: give training questions with gold passages of the corpus"
            )
        return {
            "encoder": "trained",
            "training": self.training.key(),
            "pairs": digest_of(self._pairs),
            "max_words": self.max_words,
            "batch_size": self.batch_size,
            "seed": self.seed,
        }

    def fit(self, texts: Sequence[str], stages: Stages, progress: Progress | None = None) -> dict[str, Any]:
        """See ``Encoder.fit``: counts words, then trains; the weights are a stage."""
        fitted = {"texts": texts_digest(texts)}
        build = MadeBy(lambda into: self._train(texts, into, progress), (self.training,))
        folder = stages.get("trained_retriever", {**self.key(), **fitted}, build)
        self._words = {word: number for number, word in enumerate(json.loads((folder / _VOCABULARY).read_text()))}
        from safetensors.numpy import load_file

        self._weights = load_file(folder / _WEIGHTS)
        return fitted

    def _train(self, texts: Sequence[str], into: Path, progress: Progress | None) -> None:
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(set(words_of(text)))
        # Sorted, so that equal counts come in the same order everywhere.
        kept = sorted(counts, key=lambda word: (-counts[word], word))[: self.max_words]
        if not kept:
            raise no_words(texts, "the encoder trained", "a word (a letter or digit)")
        (into / _VOCABULARY).write_text(json.dumps(kept))
        self._words = {word: number for number, word in enumerate(kept)}
        idf = np.log((1 + len(texts)) / (1 + np.array([counts[word] for word in kept], dtype=np.float64))) + 1.0
        data = PairData(
            self._pairs,
            words=self._ids,
            word_weights=(idf / idf.mean()).astype(np.float32),
            batch_size=self.batch_size,
            seed=self.seed,
        )
        self.training.train(data, into, progress)

    def _ids(self, text: str) -> list[int]:
        known = (self._words.get(word) for word in dict.fromkeys(words_of(text)))
        return [number for number in known if number is not None]

    def width(self) -> int:
        """See ``Encoder.width``."""
        return int(self._weights["vectors"].shape[1])

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """See ``Encoder.encode_queries``; a text without a known word is the zero vector."""
        return self._encode(texts, self._weights["query_weights"])

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """See ``Encoder.encode_texts``; a text without a known word is the zero vector."""
        return self._encode(texts, self._weights["text_weights"])

    def _encode(self, texts: Sequence[str], weights: np.ndarray) -> np.ndarray:
        from scipy.sparse import csr_array

        bags = [self._ids(text) for text in texts]
        starts = np.cumsum([0, *map(len, bags)])
        words = np.array([word for bag in bags for word in bag], dtype=np.int64)
        matrix = csr_array((weights[words], words, starts), shape=(len(bags), len(weights)))
        vectors = np.asarray(matrix @ self._weights["vectors"], dtype=np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(lengths > 0, lengths, 1.0)


def words_of(text: str) -> list[str]:
    """Runs of letters and digits, lower case."""
    return _WORD.findall(text.lower())
