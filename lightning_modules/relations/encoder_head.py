"""An encoder with a linear head over the states at the two entity tags: the discriminative yardstick (R-BERT's entity
markers, Wu and He 2019, https://doi.org/10.1145/3357384.3358119, without its averages and its [CLS] state)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.records.relations import Prediction, Prompt
from lightning_modules.base import GridModule, Optimiser, Progress
from lightning_modules.networks.answerer.marked_encoder import MarkedEncoder
from lightning_modules.networks.precision import computing


class _Classifier(nn.Module):
    def __init__(self, encoder: MarkedEncoder, classes: int, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * encoder.width, classes)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Collated prompts -> logits (B, C)."""
        return self.head(self.dropout(self.encoder.read(batch).flatten(1)))

    def is_new(self, name: str) -> bool:
        return name.startswith("head.")

    def depth(self, name: str) -> int:
        return self.encoder.depth(name)


class EncoderHead(GridModule):
    """Classifies a prompt into the inventory.

    Args:
        model: a model config that has an encoder for tagged sentences (``build_encoder``); its decoder is not used.
        seed: initial weights of the head, and dropout.
        dropout: on the states that the head reads.
        optimiser: how encoder and head are trained; ``None``: as the model says.
        predict_batch: prompts that are answered together.
    """

    network: _Classifier

    def __init__(
        self,
        *,
        model: Any,
        seed: int,
        dropout: float = 0.1,
        optimiser: Optimiser | None = None,
        predict_batch: int = 32,
    ) -> None:
        super().__init__(seed=seed, optimiser=optimiser or model.optimiser)
        if not hasattr(model, "build_encoder"):
            raise ValueError(
                "method=encoder_head needs a model with an encoder for tagged sentences: use minilm_generator"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"method.dropout must be at least 0 and below 1, got {dropout}")
        if predict_batch < 1:
            raise ValueError(f"method.predict_batch must be at least 1, got {predict_batch}")
        self.model = model
        self.dropout = dropout
        self.predict_batch = predict_batch
        self.labels: tuple[str, ...] = ()

    def attach(self, data: Any) -> None:
        """Build the encoder, and a head as wide as the inventory."""
        self.labels = tuple(data.labels)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.network = _Classifier(self.model.build_encoder(), len(self.labels), self.dropout)
        data.count_tokens = lambda text: len(self.network.encoder.ids([text])[0])

    def prepare(self, data: Any, stages: Any, progress: Progress | None = None) -> None:
        """Share the output of the encoder's frozen layers on the training prompts as a stage."""
        self.network.encoder.remember([prompt.text for prompt in data.prompts("train")], stages, progress)

    def _collate_prompts(self, items: list[Prompt]) -> dict[str, Tensor]:
        rows = self.network.encoder.ids([prompt.text for prompt in items])
        limit = self.network.encoder.limit
        if max(map(len, rows)) > limit:
            raise ValueError(
                f"a prompt has {max(map(len, rows))} tokens, the encoder reads {limit}: set prompt.budget={limit}"
            )
        return self.network.encoder.collate(rows)

    def collate(self, items: list[Prompt]) -> dict[str, Tensor]:
        """Prompts and the positions of their labels in the inventory (B,)."""
        targets = torch.tensor([self.labels.index(prompt.target) for prompt in items])
        return {**self._collate_prompts(items), "targets": targets}

    def losses(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Cross-entropy (B,) in nats."""
        logits = self.network(batch).float()
        return F.cross_entropy(logits, batch["targets"], reduction="none"), batch["attention_mask"].sum()

    @torch.no_grad()
    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[Prediction]:
        """See ``Method.predict``."""
        if torch.cuda.is_available():
            self.network.to("cuda")
        self.network.eval()
        prompts: list[Prompt] = data.prompts(split, limit)
        lengths = [data.count_tokens(prompt.text) for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda index: -lengths[index])
        found: dict[int, str] = {}
        device = self.network.head.weight.device
        for start in range(0, len(order), self.predict_batch):
            chosen = order[start : start + self.predict_batch]
            batch = self._collate_prompts([prompts[index] for index in chosen])
            with computing(self.network):
                best = self.network({name: value.to(device) for name, value in batch.items()}).argmax(-1)
            found.update({index: self.labels[at] for index, at in zip(chosen, best.tolist(), strict=True)})
            if progress is not None:
                progress(len(found), len(prompts))
        return [
            Prediction(prompt.example_id, prompt.target, found[index], found[index], prompt.neighbours)
            for index, prompt in enumerate(prompts)
        ]
