"""Training curves of a sweep's rows: one panel per metric, the mean over seeds and their range (PNG and SVG)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from sweeps.reporting.figures.style import GRID, save, without_frame

Curve = tuple[np.ndarray, np.ndarray]
"""Shares of the training that is done, (K,), and the metric there, (K,)."""

_STYLES = ("-", "--", ":", "-.")


def read(metrics: Path, name: str) -> Curve | None:
    """A metric's curve from ``metrics.jsonl``; ``None`` where the file or the metric is not there."""
    if not metrics.is_file():
        return None
    rows = [json.loads(line) for line in metrics.read_text().splitlines() if line.strip()]
    found = {row["step"]: row[name] for row in rows if isinstance(row.get(name), (int, float))}
    if not found:
        return None
    last = max(row["step"] for row in rows)
    steps = np.array(sorted(found), dtype=np.float64)
    return steps / last, np.array([found[step] for step in sorted(found)], dtype=np.float64)


def smoothed(values: np.ndarray, share: float = 0.05) -> np.ndarray:
    """Mean over a centred window of a share of all points: batches are small and noisy."""
    half = int(len(values) * share / 2)
    sums = np.concatenate([[0.0], values.cumsum()])
    places = np.arange(len(values))
    low, high = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def draw(runs: Mapping[str, Sequence[Path]], names: Sequence[str]) -> Figure | None:
    """A panel for each of ``names`` with a line per row; ``None`` where no run has any of them.

    Args:
        runs: the ``metrics.jsonl`` of every row's finished runs.
    """
    figure = Figure(figsize=(4.2 * len(names), 3.2))
    panels = np.atleast_1d(figure.subplots(1, len(names)))
    grid, drawn = np.linspace(0.0, 1.0, 101), False
    for panel, name in zip(panels, names, strict=True):
        for place, (row, paths) in enumerate(runs.items()):
            curves = [curve for path in paths if (curve := read(path, name)) is not None]
            if not curves:
                continue
            drawn = True
            # A line begins where the first value was logged: RL after SFT has no reward before.
            values = np.stack([np.interp(grid, places, smoothed(found), left=np.nan) for places, found in curves])
            colour = matplotlib.colormaps["tab10"](place % 10)
            panel.fill_between(grid, values.min(0), values.max(0), color=colour, alpha=0.15, lw=0)
            panel.plot(grid, values.mean(0), _STYLES[place // 10 % 4], color=colour, label=row, lw=1.5)
        panel.set_title(name, loc="left", fontsize=10)
        panel.set_xlabel("share of the training")
        panel.grid(color=GRID, lw=0.8)
        without_frame(panel)
    if not drawn:
        return None
    labels = {text: line for panel in panels for line, text in zip(*panel.get_legend_handles_labels(), strict=True)}
    panels[-1].legend(labels.values(), labels.keys(), loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)
    return figure


def write(runs: Mapping[str, Sequence[Path]], names: Sequence[str], folder: Path) -> list[Path]:
    """Writes training_curves.png and .svg; nothing where there is nothing to draw."""
    return save({"training_curves": lambda: draw(runs, names)}, folder) if names else []
