"""What causal and sequence-to-sequence models of the transformers library have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.losses.logps import IGNORED, token_logps
from lightning_modules.networks.answerer.interface import Answerer, AnswerScores
from lightning_modules.networks.hub.chat_format import ChatFormat


class TransformerAnswerer(Answerer):
    """A model of the transformers library (or its PEFT wrapper) with the format that it is spoken to in.

    Args:
        model: the network.
        form: its tokenizer, and how prompts and answers are set.
        pretrained: whether the model's own weights were loaded.

    Attributes:
        refused: why this model cannot score given answers; "" where it can. See ``hub_agreement``.
    """

    refused: str = ""

    def __init__(self, model: nn.Module, form: ChatFormat, *, pretrained: bool) -> None:
        super().__init__()
        self.model: Any = model
        self.form = form
        self.tokenizer = form.tokenizer
        self.padding = form.padding
        if form.prompt_limit is not None:
            self.prompt_limit = form.prompt_limit
        self._pretrained = pretrained

    def is_new(self, name: str) -> bool:
        """Adapters do not count as new: their usual rates are quoted as the model's learning rate."""
        return not self._pretrained

    def collate_ids(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """As ``Answerer.collate``, from ids."""
        raise NotImplementedError

    def score_ids(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> AnswerScores:
        """As ``Answerer.score``, from ids."""
        raise NotImplementedError

    def plain_logits(self, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
        """Logits (T, V) of the answer's T tokens by the library's own forward pass: one row, nothing padded."""
        raise NotImplementedError

    def count_tokens(self, text: str) -> int:
        """See ``Answerer.count_tokens``; the format counts too."""
        return self.form.count_tokens(text)

    def generation(self, max_tokens: int) -> Any:
        """Greedy decoding; of the generation config beside the weights only the ends have a say."""
        from transformers import GenerationConfig

        return GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=max_tokens,
            eos_token_id=sorted(self.form.ends),
            pad_token_id=self.padding,
            decoder_start_token_id=getattr(self.model.config, "decoder_start_token_id", None),
        )


def target_logps(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probabilities (B, T) of targets (B, T), each predicted by the logits (B, T, V) of its own column."""
    # ``token_logps`` predicts the token at t from t-1, and never reads the last position.
    return token_logps(F.pad(logits, (0, 0, 0, 1)), F.pad(targets, (1, 0), value=IGNORED))
