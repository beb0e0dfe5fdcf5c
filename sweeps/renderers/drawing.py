"""What all figures share: font and colours, broken labels, and files that do not differ from one run to the next."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, SOFT, PAPER, GRID = "#1c1e21", "#8a929c", "#1f5fa8", "#e4e7eb"
GOOD, BAD, OPEN = "#1a7f3c", "#b3261e", "#a87700"
_FONT: dict[Any, Any] = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 10, "svg.hashsalt": "papergrid",
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
                ("png", FigureCanvasAgg, {"Software": None}), ("svg", FigureCanvasSVG, {"Date": None, "Creator": None}),
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
