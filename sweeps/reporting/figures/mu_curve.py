"""The figure of a sweep over fixed weights of imitation: success against mu, with what learns its mu as points beside.

Rows named "<curve> <number>" with a number from 0 to 1 are a line, at that number; every other row that has a value in
the column ``mu`` is a point at its mean mu.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from matplotlib.figure import Figure

from sweeps.reporting.figures.style import GRID, legend_beside, with_intervals, without_frame
from sweeps.reporting.formats import wording
from sweeps.reporting.table import Table

_ROW = re.compile(r"(?P<curve>Fixed mu) (?P<mu>[01](?:\.\d+)?)")
_PANELS = 2  # the main column, and the one beside it


class Place(NamedTuple):
    """A row at its mu, with its value and interval in table units."""

    row: str
    mu: float
    value: float
    low: float
    high: float


def places(table: Table, column: int) -> tuple[list[Place], list[Place]]:
    """The line, by rising mu, and the points beside it; both empty where the table has no column ``mu``."""
    names = [one.name for one in table.columns]
    if "mu" not in names:
        return [], []
    line, beside = [], []
    for row, cells in zip(table.rows, table.cells, strict=True):
        ours, mu, match = cells[column].ours, cells[names.index("mu")].ours, _ROW.fullmatch(row)
        if ours and match:
            line.append(Place(row, float(match["mu"]), ours.value, ours.low, ours.high))
        elif ours and mu:
            beside.append(Place(row, mu.value, ours.value, ours.low, ours.high))
    return sorted(line, key=lambda place: place.mu), beside


def mu_curve(table: Table) -> Figure | None:
    """The first two columns against mu; ``None`` with fewer than two fixed values of it."""
    shown = [column for column, one in enumerate(table.columns[:_PANELS]) if one.name != "mu"]
    panels = [column for column in shown if len(places(table, column)[0]) > 1]
    if not panels:
        return None
    figure = Figure(figsize=(5.2 * len(panels) + 1.6, 4.0))
    for number, column in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), number)
        line, beside = places(table, column)
        for series, group in enumerate([line, *([place] for place in beside)]):
            label = group[0].row if series else "fixed mu"
            with_intervals(axes, [place.mu for place in group], group, series=series, label=label)
        axes.set_xlim(-0.04, 1.04)
        axes.set_xlabel("mu, weight of imitation (mean over the training)")
        axes.set_title(f"{wording.heading(table.columns[column])}, {table.level:.0%} interval", loc="left", fontsize=10)
        axes.grid(color=GRID, lw=0.8)
        without_frame(axes)
    legend_beside(figure)
    return figure
