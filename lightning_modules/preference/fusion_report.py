"""What fusion did to a set of training pairs: how large the margins are, who won, and whose responses were won."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from data.records.texts import PreferencePair
from lightning_modules.losses.infifpo import FusedReference, winner_shares

_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)


def fusion_report(
    pairs: Sequence[PreferencePair], winners: FusedReference, margins: Tensor, *, names: Sequence[str]
) -> dict[str, Any]:
    """A report as plain values.

    Args:
        pairs: B of them.
        winners: of max-margin fusion, (B,) columns of the sources or -1, where clipping kept the initial pivot.
        margins: (B,) fusion margins, nats per unit of length.
        names: of the sources, by column.

    Returns:
        ``numbers``: mean, spread and quantiles of the margin, the clip rate of both sides (share of responses where
        the initial pivot stayed) and each source's share of wins; ``winners_by_author``: for each side and author of
        the response, how often each source (or "initial") won.
    """
    numbers = {"margin_mean": float(margins.mean()), "margin_std": float(margins.std(unbiased=False))}
    numbers |= {f"margin_p{round(100 * at)}": float(margins.quantile(at)) for at in _QUANTILES}
    table: dict[str, dict[str, dict[str, int]]] = {}
    for side, column in (("chosen", winners.chosen_winner), ("rejected", winners.rejected_winner)):
        numbers[f"clip_rate_{side}"] = float((column < 0).double().mean())
        shares = winner_shares(column, sources=len(names)).tolist()
        numbers |= {f"wins_{side}_{name}": share for name, share in zip(names, shares, strict=True)}
        counts = table.setdefault(side, {})
        for pair, place in zip(pairs, column.tolist(), strict=True):
            author = counts.setdefault(getattr(pair, f"{side}_author") or "unknown", {})
            winner = names[place] if place >= 0 else "initial"
            author[winner] = author.get(winner, 0) + 1
    return {"numbers": numbers, "winners_by_author": table}
