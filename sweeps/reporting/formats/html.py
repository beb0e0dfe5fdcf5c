"""HTML: one file without scripts or outside parts, light and dark, a forest plot of the claims drawn as SVG."""

import html

from sweeps.reporting.formats import wording
from sweeps.reporting.formats.html_style import STYLE
from sweeps.reporting.table import Table

_WIDTH, _HEIGHT = 220, 26  # of one interval's drawing, in pixels


def render(table: Table) -> str:
    """The whole page."""
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_plain(table.title)}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        "<main>",
        f"<h1>{_plain(table.title)}</h1>",
        f'<p class="question">{_plain(table.question)}</p>',
        *_rows(table),
        f'<p class="legend">{_plain(wording.legend(table))}</p>',
    ]
    notes = [f"<li>{_plain(line.split(': ', 1)[1])}</li>" for line in wording.footnote_lines(table)]
    parts += ['<ol class="sources">', *notes, "</ol>"] if notes else []
    parts += _claims(table) if table.claims else []
    if table.missing:
        parts += ["<h2>Missing</h2>", "<ul>", *(f"<li>{_plain(line)}</li>" for line in table.missing), "</ul>"]
        parts += [f"<p>To make it: <code>{_plain(table.command)}</code></p>"] if table.command else []
    if table.notes:
        parts += ["<h2>Notes</h2>", "<ul>", *(f"<li>{_plain(note)}</li>" for note in table.notes), "</ul>"]
    return "\n".join([*parts, "</main>", "</body>", "</html>"]) + "\n"


def _rows(table: Table) -> list[str]:
    marks = wording.footnotes(table)
    heads = "".join(f'<th scope="col">{_plain(wording.heading(column))}</th>' for column in table.columns)
    heads = f'<th></th><th scope="col" class="seeds">seeds</th>{heads}'
    lines = ['<div class="wide"><table class="rows">', f"<thead><tr>{heads}</tr></thead>", "<tbody>"]
    for name, cells in zip(table.rows, table.cells, strict=True):
        shown = []
        for cell, column in zip(cells, table.columns, strict=True):
            said = wording.cell_text(cell, column, marks)
            value, _, rest = said.ours.partition(" ")
            ours = f'<b>{_plain(value)}</b> <span class="interval">{_plain(rest)}</span>'
            text = ours if cell.ours else f'<span class="absent">{_plain(said.ours)}</span>'
            if said.paper:
                gap = f" ({_plain(said.gap)})" if said.gap else ""
                text += f'<div class="paper">{_plain(said.paper)}{gap}<sup>{said.footnote}</sup></div>'
            shown.append(f"<td>{text}</td>")
        first = f'<th scope="row">{_plain(name)}</th><td class="seeds">{wording.seeds(cells)}</td>'
        lines.append(f"<tr>{first}{''.join(shown)}</tr>")
    return [*lines, "</tbody>", "</table></div>"]


def _claims(table: Table) -> list[str]:
    # One scale per column, so that the drawings of one score can be compared; zero is always on it.
    scales = {column.name: (0.0, 0.0) for column in table.columns}
    for result in table.claims:
        if result.difference:
            (least, most), margin = scales[result.claim.column], result.claim.margin
            scales[result.claim.column] = (
                min(least, result.difference.low, -margin),
                max(most, result.difference.high, margin),
            )
    lines = [
        "<h2>Claims</h2>",
        '<div class="wide"><table class="claims">',
        '<thead><tr><th scope="col">verdict</th><th scope="col">claim</th><th scope="col">difference</th>'
        '<th></th><th scope="col" class="number">p (Holm)</th><th scope="col" class="number">could have seen</th>'
        '<th scope="col">to decide</th></tr></thead>',
        "<tbody>",
    ]
    for result in table.claims:
        claim = wording.claim_text(result, wording.column_of(table, result.claim.column))
        about = f'{_plain(claim.text)}<div class="detail">{_plain(claim.comparison)}</div>'
        about += f'<div class="paper">paper: {_plain(claim.published)}</div>' if claim.published else ""
        about += f'<div class="detail">{_plain(claim.note)}</div>' if claim.note else ""
        drawn = ""
        if result.difference:
            found = result.difference
            drawn = _drawing(
                (found.low, found.value, found.high),
                result.claim.margin,
                scales[result.claim.column],
                f"{claim.difference}, {claim.verdict}",
                claim.verdict,
            )
        value, _, rest = claim.difference.partition(" ")
        lines.append(
            f'<tr><td class="verdict {claim.verdict}">{claim.mark} {claim.verdict}</td><td>{about}</td>'
            f'<td><b>{_plain(value)}</b><div class="interval">{_plain(rest)}</div></td><td>{drawn}</td>'
            f'<td class="number">{_plain(claim.p)}</td><td class="number">{_plain(claim.detectable)}</td>'
            f"<td>{_plain(claim.plan)}</td></tr>"
        )
    return [*lines, "</tbody>", "</table></div>"]


def _drawing(
    ends: tuple[float, float, float], margin: float, scale: tuple[float, float], label: str, verdict: str
) -> str:
    """An interval over a line at zero (and at both margins of an equivalence); scale: its low and its high end."""
    middle = _HEIGHT / 2
    least, width = scale[0], scale[1] - scale[0]

    def at(value: float) -> str:
        return f"{6 + ((value - least) / width if width else 0.5) * (_WIDTH - 12):.1f}"

    low, value, high = map(at, ends)
    edges = "".join(
        f'<line class="margin" x1="{at(edge)}" x2="{at(edge)}" y1="2" y2="{_HEIGHT - 2}"/>'
        for edge in ((-margin, margin) if margin else ())
    )
    return (
        f'<svg class="{verdict}" role="img" aria-label="{_plain(label)}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}">'
        f'<line class="zero" x1="{at(0.0)}" x2="{at(0.0)}" y1="0" y2="{_HEIGHT}"/>{edges}'
        f'<line class="reach" x1="{low}" x2="{high}" y1="{middle}" y2="{middle}"/>'
        f'<circle cx="{value}" cy="{middle}" r="4.5"/></svg>'
    )


def _plain(text: str) -> str:
    return html.escape(text)
