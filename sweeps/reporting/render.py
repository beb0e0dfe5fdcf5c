"""A table in every format. Text formats are pure: the same table gives the same bytes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sweeps.reporting.formats import csv_lines, html, latex, markdown, terminal
from sweeps.reporting.table import Table

_TEXTS: dict[str, Callable[[Table], str]] = {
    "markdown": markdown.render,
    "latex": latex.render,
    "csv": csv_lines.cells,
    "claims_csv": csv_lines.claims,
    "html": html.render,
}
FORMATS = ("terminal", *_TEXTS)


def render(table: Table, style: str, *, width: int = 100, colour: bool | None = None) -> str:
    """The table as text in one of FORMATS.

    Args:
        table: what to show.
        style: one of FORMATS; `csv` has one line per row and column, `claims_csv` one per claim.
        width: columns of the terminal; other formats ignore it.
        colour: of the terminal; None: only where standard output is a terminal.
    """
    if style == "terminal":
        return terminal.render(table, width=width, colour=colour)
    if style not in _TEXTS:
        raise ValueError(f"no format is called {style!r}: use one of {', '.join(FORMATS)}")
    return _TEXTS[style](table)


def write_figure(table: Table, folder: Path) -> list[Path]:
    """Writes rows.png/.svg (the main column) and claims.png/.svg below a folder; leaves out what has no results."""
    from sweeps.reporting.figures import intervals  # matplotlib takes half a second

    return intervals.write(table, folder)


def write_curves(runs: Mapping[str, Sequence[Path]], names: Sequence[str], folder: Path) -> list[Path]:
    """Writes training_curves.png/.svg of training metrics, from the ``metrics.jsonl`` of every row's runs."""
    if not names:
        return []
    from sweeps.reporting.figures import training_curves

    return training_curves.write(runs, names, folder)


def write_all(table: Table, folder: Path, stem: str = "table") -> dict[str, Path]:
    """Writes every text format as `stem` with its suffix, and the figures; returns the paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {"markdown": ".md", "latex": ".tex", "csv": ".csv", "claims_csv": "-claims.csv", "html": ".html"}
    paths = {style: folder / f"{stem}{suffix}" for style, suffix in names.items()}
    for style, path in paths.items():
        path.write_text(render(table, style), encoding="utf-8")
    return {**paths, **{path.name: path for path in write_figure(table, folder)}}
