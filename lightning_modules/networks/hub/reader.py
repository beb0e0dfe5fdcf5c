"""Readers of the transformers library: like ``Pretrained``, with one limit for a prompt and its response."""

from __future__ import annotations

from typing import Any, cast

from lightning_modules.networks.hub.causal_lm import HubCausal
from lightning_modules.networks.hub.chat_format import ChatFormat
from lightning_modules.networks.hub.pretrained import Pretrained
from lightning_modules.networks.language_model import LanguageModel


class HubReader(Pretrained):
    """See ``Pretrained``, whose arguments these are; ``prompt_limit`` counts the response as well.

    Prompts of any length can be counted, so that a budget drops passages; what the network reads is limited.
    """

    def build_language_model(self, vocabulary: Any = None) -> LanguageModel:
        """See ``LanguageModelConfig``."""
        built = super().build_language_model(vocabulary)
        network = cast(HubCausal, built.causal)
        network.limit = min(network.limit, self.prompt_limit)
        # The network's limit holds from here on: a tokenizer that refuses long prompts could not count them.
        built.codec = cast(ChatFormat, built.codec).unlimited()
        return built
