"""CSV, tidy: one line per row and column, one line per claim, all numbers in table units with six digits."""

import csv
import io
from collections.abc import Iterable, Sequence

from sweeps.reporting.table import Table

CELLS = (
    "row",
    "column",
    "percent",
    "ours",
    "low",
    "high",
    "level",
    "standard_error",
    "degrees_of_freedom",
    "seeds",
    "expected_seeds",
    "examples",
    "paper",
    "comparable",
    "difference",
    "source",
    "confidence",
    "note",
    "missing",
    "caution",
)
CLAIMS = (
    "claim",
    "text",
    "kind",
    "left",
    "right",
    "column",
    "margin",
    "published",
    "verdict",
    "difference",
    "low",
    "high",
    "level",
    "standard_error",
    "p",
    "p_holm",
    "smallest_detectable",
    "more_seeds",
    "seeds",
    "examples",
    "note",
)


def cells(table: Table) -> str:
    """Every row under every score; empty fields where there is no number."""
    lines = []
    for row in table.cells:
        for cell, column in zip(row, table.columns, strict=True):
            ours, paper = cell.ours, cell.published
            found = (
                (ours.value, ours.low, ours.high, ours.level, ours.standard_error, ours.degrees_of_freedom)
                if ours
                else ("",) * 6
            )
            printed = (paper.value, paper.comparable, cell.difference) if paper else ("", "", "")
            origin = (paper.source, paper.confidence, paper.note) if paper else ("", "", "")
            lines.append(
                (
                    cell.row,
                    cell.column,
                    column.percent,
                    *found,
                    cell.seeds,
                    cell.expected_seeds,
                    ours.examples if ours else "",
                    *printed,
                    *origin,
                    cell.missing,
                    cell.caution,
                )
            )
    return _text(CELLS, lines)


def claims(table: Table) -> str:
    """Every claim; empty fields where it has no results yet."""
    lines = []
    for result in table.claims:
        claim, found = result.claim, result.difference
        numbers = (
            (
                found.value,
                found.low,
                found.high,
                found.level,
                found.standard_error,
                found.p_value if result.p_adjusted is not None else None,
            )
            if found
            else ("",) * 6
        )
        lines.append(
            (
                claim.id,
                claim.text,
                claim.kind,
                claim.left,
                claim.right,
                claim.column,
                claim.margin,
                claim.published,
                result.verdict,
                *numbers,
                result.p_adjusted,
                result.smallest_detectable,
                result.more_seeds,
                *((found.seeds, found.examples) if found else ("", "")),
                result.note,
            )
        )
    return _text(CLAIMS, lines)


def _text(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([_field(value) for value in line] for line in lines)
    return written.getvalue()


def _field(value: object) -> str:
    if isinstance(value, float):
        return f"{value + 0.0:.6g}"
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
