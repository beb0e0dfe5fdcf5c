"""Markdown (GitHub's tables)."""

from sweeps.reporting.formats import wording
from sweeps.reporting.table import Table


def render(table: Table) -> str:
    """The whole table: rows, sources, claims, what is missing."""
    marks = wording.footnotes(table)
    lines = [f"# {_plain(table.title)}", "", _plain(table.question), ""]
    head = ["", "seeds", *(wording.heading(column) for column in table.columns)]
    lines += [_line(head), _line([":--", "--:", *(":--" for _ in table.columns)])]
    for name, cells in zip(table.rows, table.cells, strict=True):
        shown = []
        for cell, column in zip(cells, table.columns, strict=True):
            said = wording.cell_text(cell, column, marks)
            gap = f" ({said.gap})" if said.gap else ""
            paper = f"<br>{said.paper}{gap} <sup>{said.footnote}</sup>" if said.paper else ""
            shown.append(_plain(said.ours) + paper)
        lines.append(_line([_plain(name), wording.seeds(cells), *shown]))
    lines += ["", _plain(wording.legend(table)), ""]
    lines += [f"- {_plain(line)}" for line in wording.footnote_lines(table)]
    if table.claims:
        head = ["verdict", "claim", "difference", "p (Holm)", "could have seen", "to decide"]
        lines += ["", "## Claims", "", _line(head)]
        lines.append(_line([":--", ":--", ":--", "--:", "--:", ":--"]))
    for result in table.claims:
        claim = wording.claim_text(result, wording.column_of(table, result.claim.column))
        about = [f"{_plain(claim.text)}", f"<sub>{_plain(claim.comparison)}</sub>"]
        about += [f"<sub>paper: {_plain(claim.published)}</sub>"] if claim.published else []
        about += [f"<sub>{_plain(claim.note)}</sub>"] if claim.note else []
        said_p = _plain(claim.p)
        lines.append(
            _line(
                [
                    f"{claim.mark} **{claim.verdict}**",
                    "<br>".join(about),
                    claim.difference,
                    said_p,
                    claim.detectable,
                    claim.plan,
                ]
            )
        )
    if table.missing:
        lines += ["", "## Missing", "", *(f"- {_plain(line)}" for line in table.missing)]
        lines += ["", "To make it:", "", f"    {table.command}"] if table.command else []
    if table.notes:
        lines += ["", "## Notes", "", *(f"- {_plain(note)}" for note in table.notes)]
    return "\n".join(lines).rstrip() + "\n"


def _line(parts: list[str]) -> str:
    return f"| {' | '.join(parts)} |"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, also inside a table cell."""
    text = " ".join(text.split())
    for special in "\\`*_|~[]#":
        text = text.replace(special, f"\\{special}")
    return text.replace("<", "&lt;").replace(">", "&gt;")
