"""Figures of a table: the rows of its main column and the claims, each as dots with their intervals (PNG and SVG)."""

from functools import partial
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps.inference.claims import ClaimResult
from sweeps.reporting.figures.curves import curves
from sweeps.reporting.figures.mu_curve import mu_curve
from sweeps.reporting.figures.style import BAD, GOOD, GRID, INK, OPEN, PAPER, SOFT, broken, save, without_frame
from sweeps.reporting.formats import wording
from sweeps.reporting.table import Table

# Shape and colour both tell the verdict.
LOOKS = {"holds": ("o", GOOD), "fails": ("X", BAD), "undecided": ("s", OPEN)}
_LABEL = 38  # characters of a label before it is broken
_BETWEEN = 0.7  # inches between panels, for an axis and its name


def write(table: Table, folder: Path) -> list[Path]:
    """Writes rows, claims and curves (over k, over mu) as .png and .svg; leaves out a figure that would be empty."""
    drawn = {"rows": rows, "claims": claims, "curves": curves, "mu_curve": mu_curve}
    return save({name: partial(draw, table) for name, draw in drawn.items()}, folder)


def rows(table: Table) -> Figure | None:
    """Our value and interval of every row in the first column, the paper's comparable number beside it."""
    shown = [(name, cells[0]) for name, cells in zip(table.rows, table.cells, strict=True) if cells and cells[0].ours]
    if not shown:
        return None
    figure, (axes,) = _empty([f"{name} ({wording.seeds((cell,))})" for name, cell in shown])
    for height, (_, cell) in enumerate(shown):
        if cell.ours:
            axes.plot([cell.ours.low, cell.ours.high], [height, height], color=INK, lw=2, solid_capstyle="round")
            axes.plot(cell.ours.value, height, "o", color=INK, ms=6, label="ours" if not height else None)
        if cell.published and cell.published.comparable and cell.published.value is not None:
            axes.plot(cell.published.value, height, "D", mfc="white", mec=PAPER, mew=1.6, ms=6, label="paper")
    column = table.columns[0]
    axes.set_xlabel(f"{wording.heading(column)}, {table.level:.0%} interval (number of seeds in brackets)")
    unique = dict(reversed([*zip(*reversed(axes.get_legend_handles_labels()), strict=True)]))
    axes.legend(unique.values(), unique.keys(), loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    axes.set_title(broken(table.title, 48), loc="left", fontsize=11, fontweight="bold")
    return figure


def claims(table: Table) -> Figure | None:
    """Forest plot: every claim's difference with its interval, against zero; a panel for every score, in its unit."""
    panels: dict[str, list[ClaimResult]] = {}
    for result in table.claims:
        if result.difference:
            panels.setdefault(result.claim.column, []).append(result)
    if not panels:
        return None
    figure, drawn = _empty(*([result.claim.text for result in shown] for shown in panels.values()))
    for axes, (column, shown) in zip(drawn, panels.items(), strict=True):
        axes.axvline(0, color=SOFT, lw=1.2, ls=(0, (3, 3)), zorder=0)
        for height, result in enumerate(shown):
            _claim(axes, height, table, result)
        heading = wording.heading(wording.column_of(table, column))
        axes.set_xlabel(f"difference in {heading}, {table.level:.0%} interval")
    drawn[0].set_title(broken(f"{table.title}: claims", 48), loc="left", fontsize=11, fontweight="bold")
    return figure


def _claim(axes: Axes, height: int, table: Table, result: ClaimResult) -> None:
    found, (marker, colour) = result.difference, LOOKS[result.verdict]
    if found is None:
        return
    axes.plot([found.low, found.high], [height, height], color=colour, lw=2, solid_capstyle="round")
    axes.plot(found.value, height, marker, color=colour, ms=7)
    for edge in (-result.claim.margin, result.claim.margin) if result.claim.margin else ():
        axes.plot([edge, edge], [height - 0.3, height + 0.3], color=SOFT, lw=1.2)
    said = wording.claim_text(result, wording.column_of(table, result.claim.column))
    axes.annotate(
        f"{said.difference}  {said.verdict}",
        (1.02, height),
        xycoords=("axes fraction", "data"),
        va="center",
        color=colour,
        fontsize=9,
    )


def _empty(*panels: list[str]) -> tuple[Figure, list[Axes]]:
    """Axes above each other, each with one line per label, the first on top; lines have one height in all of them."""
    broken_up = [[broken(label, _LABEL) for label in labels] for labels in panels]
    line = 0.24 * max(label.count("\n") + 1.35 for labels in broken_up for label in labels)
    heights = [line * len(labels) for labels in broken_up]
    figure = Figure(figsize=(7.2, sum(heights) + 0.9 + _BETWEEN * (len(panels) - 1)))
    spacing = {"height_ratios": heights, "hspace": _BETWEEN * len(panels) / sum(heights)}
    drawn = figure.subplots(len(panels), squeeze=False, gridspec_kw=spacing)[:, 0]
    for axes, labels in zip(drawn, broken_up, strict=True):
        axes.set_yticks(range(len(labels)), labels)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=GRID, lw=0.8)
        axes.set_axisbelow(True)
        without_frame(axes, "top", "right", "left")
    return figure, list(drawn)
