"""Config of a ``TinyDecoder`` with the vocabulary of a world."""

from __future__ import annotations

from typing import Any

from lightning_modules.base import Optimiser
from lightning_modules.networks.decoder.model import TinyDecoder
from lightning_modules.networks.language_model import LanguageModel, WorldCodec


class TinyModel:
    """A small transformer, random until it is trained.

    Args:
        optimiser: how it is best trained.
        vocabulary: a ``data.worlds.vocabulary.Vocabulary`` of its own; ``None`` takes the data's.
        width, layers, heads, feedforward, limit, tied, convolution, embedding_std, rope_base, rope_scaling,
        gradient_checkpointing: see ``TinyDecoder``.
    """

    def __init__(
        self,
        *,
        optimiser: Optimiser,
        vocabulary: Any = None,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        feedforward: int | None = None,
        limit: int = 512,
        tied: bool = True,
        convolution: int = 0,
        embedding_std: float | None = None,
        rope_base: float = 10_000.0,
        rope_scaling: float = 1.0,
        gradient_checkpointing: bool = False,
    ) -> None:
        self.optimiser = optimiser
        self.vocabulary = vocabulary
        self.sizes: dict[str, Any] = {
            "width": width,
            "layers": layers,
            "heads": heads,
            "feedforward": feedforward,
            "limit": limit,
            "tied": tied,
            "convolution": convolution,
            "embedding_std": embedding_std,
            "rope_base": rope_base,
            "rope_scaling": rope_scaling,
            "gradient_checkpointing": gradient_checkpointing,
        }
        TinyDecoder.check(1, **self.sizes)

    def build_language_model(self, vocabulary: Any) -> LanguageModel:
        """See ``LanguageModelConfig``. ``ValueError`` without a vocabulary."""
        chosen = vocabulary if self.vocabulary is None else self.vocabulary
        if chosen is None:
            raise ValueError(
                "model=tiny_decoder needs a vocabulary: use data of a generated world, or give model.vocabulary"
            )
        return LanguageModel(TinyDecoder(len(chosen), **self.sizes), WorldCodec(chosen), pretrained=False)
