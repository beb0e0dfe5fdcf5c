"""Supervised fine-tuning: next-token training on the responses of demonstrations, and base training of small models.

The prompt's tokens carry no loss; a demonstration with the prompt "" is plain language modelling. The loss is a choice:
``losses.sft.dft_loss`` is dynamic fine-tuning on the same batches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from data.records.texts import Completion, Demonstration
from lightning_modules.base import GridModule, Progress
from lightning_modules.networks.language_model import LanguageModel, LanguageModelConfig, build_language_model
from lightning_modules.networks.token_batch import TokenBatch, packed_batch, padded_batch
from lightning_modules.sampling.sampler import Sampling, complete

TokenLoss = Callable[[Tensor, Tensor], Tensor]
"""(B, T-1) log-probabilities and mask -> (B,) losses."""


class Sft(GridModule):
    """Imitates demonstrations.

    The data object gives ``items(split, limit=None)`` (``Demonstration`` records, or any with ``id``, ``prompt`` and,
    in train, ``response``), and ``vocabulary`` where it is a generated world.

    Args:
        model: what is trained.
        seed: initial weights of what is not pre-trained, sampled responses, dropout.
        sampler: how responses are written when it is evaluated.
        loss: of the response tokens, such as ``losses.sft.sft_loss`` with ``per_sequence`` bound.
        tune: train it; ``False`` evaluates the weights that it comes with.
        packing: tokens of a row that holds several demonstrations, which do not see each other; ``None``: one row each.
            The loss is the same; packing saves padding where lengths differ much.
        chunk: response tokens that meet the vocabulary at a time, see ``logps.token_logps_from_hidden``; ``None``: all.
        samples: responses to each prompt when it is evaluated.
    """

    network: LanguageModel

    def __init__(
        self,
        *,
        model: LanguageModelConfig,
        seed: int,
        sampler: Sampling,
        loss: TokenLoss,
        tune: bool = True,
        packing: int | None = None,
        chunk: int | None = None,
        samples: int = 1,
    ) -> None:
        super().__init__(seed=seed, optimiser=model.optimiser)
        for name, value in (("packing", packing), ("chunk", chunk), ("samples", samples)):
            if value is not None and value < 1:
                raise ValueError(f"method.{name} must be at least 1, got {value}")
        self.model = model
        self.sampler = sampler
        self.loss = loss
        self.trains = bool(tune)
        self.packing = packing
        self.chunk = chunk
        self.samples = samples

    def attach(self, data: Any) -> None:
        """Build the model; random weights follow from the seed."""
        self.network = build_language_model(self.model, data, seed=self.seed, trained=self.trains)

    def collate(self, items: list[Demonstration]) -> TokenBatch:
        """Demonstrations as rows. ``ValueError`` for one that is longer than the network reads."""
        codec = self.network.codec
        prompts = codec.prompt_ids([item.prompt for item in items])
        responses = codec.response_ids([item.response for item in items])
        self.network.check_lengths(prompts, responses)
        if self.packing is None:
            return padded_batch(prompts, responses, padding=codec.padding)
        return packed_batch(prompts, responses, row_length=self.packing, padding=codec.padding)

    def losses(self, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        """See ``GridModule.losses``: (B,) in nats, and the tokens read."""
        logps, mask = self.network.response_logps(batch, chunk=self.chunk)
        return self.loss(logps, mask), batch.read

    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[Completion]:
        """``samples`` responses to every prompt of a split; what they are worth is for ``data.frame`` to say."""
        items = data.items(split, limit)
        return complete(self.network, items, self.sampler, copies=self.samples, seed=self.seed, progress=progress)
