"""What causal and sequence-to-sequence models of the transformers library have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.losses.logps import IGNORED, token_logps
from lightning_modules.networks.answerer import Answerer, AnswerScores


class TransformerAnswerer(Answerer):
    """A model of the transformers library (or its PEFT wrapper) with its tokenizer.

    Args:
        model: the network.
        tokenizer: a tokenizer of the transformers library.
        prompt_limit: longest prompt in tokens.
        prompt_wrapper: text around a prompt, with ``{prompt}`` in it.
        answer_prefix: text that opens every answer.
        pretrained: whether the model's own weights were loaded.

    Attributes:
        refused: why this model cannot score given answers; "" where it can. See ``hub_agreement``.
    """

    refused: str = ""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        *,
        prompt_limit: int,
        prompt_wrapper: str,
        answer_prefix: str,
        pretrained: bool,
    ) -> None:
        super().__init__()
        self.model: Any = model
        self.tokenizer = tokenizer
        self.prompt_limit = prompt_limit
        self._before, _, self._after = prompt_wrapper.partition("{prompt}")
        self._answer_prefix = answer_prefix
        self._pretrained = pretrained
        end = model.config.eos_token_id  # type: ignore[union-attr]
        ends = [tokenizer.eos_token_id, tokenizer.sep_token_id, end[0] if isinstance(end, list) else end]
        known = [index for index in ends if index is not None]
        if not known:
            raise ValueError("the tokenizer has neither an end nor a separator token: answers could not end")
        self.end: int = known[0]
        self.padding: int = self.end if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def is_new(self, name: str) -> bool:
        """Adapters do not count as new: their usual rates are quoted as the model's learning rate."""
        return not self._pretrained

    def prompt_ids(self, prompts: Sequence[str]) -> list[list[int]]:
        """Ids of the wrapped prompts with the tokenizer's special tokens; ``ValueError`` for one that is too long."""
        wrapped = [f"{self._before}{prompt}{self._after}" for prompt in prompts]
        ids: list[list[int]] = self.tokenizer(wrapped, verbose=False)["input_ids"]
        self.check_length(prompts, [len(row) for row in ids])
        return ids

    def answer_ids(self, answers: Sequence[str]) -> list[list[int]]:
        """Ids of the answers, each closed by the end token."""
        opened = [f"{self._answer_prefix}{answer}" for answer in answers]
        return [[*row, self.end] for row in self.tokenizer(opened, add_special_tokens=False)["input_ids"]]

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
        """See ``Answerer.count_tokens``; the wrapper counts too."""
        return len(self.tokenizer(f"{self._before}{text}{self._after}", verbose=False)["input_ids"])

    def texts(self, ids: Tensor) -> list[str]:
        """Generated ids (B, T) -> text up to the end token."""
        rows = []
        for row in ids.tolist():
            kept = row[: row.index(self.end)] if self.end in row else row
            rows.append(self.tokenizer.decode(kept, skip_special_tokens=True).strip())
        return rows

    def generation(self, max_tokens: int) -> Any:
        """Greedy decoding; whatever generation config lies beside the weights has no say."""
        from transformers import GenerationConfig

        return GenerationConfig(
            do_sample=False,
            num_beams=1,
            max_new_tokens=max_tokens,
            eos_token_id=self.end,
            pad_token_id=self.padding,
            decoder_start_token_id=getattr(self.model.config, "decoder_start_token_id", None),
        )


def target_logps(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probabilities (B, T) of targets (B, T), each predicted by the logits (B, T, V) of its own column."""
    # ``token_logps`` predicts the token at t from t-1, and never reads the last position.
    return token_logps(F.pad(logits, (0, 0, 0, 1)), F.pad(targets, (1, 0), value=IGNORED))
