"""Causal language models (Llama, Mistral, ...) as an ``Answerer``: the answer continues the prompt."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_modules.losses.logps import IGNORED, response_mask, token_logps
from lightning_modules.networks.answerer.interface import AnswerScores, pad
from lightning_modules.networks.answerer.transformer import TransformerAnswerer, target_logps
from lightning_modules.networks.hub.chat_format import ChatFormat


class CausalAnswerer(TransformerAnswerer):
    """See ``TransformerAnswerer``. Prompts are padded on the left, answers on the right, so that all answers start in
    one column; positions count real tokens only. Prompt tokens carry no loss."""

    def __init__(self, model: Any, form: ChatFormat, *, pretrained: bool) -> None:
        super().__init__(model, form, pretrained=pretrained)
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._keeps_last = "logits_to_keep" in inspect.signature(inner.forward).parameters

    def collate(self, prompts: Sequence[str], answers: Sequence[str]) -> dict[str, Tensor]:
        """See ``Answerer.collate``: prompts (B, P) padded on the left, answers (B, T) on the right."""
        return self.collate_ids(self.form.prompt_ids(prompts), self.form.response_ids(answers))

    def collate_ids(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """See ``TransformerAnswerer.collate_ids``."""
        return {
            "prompt_ids": pad(prompts, value=self.padding, left=True),
            "prompt_mask": pad([[1] * len(row) for row in prompts], value=0, left=True),
            "labels": pad(answers, value=IGNORED),
        }

    def plain_logits(self, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
        """See ``TransformerAnswerer.plain_logits``."""
        ids = torch.tensor([[*prompt, *answer]], device=self.device)
        logits: Tensor = self.model(input_ids=ids, use_cache=False).logits[0]
        return logits[len(prompt) - 1 : -1]

    def answer_logps(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """See ``Answerer.answer_logps``."""
        labels = batch["labels"]
        answered = labels != IGNORED
        mask = torch.cat([batch["prompt_mask"], answered.long()], dim=1)
        ids = torch.cat([batch["prompt_ids"], labels.masked_fill(~answered, self.padding)], dim=1)
        logits = self._logits(ids, mask, labels.shape[1] + 1)
        # The last prompt token predicts the first answer token.
        scored = torch.cat([labels.new_full((len(labels), 1), IGNORED), labels], dim=1)
        return token_logps(logits, scored), response_mask(scored)

    def _logits(self, ids: Tensor, mask: Tensor, keep: int) -> Tensor:
        """Logits of the last ``keep`` positions (B, keep, V); where the model can, it computes no others."""
        last = {"logits_to_keep": keep} if self._keeps_last else {}
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        output = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, **last)
        return output.logits[:, -keep:]

    @torch.no_grad()
    def score(self, prompts: Sequence[str], answers: Sequence[str]) -> AnswerScores:
        """See ``Answerer.score``. ``ValueError`` for a model that cannot."""
        if self.refused:
            raise ValueError(self.refused)
        return self.score_ids(self.form.prompt_ids(prompts), self.form.response_ids(answers))

    @torch.no_grad()
    def score_ids(self, ids: Sequence[Sequence[int]], rows: Sequence[Sequence[int]]) -> AnswerScores:
        """See ``TransformerAnswerer.score_ids``: the prompt's keys and values are computed once for all answers."""
        prompt_ids = pad(ids, value=self.padding, left=True).to(self.device)
        mask = pad([[1] * len(row) for row in ids], value=0, left=True).to(self.device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        last = {"logits_to_keep": 1} if self._keeps_last else {}
        read = self.model(input_ids=prompt_ids, attention_mask=mask, position_ids=positions, use_cache=True, **last)
        labels = pad(rows, value=IGNORED).to(self.device)
        count, width = labels.shape
        first = torch.log_softmax(read.logits[:, -1].float(), dim=-1)[:, labels[:, 0]]
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        if width == 1:
            return AnswerScores(first, lengths)
        cache = read.past_key_values
        cache.reorder_cache(torch.arange(len(ids), device=self.device).repeat_interleave(count))
        rest = labels.repeat(len(ids), 1)
        known = rest[:, :-1] != IGNORED
        repeated = mask.repeat_interleave(count, dim=0)
        logits = self.model(
            input_ids=rest[:, :-1].masked_fill(~known, self.padding),
            attention_mask=torch.cat([repeated, known.long()], dim=1),
            position_ids=repeated.sum(-1, keepdim=True) + torch.arange(width - 1, device=self.device),
            past_key_values=cache,
            use_cache=True,
        ).logits
        return AnswerScores(first + target_logps(logits, rest[:, 1:]).sum(-1).view(-1, count), lengths)

    @torch.no_grad()
    def generate(self, prompts: Sequence[str], *, max_tokens: int) -> list[str]:
        """See ``Answerer.generate``."""
        ids = self.form.prompt_ids(prompts)
        prompt_ids = pad(ids, value=self.padding, left=True).to(self.device)
        written = self.model.generate(
            input_ids=prompt_ids,
            attention_mask=pad([[1] * len(row) for row in ids], value=0, left=True).to(self.device),
            generation_config=self.generation(max_tokens),
        )
        return self.form.texts(written[:, prompt_ids.shape[1] :].tolist())
