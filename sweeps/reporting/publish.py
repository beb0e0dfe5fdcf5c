"""Results as data: a finished table as JSON and CSV below ``docs/results``, with all that it takes to make it again.

The same runs give the same bytes: names are sorted, numbers have six significant digits, and nothing names a machine, a
person or a folder outside the project.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.errors import UserError
from sweeps.execution.ledger import read_json
from sweeps.execution.receipt import code_state
from sweeps.execution.stages import write_atomically
from sweeps.preflight.plan_view import say
from sweeps.reporting.published_records import claim, origin, rounded, row
from sweeps.reporting.report import receipt_of, table_of
from sweeps.signatures.signature import ROOT

if TYPE_CHECKING:
    from sweeps.cli import Selection
    from sweeps.planning.plan import Cell
    from sweeps.reporting.table import Table

RESULTS = ROOT / "docs" / "results"
_CODE = ("sweeps/", "data/", "losses/", "lightning_modules/", "conf/", "hydra_plugins/")


def publish(
    selection: Selection, *, partial: bool = False, dirty: bool = False, folder: Path = RESULTS, tree: str | None = None
) -> Path:
    """Writes ``<paper>-<table>-<scale>.json``, ``.csv`` and figures of a sweep's finished runs.

    Args:
        partial: publish with gaps, which the file names.
        dirty: publish what was run or is tabulated with uncommitted code; the file says so.
        folder: where to.
        tree: the uncommitted change of this checkout; None: as git says.

    Returns:
        The JSON file.

    Raises:
        UserError: cells are missing, the code was not committed, or runs do not know their commit.
    """
    receipt = receipt_of(selection)
    runs = {cell.signature: selection.drifted.get(cell.signature, cell).signature for cell in selection.cells}
    states = {
        cell.signature: selection.ledger.state(selection.drifted.get(cell.signature, cell)) for cell in selection.cells
    }
    _check_finished(selection, states, partial)
    outputs = selection.ledger.outputs / "runs"
    records = {
        own: (read_json(outputs / run / "receipt.json"), read_json(outputs / run / "done.json"))
        for own, run in runs.items()
        if states[own] == "done"
    }
    changed_tree = _changed_code(code_state()["patch"] if tree is None else tree)
    unclean = any(found["patch_sha256"] or found["left_out"] for found, _ in records.values())
    _check_code(selection.title, [found for found, _ in records.values()], unclean, changed_tree, dirty)
    # Reasons of failures quote paths and hosts: the published file has the kind alone.
    receipt["missing"] = {
        row: [f"seed {cell.seed}: {states[cell.signature]}" for cell in cells if states[cell.signature] != "done"]
        for row, cells in _by_row(selection.cells).items()
    }
    receipt["command"] = _command(selection)
    table = table_of(json.loads(json.dumps(receipt)), selection.ledger.outputs)
    found = {
        "name": selection.name,
        "sweep": selection.definition.name,
        "paper": selection.definition.paper,
        "title": table.title,
        "question": table.question,
        "scale": selection.request.scale,
        "command": _command(selection),
        "config": _config(selection, receipt),
        "notes": list(table.notes),
        "missing": list(table.missing),
        **origin(records, unclean or changed_tree, selection.ledger.outputs),
        "columns": [
            {"name": one.name, "percent": one.percent, "higher_is_better": one.higher_is_better}
            for one in table.columns
        ],
        "level": table.level,
        "rows": [row(table, index, receipt) for index in range(len(table.rows))],
        "claims": [claim(result) for result in table.claims],
        "cells": [_cell(selection, cell, states, records, outputs / runs[cell.signature]) for cell in selection.cells],
    }
    _check_private(json.dumps(found, default=str))
    found["figures"] = _figures(table, folder, selection.name)
    path, text = folder / f"{selection.name}.json", json.dumps(rounded(found), indent=1, ensure_ascii=False)
    write_atomically(path, text + "\n")
    write_atomically(path.with_suffix(".csv"), _csv(rounded(found)))
    say(f"published: {path.name}, {path.with_suffix('.csv').name}, {len(found['figures'])} figures")
    return path


def _check_finished(selection: Selection, states: Mapping[str, str], partial: bool) -> None:
    open_cells = [cell for cell in selection.cells if states[cell.signature] != "done"]
    if len(open_cells) == len(selection.cells):
        raise UserError(f"{selection.title} has no finished run: {_command(selection)}")
    if open_cells and not partial:
        first = open_cells[0]
        raise UserError(
            f"{selection.title} has {len(open_cells)} of {len(selection.cells)} cells unfinished, the first "
            f"{first.row!r} seed {first.seed} ({states[first.signature]}): finish them ({_command(selection)}), or "
            "publish with the gaps said (--partial)"
        )


def _check_code(
    title: str, records: Sequence[Mapping[str, Any]], unclean: bool, changed_tree: bool, dirty: bool
) -> None:
    unknown = sum(not record["commit"] for record in records)
    if unknown:
        raise UserError(f"{unknown} runs of {title} have no commit in their receipt: run them in a git checkout")
    if (unclean or changed_tree) and not dirty:
        what = "was run with" if unclean else "would be tabulated by"
        raise UserError(f"{title} {what} code that is not committed: commit it, or say so in the file (--dirty)")


def _check_private(text: str) -> None:
    """Refuses what would tell of a machine or a person: a setting may hold a path of its own."""
    told = re.search(rf"(?<![\w.:/])(?:{'|'.join(map(re.escape, _private()))})(?![\w-])", text)
    if told:
        raise UserError(
            f"the published file would name {told[0]!r} of this machine: "
            "give settings with paths relative to the project"
        )


def _private() -> list[str]:
    places = {str(ROOT), str(Path.home()), tempfile.gettempdir()} - {"/"}
    host = socket.gethostname()
    return sorted({*places, *([host] if host and host != "localhost" else [])}, key=len, reverse=True)


def _changed_code(patch: str) -> bool:
    """Whether an uncommitted change touches code or configs; one of pages alone changes no number."""
    paths = [line.split(" b/", 1)[-1] for line in patch.splitlines() if line.startswith("diff --git ")]
    return any(path.startswith(_CODE) for path in paths)


def _by_row(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.row, []).append(cell)
    return found


def _command(selection: Selection) -> str:
    """The make target of a plain table; with what was changed behind it, where something was."""
    seeds = [text.removeprefix("seeds=") for text in selection.changed if text.startswith("seeds=")]
    others = [text for text in selection.changed if not text.startswith("seeds=")]
    drift = ["--accept-code-drift"] if selection.drifted else []
    words = [f"make {selection.definition.name.replace('/', '-')} SCALE={selection.request.scale}"]
    words += [f"SEEDS={seed}" for seed in seeds]
    arguments = " ".join([*others, *drift])
    return " ".join([*words, *([f"ARGS='{arguments}'"] if arguments else [])])


def _config(selection: Selection, receipt: Mapping[str, Any]) -> dict[str, Any]:
    change = selection.definition.change(selection.request.scale)
    return {
        "file": f"sweeps/papers/{selection.definition.name}.yaml",
        "base": [*selection.definition.base, *change.base],
        "changed": list(selection.changed),
        "older_code": receipt["older_code"],
        "data": receipt["data"],
    }


def _cell(
    selection: Selection, cell: Cell, states: Mapping[str, str], records: Mapping[str, Any], run: Path
) -> dict[str, Any]:
    own = set(selection.request.overrides) - set(selection.changed)  # where it ran, which changes nothing
    receipt, _ = records.get(cell.signature, ({}, {}))
    return {
        "row": cell.row,
        "seed": cell.seed,
        "status": states[cell.signature],
        "signature": run.name,
        "training": receipt.get("training", cell.training),
        "science": cell.science,
        "commit": receipt.get("commit"),
        "dirty": bool(receipt.get("patch_sha256") or receipt.get("left_out")),
        "overrides": [text for text in cell.overrides if text not in own],
        "scores": dict(sorted(read_json(run / "summary.json").items())) if receipt else {},
    }


def _figures(table: Table, folder: Path, name: str) -> list[str]:
    """SVG alone, on a ground of its own, so that pages may be light or dark; figures of an earlier table go."""
    from sweeps.reporting.render import write_figure

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with tempfile.TemporaryDirectory(prefix="papergrid-publish-") as place:
        for drawn in sorted(path for path in write_figure(table, Path(place)) if path.suffix == ".svg"):
            written.append(f"{name}-{drawn.name}")
            shutil.copyfile(drawn, folder / written[-1])
    for kind in ("rows", "claims", "curves", "mu_curve"):
        if f"{name}-{kind}.svg" not in written:
            (folder / f"{name}-{kind}.svg").unlink(missing_ok=True)
    return written


def _csv(found: Mapping[str, Any]) -> str:
    """One line for every cell and score, and one for every row's score over its seeds (``seed`` empty)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["row", "seed", "score", "value", "low", "high", "published", "difference", "status", "signature", "commit"]
    writer.writerow(head)
    for one in found["rows"]:
        for name, score in one["scores"].items():
            ours, paper = score["ours"] or {}, score["published"] or {}
            numbers = [ours.get("value"), ours.get("low"), ours.get("high"), paper.get("value"), score["difference"]]
            status = "done" if one["seeds"] == one["expected_seeds"] else "partial"
            writer.writerow([one["row"], "", name, *numbers, status, "", found["commit"]])
    for cell in found["cells"]:
        for name, value in cell["scores"].items() or [("", "")]:
            about = [cell["status"], cell["signature"], cell["commit"]]
            writer.writerow([cell["row"], cell["seed"], name, value, "", "", "", "", *about])
    return text.getvalue()
