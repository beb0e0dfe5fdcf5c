"""Fine-tuning of readers on contexts with passages (after arXiv 2410.05983), and readers prompted as they are.

The data decide what a row is: no passages (``direct_sft``), retrieved passages (``rag_sft``), the relevant passage
quoted before the answer (``rag_sft_reasoning``), several questions about one context (base training of small readers).
Departures: the loss mask of the paper is unknown, ours is on responses alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from data.records.readings import ReadingItem
from data.records.texts import Completion
from lightning_modules.base import GridModule, Optimiser, Progress
from lightning_modules.losses.logps import IGNORED
from lightning_modules.networks.answerer.interface import pad
from lightning_modules.networks.language_model import LanguageModel, LanguageModelConfig, build_language_model
from lightning_modules.networks.token_batch import TokenBatch
from lightning_modules.sampling.sampler import Sampling, complete

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
        packing: tokens of a training row that holds several items, which do not see each other; ``None``: one row each.
            The loss is the same; packing saves padding where lengths differ much.
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
        packing: int | None = None,
        chunk: int | None = None,
    ) -> None:
        super().__init__(seed=seed, optimiser=optimiser or model.optimiser)
        for name, value in (("packing", packing), ("chunk", chunk)):
            if value is not None and value < 1:
                raise ValueError(f"method.{name} must be at least 1 or null, got {value}")
        self.model = model
        self.sampler = sampler
        self.loss = loss
        self.trains = bool(tune)
        self.packing = packing
        self.chunk = chunk

    def attach(self, data: Any) -> None:
        """Build the model; random weights follow from the seed."""
        self.network = build_language_model(self.model, data, seed=self.seed, trained=self.trains)

    def collate(self, items: list[ReadingItem]) -> TokenBatch:
        """Items as rows; every turn's response is scored. ``ValueError`` for a row longer than the network reads."""
        codec = self.network.codec
        turns = [[(item.prompt, item.response), *item.turns] for item in items]
        flat = [turn for row in turns for turn in row]
        firsts = iter(codec.prompt_ids([item.prompt for item in items]))
        further = iter(codec.further_ids([prompt for item in items for prompt, _ in item.turns]))
        prompts = [next(further if place else firsts) for row in turns for place in range(len(row))]
        responses = codec.response_ids([response for _, response in flat])
        ends = list(accumulate(map(len, turns)))
        spans = list(zip([0, *ends], ends, strict=False))
        rows = [[token for turn in range(*span) for token in (*prompts[turn], *responses[turn])] for span in spans]
        self.network.check_lengths(rows, [()] * len(rows))
        places = _places([len(row) for row in rows], self.packing)
        ids, positions, segments = _laid_out(rows, places, padding=codec.padding)
        starts = []
        for (row, offset), span in zip(places, spans, strict=True):
            place = row * ids.shape[1] + offset - 1
            for turn in range(*span):
                place += len(prompts[turn])
                starts.append(place)
                place += len(responses[turn])
        targets = pad(responses, value=IGNORED)
        sources = torch.tensor(starts)[:, None] + torch.arange(targets.shape[1])
        sources = sources.masked_fill(targets == IGNORED, 0)
        packed = self.packing is not None
        return TokenBatch(
            ids,
            positions if packed else None,
            segments if packed else None,
            None,
            sources,
            targets,
            torch.tensor(sum(map(len, rows))),
        )

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


def _places(lengths: Sequence[int], room: int | None) -> list[tuple[int, int]]:
    """Row and offset of every sequence: a row each, or first-fit-decreasing into rows of ``room`` tokens.

    ``ValueError`` for a sequence that is longer than a row.
    """
    if room is None:
        return [(number, 0) for number in range(len(lengths))]
    places, filled = [(0, 0)] * len(lengths), list[int]()
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        if lengths[number] > room:
            raise ValueError(f"an item has {lengths[number]} tokens, a packed row {room}: raise method.packing")
        row = next((row for row, used in enumerate(filled) if used + lengths[number] <= room), len(filled))
        if row == len(filled):
            filled.append(0)
        places[number] = (row, filled[row])
        filled[row] += lengths[number]
    return places


def _laid_out(
    sequences: Sequence[Sequence[int]], places: Sequence[tuple[int, int]], *, padding: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, positions inside a sequence and numbers of the sequences (-1: padding), (R, T) each."""
    count = 1 + max(row for row, _ in places)
    width = max(offset + len(ids) for ids, (_, offset) in zip(sequences, places, strict=True))
    rows = torch.full((count, width), padding)
    positions, segments = torch.zeros_like(rows), torch.full_like(rows, -1)
    for number, (ids, (row, offset)) in enumerate(zip(sequences, places, strict=True)):
        span = slice(offset, offset + len(ids))
        rows[row, span] = torch.tensor(ids)
        positions[row, span] = torch.arange(len(ids))
        segments[row, span] = number
    return rows, positions, segments
