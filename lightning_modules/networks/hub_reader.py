"""Readers of the transformers library: like ``Pretrained``, and logits as capped as the model itself caps them."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from lightning_modules.networks.hub_causal import HubCausal
from lightning_modules.networks.language_model import LanguageModel
from lightning_modules.networks.pretrained import Pretrained


class CappedCausal(HubCausal):
    """A network whose logits are cap * tanh(logits / cap) (Gemma 2, arXiv 2408.00118, section 2).

    The greedy token is the same without; probabilities, and so every loss, are not.

    Args:
        cap: largest logit.
        model, limit, padding: see ``HubCausal``.
    """

    def __init__(self, model: Any, *, limit: int, padding: int, cap: float) -> None:
        super().__init__(model, limit=limit, padding=padding)
        if not cap > 0:
            raise ValueError(f"a cap of logits must be above 0, got {cap}")
        self.cap = float(cap)

    def lm_head(self, states: Tensor) -> Tensor:
        """See ``CausalNetwork.lm_head``."""
        return self.cap * torch.tanh(super().lm_head(states) / self.cap)


class HubReader(Pretrained):
    """See ``Pretrained``, whose arguments these are. Reads up to ``prompt_limit``, wherever its weights could go."""

    def build_language_model(self, vocabulary: Any = None) -> LanguageModel:
        """See ``LanguageModelConfig``."""
        built = super().build_language_model(vocabulary)
        network = cast(HubCausal, built.causal)
        cap = getattr(network._inner.config, "final_logit_softcapping", None)
        if cap is not None:
            built.causal = CappedCausal(network.model, limit=network.limit, padding=network.padding, cap=cap)
        return built
