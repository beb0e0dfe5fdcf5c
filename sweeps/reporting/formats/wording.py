"""Numbers and phrases as all formats show them: one wording, so that no two files of a table can disagree."""

from dataclasses import dataclass, replace

from sweeps.inference.claims import EXAMPLES, RUNS, ClaimResult
from sweeps.inference.random_effects import Estimate
from sweeps.reporting.table import Cell, Column, Published, Table

MINUS = "\u2212"
MARKS = {"holds": "\u2714", "fails": "\u2718", "undecided": "?"}  # beside the word, never in its place


@dataclass(frozen=True)
class CellText:
    """One cell in words; empty strings where there is nothing to say."""

    ours: str  # "84.1 [82.9, 85.3]"
    paper: str  # "paper 90.5"
    gap: str  # "-6.4"
    footnote: int  # 0: none


@dataclass(frozen=True)
class ClaimText:
    """One claim in words."""

    verdict: str
    mark: str
    text: str
    comparison: str  # "Fine-tuned, simple > Zero-shot, simple (macro_f1)"
    published: str
    difference: str  # "+1.2 [0.3, 2.1]"
    p: str  # Holm-adjusted
    detectable: str
    plan: str  # what an undecided claim would need
    note: str


def number(value: float, column: Column) -> str:
    """A score: one decimal in percent, three otherwise; a true minus sign."""
    text = f"{value:.{1 if column.percent else 3}f}"
    if not float(text):
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def signed(value: float, column: Column) -> str:
    """A difference, with its sign where it is not zero."""
    text = number(value, column)
    return text if text.startswith(MINUS) or not float(text) else f"+{text}"


def interval(found: Estimate, column: Column) -> str:
    """Both ends of the confidence interval."""
    return f"[{number(found.low, column)}, {number(found.high, column)}]"


def p_value(p: float) -> str:
    """Three decimals, or that it lies below them."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def heading(column: Column) -> str:
    """A column's name with its unit and, where more is worse, its direction."""
    unit = f"{column.name} (%)" if column.percent else column.name
    return unit if column.higher_is_better else f"{unit}, lower is better"


def seeds(cells: tuple[Cell, ...]) -> str:
    """Finished seeds of a row, with the number wanted where some are missing."""
    cell = cells[0]
    return str(cell.seeds) if cell.seeds >= cell.expected_seeds else f"{cell.seeds} of {cell.expected_seeds}"


def footnotes(table: Table) -> dict[tuple[str, str, bool, str], int]:
    """Origins of the published numbers, numbered in the order in which the table is read."""
    numbered: dict[tuple[str, str, bool, str], int] = {}
    for row in table.cells:
        for cell in row:
            if cell.published:
                numbered.setdefault(_origin(cell.published), len(numbered) + 1)
    return numbered


def footnote_lines(table: Table) -> list[str]:
    """One line for every origin: "1: Table 3 (printed); another metric than ours: micro-F1"."""
    lines = []
    for (source, confidence, comparable, note), mark in footnotes(table).items():
        apart = "" if comparable else "not comparable with ours, no difference"
        parts = [f"{mark}: {source} ({confidence})", apart, note]
        lines.append("; ".join(part for part in parts if part))
    return lines


def cell_text(cell: Cell, column: Column, marks: dict[tuple[str, str, bool, str], int]) -> CellText:
    """The words of one cell."""
    ours = f"{number(cell.ours.value, column)} {interval(cell.ours, column)}" if cell.ours else f"({cell.missing})"
    if not cell.published:
        return CellText(ours, "", "", 0)
    printed = cell.published.value
    paper = "paper: number not seen" if printed is None else f"paper {_printed(printed)}"
    gap = signed(cell.difference, column) if cell.difference is not None else ""
    return CellText(ours, paper, gap, marks[_origin(cell.published)])


def claim_text(result: ClaimResult, column: Column) -> ClaimText:
    """The words of one claim."""
    claim, found = result.claim, result.difference
    right = f"{claim.right:g}" if isinstance(claim.right, int | float) else claim.right
    sign = {"greater": ">", "at_least": "\u2265", "equal_within": "="}[claim.kind]
    within = f" \u00b1 {claim.margin:g}" if claim.kind == "equal_within" else ""
    said = ClaimText(
        verdict=result.verdict,
        mark=MARKS[result.verdict],
        text=claim.text,
        published=claim.published,
        comparison=f"{claim.left} {sign} {right}{within} ({claim.column})",
        difference="",
        p="",
        detectable="",
        plan="",
        note=result.note,
    )
    if found is None:
        return replace(said, plan=result.needs)
    return replace(
        said,
        difference=f"{signed(found.value, column)} {interval(found, column)}",
        plan=_plan(result),
        p="" if result.p_adjusted is None else p_value(result.p_adjusted),
        detectable="" if result.smallest_detectable is None else number(result.smallest_detectable, column),
    )


def column_of(table: Table, name: str) -> Column:
    """The table's column of that name."""
    return next(column for column in table.columns if column.name == name)


def legend(table: Table) -> str:
    """How to read the numbers."""
    text = (
        f"ours: mean over seeds [{table.level:.0%} interval over seeds and examples, which are crossed]; "
        "one seed: over examples only."
    )
    if any(cell.published for row in table.cells for cell in row):
        text += " Beside the paper's number: ours minus the paper's."
    if table.claims:
        text += (
            f" Claims are decided at {1 - table.level:.2g} after Holm's correction over all of them; could have seen: "
            "the true difference that this design finds with probability 0.8 at the first step of that correction."
        )
    waiting = sum(result.needs == RUNS for result in table.claims)
    if waiting:
        text += (
            f" Provisional: {waiting} of {len(table.claims)} claims wait for missing runs and are open until these are "
            "there; what is decided stands."
        )
    cautions = dict.fromkeys(cell.caution for row in table.cells for cell in row if cell.caution)
    return " ".join([text, *(f"Caution: {caution}." for caution in cautions)])


def _plan(result: ClaimResult) -> str:
    if result.needs or result.verdict != "undecided" or result.difference is None:
        return result.needs
    if result.more_seeds is None:
        return EXAMPLES if result.difference.seeds == 1 else f"more seeds cannot decide it: {EXAMPLES}"
    return f"{result.more_seeds} more seed{'s' if result.more_seeds > 1 else ''}"


def _printed(value: float) -> str:
    """As the paper prints it: no digit added, none lost."""
    return f"{value:.10g}".replace("-", MINUS)


def _origin(published: Published) -> tuple[str, str, bool, str]:
    return published.source, published.confidence, published.comparable, published.note
