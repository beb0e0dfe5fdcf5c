"""The figure of a sweep over k: rows named "<curve>, k=<number>" as lines with their intervals, one panel per score."""

from __future__ import annotations

import re
from typing import NamedTuple

from matplotlib.figure import Figure

from sweeps.renderers import wording
from sweeps.renderers.drawing import BAD, GOOD, GRID, INK, OPEN, PAPER, SOFT, without_frame
from sweeps.table import Table

_ROW = re.compile(r"(?P<curve>.+), k=(?P<k>\d+)")
_COLOURS = (PAPER, BAD, GOOD, OPEN, "#6b3fa0", "#00808a", SOFT, INK)
_MARKERS = "osD^vPX*"
_PANELS = 2  # the main column, and the one beside it


class Point(NamedTuple):
    """A value with its interval at one k, in table units."""

    k: int
    value: float
    low: float
    high: float


def curves_of(table: Table, column: int) -> dict[str, list[Point]]:
    """Curves by name, each by rising k: rows with results, at least two of a name."""
    found: dict[str, list[Point]] = {}
    for name, cells in zip(table.rows, table.cells, strict=True):
        match, ours = _ROW.fullmatch(name), cells[column].ours
        if match and ours:
            found.setdefault(match["curve"], []).append(Point(int(match["k"]), ours.value, ours.low, ours.high))
    return {name: sorted(points) for name, points in found.items() if len(points) > 1}


def curves(table: Table) -> Figure | None:
    """Score against k in the first two columns; ``None`` where no row says its k."""
    panels = [column for column in range(min(_PANELS, len(table.columns))) if curves_of(table, column)]
    if not panels:
        return None
    figure = Figure(figsize=(5.2 * len(panels) + 1.6, 4.0))
    names = list(dict.fromkeys(name for column in panels for name in curves_of(table, column)))
    for place, column in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), place)
        ks: set[int] = set()
        for name, points in curves_of(table, column).items():
            number = names.index(name)
            x, y = [point.k for point in points], [point.value for point in points]
            errors = [[max(0.0, point.value - point.low) for point in points]]
            errors.append([max(0.0, point.high - point.value) for point in points])
            colour, marker = _COLOURS[number % len(_COLOURS)], _MARKERS[number % len(_MARKERS)]
            axes.errorbar(x, y, yerr=errors, color=colour, marker=marker, ms=5, lw=1.6, capsize=2.5, label=name)
            ks |= set(x)
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xticks(sorted(ks), [str(k) for k in sorted(ks)])
        axes.minorticks_off()
        axes.set_xlabel("passages shown (k)")
        axes.set_title(f"{wording.heading(table.columns[column])}, {table.level:.0%} interval", loc="left", fontsize=10)
        axes.grid(color=GRID, lw=0.8)
        without_frame(axes)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="center left", bbox_to_anchor=(0.93, 0.5), frameon=False, fontsize=8)
    return figure
