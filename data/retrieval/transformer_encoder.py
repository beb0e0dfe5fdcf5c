"""Text encoders of the transformers library: E5, Contriever, BGE, MiniLM and their like.

What sets them apart is data, not code: prefixes, pooling and normalisation stand in ``conf/retriever``.
E5 (Wang et al. 2022, arXiv 2212.03533), Contriever (Izacard et al. 2021, 2112.09118), BGE (Xiao et al. 2023,
2309.07597), MiniLM (Wang et al. 2020, 2002.10957) in the fine-tuning of sentence-transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from data.files.sources import locate_weights, weights_digest
from data.files.stages import Stages
from data.retrieval.base import Progress


def _mean(states: Any, mask: Any) -> Any:
    """Mean of the states (B, T, D) that are not padding."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)


def _first(states: Any, mask: Any) -> Any:
    """State of the first token (padding is on the right)."""
    return states[:, 0]


POOLINGS: dict[str, Callable[[Any, Any], Any]] = {"mean": _mean, "first": _first}
"""States (B, T, D) and mask (B, T) -> (B, D), by name."""

DTYPES = ("float32", "float16", "bfloat16")


class TransformerEncoder:
    """One vector per text: pooled last states of an encoder.

    Args:
        weights: folder, hub id or package, see ``sources.locate_weights``.
        revision: revision of a hub id.
        pooling: a key of ``POOLINGS``.
        normalise: divide vectors by their length, so that inner products are cosines.
        query_prefix: put before every query.
        text_prefix: put before every text.
        max_length: tokens of a text; what is longer loses its end.
        batch_size: texts per forward pass; changes speed, and vectors in the seventh digit.
        dtype: number format of the weights, one of ``DTYPES``.
    """

    def __init__(
        self,
        *,
        weights: str,
        revision: str | None = None,
        pooling: str = "mean",
        normalise: bool = True,
        query_prefix: str = "",
        text_prefix: str = "",
        max_length: int = 256,
        batch_size: int = 32,
        dtype: str = "float32",
    ) -> None:
        if pooling not in POOLINGS:
            raise ValueError(f"encoder.pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
        if dtype not in DTYPES:
            raise ValueError(f"encoder.dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
        if max_length < 8 or batch_size < 1:
            raise ValueError(f"encoder wants max_length >= 8 and batch_size >= 1, got {max_length}, {batch_size}")
        self.weights = weights
        self.revision = revision
        self.pooling = pooling
        self.normalise = bool(normalise)
        self.query_prefix = query_prefix
        self.text_prefix = text_prefix
        self.max_length = int(max_length)
        self.batch_size = int(batch_size)
        self.dtype = dtype
        self._loaded: tuple[Any, Any] | None = None

    def key(self) -> dict[str, Any]:
        """See ``Encoder.key``: the digest of the weights, not their name."""
        return {
            "encoder": "transformer",
            "weights": weights_digest(locate_weights(self.weights, self.revision)),
            "pooling": self.pooling,
            "normalise": self.normalise,
            "query_prefix": self.query_prefix,
            "text_prefix": self.text_prefix,
            "max_length": self.max_length,
            "dtype": self.dtype,
        }

    def fit(self, texts: Sequence[str], stages: Stages, progress: Progress | None = None) -> dict[str, Any]:
        """See ``Encoder.fit``: nothing to learn."""
        return {}

    def width(self) -> int:
        """See ``Encoder.width``."""
        return int(self._load()[1].config.hidden_size)

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """See ``Encoder.encode_queries``."""
        return self._encode([self.query_prefix + text for text in texts])

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """See ``Encoder.encode_texts``."""
        return self._encode([self.text_prefix + text for text in texts])

    def _encode(self, texts: list[str]) -> np.ndarray:
        import torch

        tokenizer, model = self._load()
        vectors = np.empty((len(texts), self.width()), dtype=np.float32)
        # Texts of like length share a batch, so that little is padded.
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        with torch.inference_mode():
            for start in range(0, len(order), self.batch_size):
                chosen = order[start : start + self.batch_size]
                batch = tokenizer(
                    [texts[index] for index in chosen],
                    padding=True,
                    truncation=True,
                    max_length=self.max_length,
                    return_tensors="pt",
                ).to(model.device)
                states = model(**batch).last_hidden_state.float()
                pooled = POOLINGS[self.pooling](states, batch["attention_mask"])
                if self.normalise:
                    pooled = torch.nn.functional.normalize(pooled, dim=-1)
                vectors[chosen] = pooled.cpu().numpy()
        return vectors

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoModel, AutoTokenizer
            from transformers.utils import logging

            folder = str(locate_weights(self.weights, self.revision))
            device = "cuda" if torch.cuda.is_available() else "cpu"
            shown = logging.is_progress_bar_enabled()
            logging.disable_progress_bar()
            try:
                tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
                tokenizer.padding_side = "right"
                tokenizer.split_special_tokens = True  # [SEP] in a passage is text
                model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=getattr(torch, self.dtype))
            finally:
                if shown:
                    logging.enable_progress_bar()
            self._loaded = (tokenizer, model.to(device).eval())
        return self._loaded
