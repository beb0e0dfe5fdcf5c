"""Sequence-to-sequence models (T5 and its kin) as an ``Answerer``: the encoder reads, the decoder answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_modules.losses.logps import IGNORED
from lightning_modules.networks.answerer.interface import AnswerScores, pad
from lightning_modules.networks.answerer.transformer import TransformerAnswerer, target_logps


class Seq2SeqAnswerer(TransformerAnswerer):
    """See ``TransformerAnswerer``. The loss and the scores run over the decoder's tokens alone."""

    def collate(self, prompts: Sequence[str], answers: Sequence[str]) -> dict[str, Tensor]:
        """See ``Answerer.collate``; both sides padded on the right."""
        return self.collate_ids(self.form.prompt_ids(prompts), self.form.response_ids(answers))

    def collate_ids(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """See ``TransformerAnswerer.collate_ids``."""
        return {
            "input_ids": pad(prompts, value=self.padding),
            "attention_mask": pad([[1] * len(row) for row in prompts], value=0),
            "labels": pad(answers, value=IGNORED),
        }

    def plain_logits(self, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
        """See ``TransformerAnswerer.plain_logits``."""
        ids, labels = (torch.tensor([row], device=self.device) for row in (prompt, answer))
        logits: Tensor = self.model(input_ids=ids, labels=labels, use_cache=False).logits[0]
        return logits

    def answer_logps(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """See ``Answerer.answer_logps``."""
        labels = batch["labels"]
        logits = self.model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            decoder_input_ids=self._shifted(labels),
            use_cache=False,
        ).logits
        return target_logps(logits, labels), labels != IGNORED

    def _shifted(self, labels: Tensor) -> Tensor:
        """Decoder input: the start token, then all labels but the last."""
        start = labels.new_full((len(labels), 1), self.model.config.decoder_start_token_id)
        return torch.cat([start, labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, self.padding)], dim=1)

    @torch.no_grad()
    def score(self, prompts: Sequence[str], answers: Sequence[str]) -> AnswerScores:
        """See ``Answerer.score``. ``ValueError`` for a model that cannot."""
        if self.refused:
            raise ValueError(self.refused)
        return self.score_ids(self.form.prompt_ids(prompts), self.form.response_ids(answers))

    @torch.no_grad()
    def score_ids(self, prompts: Sequence[Sequence[int]], ids: Sequence[Sequence[int]]) -> AnswerScores:
        """See ``TransformerAnswerer.score_ids``: encoder and the cross-attention's keys run once per prompt."""
        collated = self.collate_ids(prompts, [ids[0] for _ in prompts])
        batch = {name: value.to(self.device) for name, value in collated.items()}
        encoded = self.model.get_encoder()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        labels = pad(ids, value=IGNORED).to(self.device)
        count, width = labels.shape
        start = labels.new_full((len(prompts), 1), self.model.config.decoder_start_token_id)
        opened = self.model(
            encoder_outputs=encoded, attention_mask=batch["attention_mask"], decoder_input_ids=start, use_cache=True
        )
        first = torch.log_softmax(opened.logits[:, -1].float(), dim=-1)[:, labels[:, 0]]
        lengths = torch.tensor([len(row) for row in ids], device=self.device)
        if width == 1:
            return AnswerScores(first, lengths)
        cache = opened.past_key_values
        cache.batch_repeat_interleave(count)
        rest = labels.repeat(len(prompts), 1)
        inputs = rest[:, :-1].masked_fill(rest[:, :-1] == IGNORED, self.padding)
        logits = self.model(
            encoder_outputs=(encoded[0].repeat_interleave(count, dim=0),),
            attention_mask=batch["attention_mask"].repeat_interleave(count, dim=0),
            decoder_input_ids=inputs,
            past_key_values=cache,
            use_cache=True,
        ).logits
        return AnswerScores(first + target_logps(logits, rest[:, 1:]).sum(-1).view(-1, count), lengths)

    @torch.no_grad()
    def generate(self, prompts: Sequence[str], *, max_tokens: int) -> list[str]:
        """See ``Answerer.generate``."""
        batch = self.collate(prompts, [""] * len(prompts))
        written = self.model.generate(
            input_ids=batch["input_ids"].to(self.device),
            attention_mask=batch["attention_mask"].to(self.device),
            generation_config=self.generation(max_tokens),
        )
        return self.form.texts(written[:, 1:].tolist())
