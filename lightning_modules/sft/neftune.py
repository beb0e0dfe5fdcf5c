"""NEFTune (arXiv 2310.05914): SFT with uniform noise on the input embeddings while training, as a control.

Departure: padding gets no noise and does not count as length, so that the noise does not depend on the batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from data.records.texts import Completion, Demonstration
from lightning_modules.base import GridModule, Progress
from lightning_modules.losses.sft import neftune_embeddings, sft_loss
from lightning_modules.networks.language_model import LanguageModel, LanguageModelConfig, build_language_model
from lightning_modules.networks.reference_model import demonstration_rows
from lightning_modules.networks.token_batch import TokenBatch, padded_batch
from lightning_modules.sampling.sampler import Sampling, complete


class Neftune(GridModule):
    """Imitates demonstrations that it reads through noise; data as for ``Sft``.

    Args:
        model: what is trained.
        seed: initial weights of what is not pre-trained, sampled responses, noise.
        sampler: how responses are written when it is evaluated.
        noise_alpha: the paper's alpha, at least 0 (5, 10 or 15 there).
        samples: responses to each prompt when it is evaluated.
    """

    network: LanguageModel

    def __init__(
        self,
        *,
        model: LanguageModelConfig,
        seed: int,
        sampler: Sampling,
        noise_alpha: float = 5.0,
        samples: int = 1,
    ) -> None:
        super().__init__(seed=seed, optimiser=model.optimiser)
        if not noise_alpha >= 0:
            raise ValueError(f"method.noise_alpha must be at least 0, got {noise_alpha}")
        if samples < 1:
            raise ValueError(f"method.samples must be at least 1, got {samples}")
        self.model, self.sampler, self.samples = model, sampler, samples
        self.noise_alpha = float(noise_alpha)

    def attach(self, data: Any) -> None:
        """Build the model; random weights follow from the seed."""
        self.network = build_language_model(self.model, data, seed=self.seed, trained=self.trains)

    def collate(self, items: list[Demonstration]) -> TokenBatch:
        """Demonstrations as rows. ``ValueError`` for one that is longer than the network reads."""
        texts = [(item.prompt, item.response) for item in items]
        return padded_batch(*demonstration_rows(self.network, texts), padding=self.network.codec.padding)

    def losses(self, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        """See ``GridModule.losses``: (B,) in nats, and the tokens read."""
        padding = self.network.codec.padding
        embedding = next(part for part in self.network.modules() if isinstance(part, nn.Embedding))

        def noisy(module: nn.Module, inputs: tuple[Tensor, ...], embedded: Tensor) -> Tensor:
            noise = torch.rand_like(embedded) * 2 - 1
            return neftune_embeddings(embedded, noise, inputs[0] != padding, noise_alpha=self.noise_alpha)

        hook = embedding.register_forward_hook(noisy)
        try:
            logps, mask = self.network.response_logps(batch)
        finally:
            hook.remove()
        return sft_loss(logps, mask), batch.read

    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[Completion]:
        """``samples`` responses to every prompt of a split; what they are worth is for ``data.frame`` to say."""
        items = data.items(split, limit)
        return complete(self.network, items, self.sampler, copies=self.samples, seed=self.seed, progress=progress)
