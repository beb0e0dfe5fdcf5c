"""LaTeX with booktabs: one `table` for the rows and one for the claims, to be \\input into a paper."""

import re

from sweeps.reporting.formats import wording
from sweeps.reporting.table import Table

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': "''",
    wording.MINUS: "$-$",
    "\u2265": r"$\geq$",
    "\u00b1": r"$\pm$",
    "\u2014": "---",
    "\u2013": "--",
    "\u2019": "'",
}
_RAGGED = r">{{\raggedright\arraybackslash}}p{{{}\textwidth}}"
_OPEN = (r"\begin{table}[t]", r"\centering\footnotesize\setlength{\tabcolsep}{3pt}")
# [ opens the optional argument of \\ and of \midrule when a cell or a line starts with it.
_AT_START = re.compile(r"^\[")


def render(table: Table) -> str:
    """Both tables; needs \\usepackage{array,booktabs} and nothing else."""
    marks = wording.footnotes(table)
    columns = _RAGGED.format(f"{0.6 / len(table.columns):.3f}") * len(table.columns)
    lines = [
        "% needs \\usepackage{array,booktabs}",
        *_OPEN,
        rf"\caption{{{_plain(table.title)}. {_plain(table.question)}}}",
        rf"\begin{{tabular}}{{@{{}}{_RAGGED.format('0.21')}r{columns}@{{}}}}",
        r"\toprule",
        _line(["", "seeds", *(_plain(wording.heading(column)) for column in table.columns)]),
        r"\midrule",
    ]
    for name, cells in zip(table.rows, table.cells, strict=True):
        shown = []
        for cell, column in zip(cells, table.columns, strict=True):
            said = wording.cell_text(cell, column, marks)
            gap = f" ({_plain(said.gap)})" if said.gap else ""
            paper = rf"\newline {_plain(said.paper)}{gap}\textsuperscript{{{said.footnote}}}" if said.paper else ""
            shown.append(_plain(said.ours) + paper)
        lines.append(_line([_plain(name), wording.seeds(cells), *shown]))
    lines += [r"\bottomrule", r"\end{tabular}"]
    under = [wording.legend(table), *wording.footnote_lines(table), *(f"Missing: {line}." for line in table.missing)]
    under += [f"To make it: {table.command}."] if table.command else []
    lines += _under([*under, *table.notes])
    lines += [r"\end{table}"]
    if table.claims:
        lines += ["", *_claims(table)]
    return "\n".join(lines) + "\n"


def _claims(table: Table) -> list[str]:
    lines = [
        *_OPEN,
        rf"\caption{{{_plain(table.title)}: claims.}}",
        rf"\begin{{tabular}}{{@{{}}l{_RAGGED.format('0.3')}{_RAGGED.format('0.14')}rr{_RAGGED.format('0.13')}@{{}}}}",
        r"\toprule",
        _line(["verdict", "claim", "difference", "$p$ (Holm)", "seen from", "to decide"]),
        r"\midrule",
    ]
    for result in table.claims:
        claim = wording.claim_text(result, wording.column_of(table, result.claim.column))
        about = [claim.text, claim.comparison, f"paper: {claim.published}" if claim.published else "", claim.note]
        lines.append(
            _line(
                [
                    claim.verdict,
                    r"\newline ".join(_plain(part) for part in about if part),
                    *map(_plain, (claim.difference, claim.p, claim.detectable, claim.plan)),
                ]
            )
        )
    return [*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]


def _under(lines: list[str]) -> list[str]:
    start, end = r"\par\smallskip\begin{minipage}{\textwidth}\scriptsize ", r"\end{minipage}"
    return [f"{start}{_plain(line)}{end}" for line in lines]


def _line(parts: list[str]) -> str:
    return " & ".join(_AT_START.sub("{[}", part) for part in parts) + r" \\"


def _plain(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))
