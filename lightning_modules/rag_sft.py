"""Fine-tuning of readers on contexts with passages (after arXiv 2410.05983), and readers prompted as they are.

The data decide what a row is: no passages (``direct_sft``), retrieved passages (``rag_sft``), the relevant passage
quoted before the answer (``rag_sft_reasoning``), several questions about one context (base training of small readers).
Departures: the loss mask of the paper is unknown, ours is on responses alone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from data.records.readings import ReadingItem
from data.records.texts import Completion
from lightning_modules.base import GridModule, Optimiser, Progress
from lightning_modules.generation import Sampling, complete
from lightning_modules.losses.logps import IGNORED
from lightning_modules.networks.answerer import pad
from lightning_modules.networks.language_model import LanguageModel, LanguageModelConfig, build_language_model
from lightning_modules.networks.token_batch import TokenBatch

TokenLoss = Callable[[Tensor, Tensor], Tensor]
"""(E, L) log-probabilities and mask -> (E,) losses."""


class RagSft(GridModule):
    """Learns the responses to prompts with passages.

    Args:
        model: what is trained.
        seed: initial weights of what is not pre-trained.
        sampler: how responses are written when it is evaluated.
        loss: of the response tokens, such as ``losses.sft.sft_loss`` with ``per_sequence`` bound.
        optimiser: of this training; ``None``: the model's own.
        tune: train it; ``False`` prompts the weights that it comes with.
        chunk: response tokens that meet the vocabulary at a time; ``None``: all.
    """

    network: LanguageModel

    def __init__(
        self,
        *,
        model: LanguageModelConfig,
        seed: int,
        sampler: Sampling,
        loss: TokenLoss,
        optimiser: Optimiser | None = None,
        tune: bool = True,
        chunk: int | None = None,
    ) -> None:
        super().__init__(seed=seed, optimiser=optimiser or model.optimiser)
        if chunk is not None and chunk < 1:
            raise ValueError(f"method.chunk must be at least 1 or null, got {chunk}")
        self.model = model
        self.sampler = sampler
        self.loss = loss
        self.trains = bool(tune)
        self.chunk = chunk

    def attach(self, data: Any) -> None:
        """Build the model; random weights follow from the seed."""
        self.network = build_language_model(self.model, data, seed=self.seed)

    def collate(self, items: list[ReadingItem]) -> TokenBatch:
        """Items as rows; every turn's response is scored. ``ValueError`` for a row longer than the network reads."""
        codec = self.network.codec
        turns = [[(item.prompt, item.response), *item.turns] for item in items]
        flat = [turn for row in turns for turn in row]
        prompts = codec.prompt_ids([prompt for prompt, _ in flat])
        # A further question stands inside its row as a test's question stands behind its passages: nothing opens it.
        opening = len(codec.prompt_ids([""])[0])
        firsts = set(accumulate(map(len, turns[:-1]), initial=0))
        prompts = [ids if place in firsts else ids[opening:] for place, ids in enumerate(prompts)]
        responses = codec.response_ids([response for _, response in flat])
        ends = list(accumulate(map(len, turns)))
        spans = list(zip([0, *ends], ends, strict=False))
        rows = [[token for turn in range(*span) for token in (*prompts[turn], *responses[turn])] for span in spans]
        self.network.check_lengths(rows, [()] * len(rows))
        ids = pad(rows, value=codec.padding)
        starts = []
        for number, span in enumerate(spans):
            place = number * ids.shape[1] - 1
            for turn in range(*span):
                place += len(prompts[turn])
                starts.append(place)
                place += len(responses[turn])
        targets = pad(responses, value=IGNORED)
        sources = torch.tensor(starts)[:, None] + torch.arange(targets.shape[1])
        sources = sources.masked_fill(targets == IGNORED, 0)
        return TokenBatch(ids, None, None, None, sources, targets, torch.tensor(sum(map(len, rows))))

    def losses(self, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        """See ``GridModule.losses``: one loss in nats for each response, and the tokens read."""
        logps, mask = self.network.response_logps(batch, chunk=self.chunk)
        return self.loss(logps, mask), batch.read

    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[Completion]:
        """One response to every prompt of a split."""
        return complete(
            self.network, data.items(split, limit), self.sampler, copies=1, seed=self.seed, progress=progress
        )
