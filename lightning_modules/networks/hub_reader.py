"""Readers of the transformers library: like ``Pretrained``, and logits as capped as the model itself caps them."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from lightning_modules.networks.chat_format import ChatFormat
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
    """See ``Pretrained``, whose arguments these are; ``prompt_limit`` counts the response as well.

    Prompts of any length can be counted, so that a budget drops passages; what the network reads is limited.
    """

    def build_language_model(self, vocabulary: Any = None) -> LanguageModel:
        """See ``LanguageModelConfig``."""
        built = super().build_language_model(vocabulary)
        network = cast(HubCausal, built.causal)
        limit = min(network.limit, self.prompt_limit)
        # The network's limit holds from here on: a tokenizer that refuses long prompts could not count them.
        built.codec = cast(ChatFormat, built.codec).unlimited()
        cap = getattr(network._inner.config, "final_logit_softcapping", None)
        if cap is None:
            network.limit = limit
        else:
            built.causal = CappedCausal(network.model, limit=limit, padding=network.padding, cap=cap)
        return built
