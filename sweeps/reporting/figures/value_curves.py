"""Estimates along good and corrupted prefixes, one panel per row of a table, for runs that recorded them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from sweeps.reporting.figures.style import BAD, INK, SOFT, broken, save, without_frame

if TYPE_CHECKING:
    import pandas as pd

CURVES = ("good_values", "corrupted_values")
"""Columns of an examples frame, lists of estimates before the first token of a prefix and after each of its tokens."""

_ACROSS = 4


def write(rows: Mapping[str, Sequence[pd.DataFrame]], folder: Path) -> list[Path]:
    """Writes values.png and .svg; nothing where no run recorded estimates.

    Args:
        rows: frames of the finished seeds by row.
        folder: of the table.
    """
    return save({"values": lambda: draw(rows)}, folder)


def draw(rows: Mapping[str, Sequence[pd.DataFrame]]) -> Figure | None:
    """A panel for every row whose runs all recorded estimates; arguments as of ``write``."""
    shown = {name: frames for name, frames in rows.items() if frames and all(set(CURVES) <= set(f) for f in frames)}
    if not shown:
        return None
    figure = Figure(figsize=(2.9 * _ACROSS, 2.2 * math.ceil(len(shown) / _ACROSS)), layout="constrained")
    for place, (name, frames) in enumerate(shown.items(), start=1):
        axes = figure.add_subplot(math.ceil(len(shown) / _ACROSS), _ACROSS, place)
        for column, colour in zip(CURVES, (INK, BAD), strict=True):
            ends = aligned([list(values) for frame in frames for values in frame[column]])
            axes.plot(sorted(ends), [ends[at] for at in sorted(ends)], "o-", color=colour, ms=3, label=column)
        axes.axvline(0, color=SOFT, lw=0.8, ls=":")
        axes.set_title(broken(name, 34), loc="left", fontsize=8)
        axes.tick_params(labelsize=8)
        without_frame(axes)
    figure.axes[0].legend(frameon=False, fontsize=7)
    figure.supxlabel("tokens before the last one of the prefix (0: the digit that is right or wrong)", fontsize=8)
    return figure


def aligned(curves: Sequence[Sequence[float]]) -> dict[int, float]:
    """Mean over curves of unlike lengths by the place from their ends, which is 0; places before count down."""
    found: dict[int, list[float]] = {}
    for curve in curves:
        for place, value in enumerate(curve):
            found.setdefault(place - len(curve) + 1, []).append(float(value))
    return {place: float(np.mean(values)) for place, values in found.items()}
