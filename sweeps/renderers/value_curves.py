"""Estimates along good and corrupted prefixes, one panel per row of a table, for runs that recorded them."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sweeps.renderers.figures import _FONT, INK, SOFT, _broken

if TYPE_CHECKING:
    import pandas as pd

CURVES = ("good_values", "corrupted_values")
"""Columns of an examples frame, lists of estimates before the first token of a prefix and after each of its tokens."""

_ACROSS = 4
_WRONG = "#b3261e"


def write(rows: Mapping[str, Sequence[pd.DataFrame]], folder: Path) -> list[Path]:
    """Writes values.png; nothing where no run recorded estimates.

    Args:
        rows: frames of the finished seeds by row.
        folder: of the table.
    """
    shown = {name: frames for name, frames in rows.items() if frames and all(set(CURVES) <= set(f) for f in frames)}
    if not shown:
        return []
    down = math.ceil(len(shown) / _ACROSS)
    with matplotlib.rc_context({**_FONT, "font.size": 8}):
        figure = Figure(figsize=(2.9 * _ACROSS, 2.2 * down), layout="constrained")
        for place, (name, frames) in enumerate(shown.items()):
            axes = figure.add_subplot(down, _ACROSS, place + 1)
            for column, colour in zip(CURVES, (INK, _WRONG), strict=True):
                ends = aligned([list(values) for frame in frames for values in frame[column]])
                axes.plot(sorted(ends), [ends[at] for at in sorted(ends)], "o-", color=colour, ms=3, label=column)
            axes.axvline(0, color=SOFT, lw=0.8, ls=":")
            axes.set_title(_broken(name, 34), loc="left", fontsize=8)
            axes.spines[["top", "right"]].set_visible(False)
        figure.axes[0].legend(frameon=False, fontsize=7)
        figure.supxlabel("tokens before the last one of the prefix (0: the digit that is right or wrong)", fontsize=8)
        drawn = io.BytesIO()
        FigureCanvasAgg(figure).print_figure(drawn, format="png", dpi=150, metadata={"Software": None})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "values.png"
    path.write_bytes(drawn.getvalue())
    return [path]


def aligned(curves: Sequence[Sequence[float]]) -> dict[int, float]:
    """Mean over curves of unlike lengths by the place from their ends, which is 0; places before count down."""
    found: dict[int, list[float]] = {}
    for curve in curves:
        for place, value in enumerate(curve):
            found.setdefault(place - len(curve) + 1, []).append(float(value))
    return {place: float(np.mean(values)) for place, values in found.items()}
