"""Tables from finished runs: collects them, builds the table, prints it and writes its files with a receipt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.execution.ledger import Ledger, digests
from sweeps.execution.stages import write_atomically
from sweeps.inference.variation import deterministic_rows
from sweeps.planning import definition as definitions
from sweeps.planning.overridden import command
from sweeps.preflight.plan_view import say
from sweeps.reporting.table import Claim, Published, RowRuns, Table, build_table
from sweeps.signatures.signature import Signer, hash_of

if TYPE_CHECKING:
    import pandas as pd

    from sweeps.cli import Selection

TEXT_FORMATS = {
    "table.md": "markdown",
    "table.tex": "latex",
    "table.csv": "csv",
    "table.html": "html",
    "claims.csv": "claims_csv",
}


def write_table(selection: Selection) -> int:
    """Prints the table of a sweep and writes Markdown, LaTeX, CSV, HTML and a figure below ``outputs/sweeps``.

    The exit status is 1 when runs are missing; the table then says which, and how to make them.
    """
    from rich.console import Console

    from sweeps.reporting.figures.value_curves import write as write_value_curves
    from sweeps.reporting.render import render, write_curves, write_figure

    console = Console()
    written = receipt_of(selection)
    table = table_of(written, selection.ledger.outputs)
    print(render(table, "terminal", width=min(120, console.width) if console.is_terminal else 100))
    folder = selection.ledger.outputs / "sweeps" / selection.name
    for name, text in texts(table).items():
        write_atomically(folder / name, text)
    runs = selection.ledger.outputs / "runs"
    logs = {row: [runs / name / "metrics.jsonl" for name in seeds.values()] for row, seeds in written["rows"].items()}
    examples = {row: list(map(selection.ledger.examples, seeds.values())) for row, seeds in written["rows"].items()}
    drawn = [
        *write_figure(table, folder),
        *write_curves(logs, selection.definition.curves, folder),
        *write_value_curves(examples, folder),
    ]
    figures = digests(folder, sorted(path.name for path in drawn))
    receipt = json.loads(json.dumps({**written, "figures": figures}))
    # Its own digest covers what no number depends on, such as the command.
    write_atomically(folder / "receipt.json", json.dumps({**receipt, "digest": hash_of(receipt)}, indent=1))
    say(f"files: {folder}/table.md, .tex, .csv, .html and figures")
    if selection.definition.full:
        say(f"this is a cut-down grid; the full table: {selection.definition.full}")
    return 1 if table.missing else 0


def receipt_of(selection: Selection) -> dict[str, Any]:
    """What a table was made from: the sweep, its scale, and the run of every row and seed."""
    rows: dict[str, dict[str, Any]] = {}
    missing: dict[str, list[str]] = {}
    for cell in selection.cells:
        run = selection.drifted.get(cell.signature, cell)
        rows.setdefault(cell.row, {})
        missing.setdefault(cell.row, [])
        if selection.ledger.state(run) == "done":
            rows[cell.row][str(cell.seed)] = run.signature
        else:
            failure = selection.ledger.failure(cell)
            why = f"{failure['class']}: {failure['reason']}" if failure else selection.ledger.state(cell)
            missing[cell.row].append(f"seed {cell.seed}: {why}")
    expected: dict[str, list[int]] = {}
    for cell in selection.cells:
        expected.setdefault(cell.row, []).append(cell.seed)
    data = sorted({str((cell.config.get("data") or {}).get("name")) for cell in selection.cells})
    request = selection.request
    plain = (row for row, _, _ in selection.definition.points(request.scale, request.seeds))
    return {
        "sweep": selection.definition.name,
        "scale": request.scale,
        "changed": list(selection.changed),
        "renamed": {row: cell.row for row, cell in zip(plain, selection.cells, strict=True) if row != cell.row},
        "data": data,
        "rows": rows,
        "missing": missing,
        "expected": expected,
        "scored_by": _own_scores(selection),
        "deterministic": deterministic_rows(selection),
        "older_code": sorted(
            selection.drifted[cell.signature].signature
            for cell in selection.cells
            if cell.signature in selection.drifted
        ),
        "command": command(
            selection.definition,
            request.scale,
            request.overrides,
            request.seeds,
            sorted(request.flags & {"--accept-code-drift"}),
        ),
    }


def _own_scores(selection: Selection) -> list[str]:
    """Modules of scores that the cells' data name beside those of this repository."""
    from data.scoring import registry

    signer = Signer(lenient=True)
    named = {name for cell in selection.cells for name in signer.scores(cell.config)}
    return sorted(name for name in named if not name.startswith(f"{registry.__package__}."))


def table_of(written: Mapping[str, Any], outputs: Path) -> Table:
    """The table that a receipt describes, from the runs that it names."""
    from data.scoring.registry import all_scores

    definition = definitions.load(written["sweep"])
    ledger = Ledger(outputs)
    frames: dict[str, pd.DataFrame] = {}

    def frame(signature: str) -> pd.DataFrame:
        if signature not in frames:
            frames[signature] = ledger.examples(signature)
        return frames[signature]

    rows = [
        RowRuns(
            row,
            {int(seed): frame(signature) for seed, signature in runs.items()},
            written["expected"][row],
            written["missing"][row],
            row in written.get("deterministic", ()),
        )
        for row, runs in written["rows"].items()
    ]
    shown, renamed = {row.name for row in rows}, written.get("renamed", {})
    entries = [_renamed(entry, renamed) for entry in definition.claims]
    known = {renamed.get(row, row) for row in definition_rows(definition)}
    claims = [claim for claim in (Claim(**entry) for entry in entries) if {claim.left, claim.right} & known <= shown]
    changed = written.get("changed", [])
    title = f"{definition.title} ({written['scale']} scale, data: {', '.join(written['data'])})"
    title += f"; not the sweep's own table: with {' '.join(changed)}" if changed else ""
    if written["older_code"]:
        title += f"; {len(set(written['older_code']))} runs under older code, as asked by --accept-code-drift"
    change = definition.scales.get(written["scale"])
    notes = (*definition.notes, *([change.note] if change and change.note else []))
    own = [text for text in changed if not text.startswith("seeds=")]
    published = [
        _published(entry, definition, written["data"], own)
        for entry in (_renamed(entry, renamed) for entry in definition.published)
        if entry["row"] in shown
    ]
    return build_table(
        title,
        definition.question,
        definition.columns,
        rows,
        published,
        claims,
        all_scores(written.get("scored_by", ())),
        command=written["command"],
        notes=notes,
    )


def _published(
    entry: Mapping[str, Any], definition: definitions.Definition, data: Sequence[str], changed: Sequence[str]
) -> Published:
    """A published number; on other data than it was published for, or under other settings, it is never subtracted."""
    published = Published(**entry)
    other = [name for name in data if definition.published_on and not name.startswith(definition.published_on)]
    notes = [f"the paper's data is {definition.published_on}, ours here {', '.join(other)}"] if other else []
    notes += [f"here with {' '.join(changed)}"] if changed else []
    if not notes:
        return published
    return replace(published, comparable=False, note="; ".join(filter(None, (published.note, *notes))))


def _renamed(entry: Mapping[str, Any], rows: Mapping[str, str]) -> dict[str, Any]:
    """A claim or a published number with the names that its rows have in this table."""
    sides = {key: rows.get(entry[key], entry[key]) for key in ("row", "left", "right") if key in entry}
    return {**entry, **sides}


def definition_rows(definition: definitions.Definition) -> Sequence[str]:
    """All row names that a definition can make, at any scale."""
    return [row for arm in definition.arms for row, _ in arm.points()]


def texts(table: Table) -> dict[str, str]:
    """The table in every text format, by file name."""
    from sweeps.reporting.render import render

    return {name: render(table, style) for name, style in TEXT_FORMATS.items()}


def rebuild(written: Mapping[str, Any], outputs: Path) -> dict[str, str]:
    """The text files that a table's receipt should have led to."""
    return texts(table_of(written, outputs))
