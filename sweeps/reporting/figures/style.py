"""What all figures share: font and colours, broken labels, and files that do not differ from one run to the next."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, SOFT, PAPER, GRID = "#1c1e21", "#8a929c", "#1f5fa8", "#e4e7eb"
GOOD, BAD, OPEN = "#1a7f3c", "#b3261e", "#a87700"
SERIES = tuple(zip((PAPER, BAD, GOOD, OPEN, "#6b3fa0", "#00808a", SOFT, INK), "osD^vPX*", strict=True))
"""Colour and marker of each of several series, in their order; they begin again after the last, with other lines."""
LINES = ("-", "--", ":", "-.")
_FONT: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "svg.hashsalt": "papergrid",
    "svg.fonttype": "path",
}


def save(figures: Mapping[str, Callable[[], Figure | None]], folder: Path) -> list[Path]:
    """Draw figures and write each as .png and .svg under its name; one that has nothing to show is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with matplotlib.rc_context(_FONT):
        for name, draw in figures.items():
            figure = draw()
            if figure is None:
                continue
            for suffix, canvas, metadata in (
                ("png", FigureCanvasAgg, {"Software": None}),
                ("svg", FigureCanvasSVG, {"Date": None, "Creator": None}),
            ):
                drawn = io.BytesIO()
                canvas(figure).print_figure(drawn, format=suffix, dpi=160, metadata=metadata, bbox_inches="tight")
                written.append(folder / f"{name}.{suffix}")
                written[-1].write_bytes(drawn.getvalue())
    return written


def broken(text: str, width: int) -> str:
    """A label in lines of at most so many characters."""
    return "\n".join(textwrap.wrap(text, width)) or text


def without_frame(axes: Axes, *sides: str) -> None:
    """Hide sides of the frame; without names, the top and the right."""
    for side in sides or ("top", "right"):
        axes.spines[side].set_visible(False)


class Estimate(Protocol):
    """A value with its interval."""

    @property
    def value(self) -> float:
        """In the axis' unit."""
        ...

    @property
    def low(self) -> float:
        """Lower end."""
        ...

    @property
    def high(self) -> float:
        """Upper end."""
        ...


def with_intervals(axes: Axes, x: Sequence[float], estimates: Sequence[Estimate], *, series: int, label: str) -> None:
    """A line through estimates, or a point, with their intervals as bars."""
    again, place = divmod(series, len(SERIES))
    colour, marker = SERIES[place]
    # An interval that does not hold its value, as a percentile interval may not, gets no bar on that side.
    below = [max(0.0, one.value - one.low) for one in estimates]
    above = [max(0.0, one.high - one.value) for one in estimates]
    values = [one.value for one in estimates]
    look: dict[str, Any] = {"color": colour, "marker": marker, "ls": LINES[again % len(LINES)]}
    axes.errorbar(x, values, yerr=[below, above], ms=5.5, lw=1.6, capsize=2.5, label=label, **look)


def legend_beside(figure: Figure) -> None:
    """The first panel's legend, to the right of all panels."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="center left", bbox_to_anchor=(0.93, 0.5), frameon=False, fontsize=8)
