"""The figure of a sweep over k: rows named "<curve>, k=<number>" as lines with their intervals, one panel per score."""

from __future__ import annotations

import re
from typing import NamedTuple

from matplotlib.figure import Figure

from sweeps.reporting.figures.style import GRID, legend_beside, with_intervals, without_frame
from sweeps.reporting.formats import wording
from sweeps.reporting.table import Table

_ROW = re.compile(r"(?P<curve>.+), k=(?P<k>\d+)")
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
            x = [point.k for point in points]
            with_intervals(axes, x, points, series=names.index(name), label=name)
            ks |= set(x)
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xticks(sorted(ks), [str(k) for k in sorted(ks)])
        axes.minorticks_off()
        axes.set_xlabel("passages shown (k)")
        axes.set_title(f"{wording.heading(table.columns[column])}, {table.level:.0%} interval", loc="left", fontsize=10)
        axes.grid(color=GRID, lw=0.8)
        without_frame(axes)
    legend_beside(figure)
    return figure
