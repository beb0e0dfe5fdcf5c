"""The terminal: readable at 100 columns, with or without colour."""

import sys

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from sweeps.reporting.formats import wording
from sweeps.reporting.table import Column, Table

STYLES = {"holds": "bold green", "fails": "bold red", "undecided": "yellow"}
_PER_GRID = 3  # scores beside each other; further ones go below


def render(table: Table, *, width: int = 100, colour: bool | None = None) -> str:
    """The whole table as lines of at most `width` characters, but for the command: no line break may cut it.

    Args:
        table: what to show.
        width: of the terminal, in characters.
        colour: whether to write escape codes; None: only where standard output is a terminal.
    """
    coloured = sys.stdout.isatty() if colour is None else colour
    console = Console(
        width=width,
        force_terminal=coloured,
        color_system="standard" if coloured else None,
        highlight=False,
        legacy_windows=False,
        emoji=False,
        markup=False,
    )
    with console.capture() as captured:
        for part in _parts(table):
            console.print(part, soft_wrap=isinstance(part, str))
    lines = captured.get().split("\n")
    return "\n".join(line if coloured else line.rstrip() for line in lines).rstrip("\n")


def _parts(table: Table) -> list[object]:
    """What is printed, one below the other; plain text is not wrapped."""
    parts: list[object] = [Text(table.title, style="bold"), Text(table.question, style="italic"), Text()]
    for start in range(0, len(table.columns), _PER_GRID):
        parts += [_rows(table, start, table.columns[start : start + _PER_GRID]), Text()]
    parts.append(Text(wording.legend(table), style="dim"))
    parts += [Text(line, style="dim") for line in wording.footnote_lines(table)]
    if table.claims:
        parts += [Text(), _claims(table)]
    if table.missing:
        parts += [Text(), Text("Missing", style="bold"), *(Text(f"  {line}") for line in table.missing)]
        parts += [f"To make it: {table.command}"] if table.command else []
    if table.notes:
        parts += [Text(), *(Text(f"Note: {note}", style="dim") for note in table.notes)]
    return parts


def _rows(table: Table, start: int, columns: tuple[Column, ...]) -> Grid:
    marks = wording.footnotes(table)
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False, expand=False)
    grid.add_column("", ratio=None, overflow="fold")
    grid.add_column("seeds", justify="right")
    for column in columns:
        compared = any(cell.difference is not None for row in table.cells for cell in row if cell.column == column.name)
        grid.add_column(wording.heading(column), min_width=23 if compared else 17)
    for name, cells in zip(table.rows, table.cells, strict=True):
        shown = []
        for cell, column in zip(cells[start:], columns, strict=False):
            said = wording.cell_text(cell, column, marks)
            text = Text(said.ours, style="" if cell.ours else "dim")
            if said.paper:
                gap = f" ({said.gap})" if said.gap else ""
                text.append(f"\n{said.paper}{gap} [{said.footnote}]", style="cyan")
            shown.append(text)
        grid.add_row(Text(name), wording.seeds(cells), *shown)
    return grid


def _claims(table: Table) -> Grid:
    grid = Grid(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
        show_edge=False,
        title="Claims",
        title_justify="left",
        title_style="bold",
    )
    grid.add_column("verdict", no_wrap=True)
    grid.add_column("claim", ratio=1)
    for name, justify in (("difference", "left"), ("p (Holm)", "right"), ("could have seen", "right")):
        grid.add_column(name, justify=justify, max_width=18 if name == "difference" else 9)  # type: ignore[arg-type]
    grid.add_column("to decide", max_width=16)
    for result in table.claims:
        claim = wording.claim_text(result, wording.column_of(table, result.claim.column))
        about = Text(claim.text)
        about.append(f"\n{claim.comparison}", style="dim")
        about.append(f"\npaper: {claim.published}" if claim.published else "", style="cyan")
        about.append(f"\n{claim.note}" if claim.note else "", style="dim")
        # The value and its interval on two lines, so that neither breaks in the middle.
        difference = claim.difference.replace(" [", "\n[", 1)
        grid.add_row(
            Text(f"{claim.mark} {claim.verdict}", style=STYLES[claim.verdict]),
            about,
            difference,
            claim.p,
            claim.detectable,
            Padding(Text(claim.plan), 0),
        )
    return grid
