"""Episodes of several turns as tensors: one row each, in which only what the policy wrote is scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from lightning_modules.losses.logps import IGNORED
from lightning_modules.networks.answerer.interface import pad
from lightning_modules.networks.token_batch import Ids, TokenBatch


class TurnIds(NamedTuple):
    """An action as it was written, its end token included where it was, and what was shown after it."""

    action: Ids
    shown: Ids = ()


def turn_batch(
    prompts: Sequence[Ids],
    episodes: Sequence[Sequence[TurnIds]],
    *,
    padding: int,
    read_back: Callable[[Ids], list[int]],
    limit: int,
) -> TokenBatch:
    """One row for each prompt and the turns that follow it; the scored tokens of a row are those of all its actions.

    An action's end token is scored after its last token, whether or not it stands in the context of what follows.

    Args:
        prompts: what each episode begins with.
        episodes: their turns.
        padding: id that fills rows.
        read_back: an action as it stands in the context of what follows it, see ``language_model.Codec``.
        limit: longest row in tokens.

    Raises:
        ValueError: an episode that is longer than ``limit`` tokens.
    """
    rows: list[list[int]] = []
    sources: list[list[int]] = []
    targets: list[list[int]] = []
    for prompt, turns in zip(prompts, episodes, strict=True):
        row, places, tokens = list(prompt), list[int](), list[int]()
        for number, (action, shown) in enumerate(turns):
            places += range(len(row) - 1, len(row) - 1 + len(action))
            tokens += action
            row += action if number == len(turns) - 1 else read_back(action)
            row += shown
        if len(row) > limit:
            raise ValueError(
                f"an episode has {len(row)} tokens but the network reads {limit}: raise the model's limit, or let the "
                "world take fewer turns"
            )
        rows.append(row)
        sources.append(places)
        targets.append(tokens)
    ids = pad(rows, value=padding)
    offsets = torch.arange(len(rows))[:, None] * ids.shape[1]
    wanted = pad(targets, value=IGNORED)
    at = (pad(sources, value=0) + offsets).masked_fill(wanted == IGNORED, 0)
    return TokenBatch(ids, None, None, None, at, wanted, torch.tensor(sum(map(len, rows))))
