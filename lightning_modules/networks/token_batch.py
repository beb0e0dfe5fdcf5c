"""Prompts and responses as tensors: padded rows, packed rows, or a prompt that its responses share.

However the tokens lie, a batch says for every scored token which state predicts it, so that what comes out is always
one row of log-probabilities per response: losses never see the layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_modules.losses.logps import IGNORED
from lightning_modules.networks.answerer.interface import pad

Ids = Sequence[int]


class TokenBatch(NamedTuple):
    """R rows of T tokens that hold E responses of at most L tokens.

    Attributes:
        ids: (R, T), padded on the right.
        positions: (R, T) of each token inside its sequence, or ``None`` for 0, 1, 2, ...
        segments: (R, T) number of the sequence that a token belongs to, for packed rows, or ``None``.
        branches: (R, T), 0 for a prompt, 1, 2, ... for the responses to it, or ``None`` where no prompt is shared.
        sources: (E, L) index in the flattened rows of the state that predicts each response token; 0 where none is.
        targets: (E, L) ids of the response tokens; ``IGNORED`` behind their end.
        read: (), tokens in the rows, padding not counted.
    """

    ids: Tensor
    positions: Tensor | None
    segments: Tensor | None
    branches: Tensor | None
    sources: Tensor
    targets: Tensor
    read: Tensor

    def to(self, device: torch.device) -> TokenBatch:
        """The same batch on another device."""
        return TokenBatch(*(None if tensor is None else tensor.to(device) for tensor in self))  # type: ignore[arg-type]


def padded_batch(prompts: Sequence[Ids], responses: Sequence[Ids], *, padding: int) -> TokenBatch:
    """One row for each prompt and its response; rows may differ in length. ``ValueError`` for an empty prompt."""
    _check_begun(prompts)
    rows = [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
    ids = pad(rows, value=padding)
    starts = [row * ids.shape[1] + len(prompt) - 1 for row, prompt in enumerate(prompts)]
    return TokenBatch(ids, None, None, None, *_scored(starts, responses), _count(rows))


def packed_batch(prompts: Sequence[Ids], responses: Sequence[Ids], *, row_length: int, padding: int) -> TokenBatch:
    """As few rows of at most ``row_length`` tokens as first-fit-decreasing finds, several sequences in each.

    Raises:
        ValueError: a sequence that is longer than a row, or an empty prompt.
    """
    _check_begun(prompts)
    lengths = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
    placed: list[tuple[int, int]] = [(0, 0)] * len(lengths)
    rows: list[list[int]] = []
    positions: list[list[int]] = []
    segments: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if lengths[index] > row_length:
            raise ValueError(f"a sequence has {lengths[index]} tokens, a packed row {row_length}: raise method.packing")
        at = next((row for row, ids in enumerate(rows) if len(ids) + lengths[index] <= row_length), len(rows))
        if at == len(rows):
            for column in (rows, positions, segments):
                column.append([])
        placed[index] = (at, len(rows[at]))
        rows[at] += [*prompts[index], *responses[index]]
        positions[at] += range(lengths[index])
        segments[at] += [index] * lengths[index]
    ids = pad(rows, value=padding)
    starts = [row * ids.shape[1] + offset + len(prompts[index]) - 1 for index, (row, offset) in enumerate(placed)]
    numbers = pad(segments, value=-1)  # padding is a sequence of its own
    return TokenBatch(ids, pad(positions, value=0), numbers, None, *_scored(starts, responses), _count(rows))


def shared_prompt_batch(
    prompts: Sequence[Ids], first: Sequence[Ids], second: Sequence[Ids], *, padding: int
) -> TokenBatch:
    """One row for each prompt and both responses to it: the prompt is read once, and no response sees the other.

    Of the E = 2R responses, ``first`` are the first R and ``second`` the others. ``ValueError`` for an empty prompt.
    """
    _check_begun(prompts)
    rows, positions, branches = [], [], []
    for prompt, one, other in zip(prompts, first, second, strict=True):
        begun = len(prompt)
        rows.append([*prompt, *one, *other])
        positions.append([*range(begun + len(one)), *range(begun, begun + len(other))])
        branches.append([0] * begun + [1] * len(one) + [2] * len(other))
    ids = pad(rows, value=padding)
    width = ids.shape[1]
    offsets = [row * width + len(prompt) - 1 for row, prompt in enumerate(prompts)]
    begins = [offset + len(one) for offset, one in zip(offsets, first, strict=True)]
    sources, targets = _scored([*offsets, *begins], [*first, *second])
    # The first token of a second response is predicted by the prompt's end, not by the end of the first response.
    sources[len(prompts) :, 0] = torch.tensor(offsets)
    return TokenBatch(ids, pad(positions, value=0), None, pad(branches, value=3), sources, targets, _count(rows))


def _check_begun(prompts: Sequence[Ids]) -> None:
    """A response's first token is predicted by the state before it: without one, it would be another row's."""
    if not all(map(len, prompts)):
        raise ValueError("a prompt without tokens predicts nothing: begin prompts with a start token")


def _scored(starts: Sequence[int], responses: Sequence[Ids]) -> tuple[Tensor, Tensor]:
    """``sources`` and ``targets`` of responses whose first token is predicted by the states at ``starts``."""
    targets = pad(responses, value=IGNORED)
    sources = torch.tensor(starts)[:, None] + torch.arange(targets.shape[1])
    return sources.masked_fill(targets == IGNORED, 0), targets


def _count(rows: Sequence[Ids]) -> Tensor:
    return torch.tensor(sum(map(len, rows)))
