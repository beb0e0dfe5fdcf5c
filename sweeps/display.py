"""What the terminal shows of plans and running sweeps. Reads the ledger; decides nothing."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live as RichLive
from rich.table import Table

from sweeps.ledger import STATES, Cost, Ledger, read_json
from sweeps.plan import Cell, unique
from sweeps.stages import StageStore

if TYPE_CHECKING:
    from sweeps.cli import Selection
    from sweeps.driver import Outcome
    from sweeps.run import Job

_ERR = Console(stderr=True, highlight=False)


def say(line: str) -> None:
    """One line for a person, on standard error: standard output is for results."""
    _ERR.print(line, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Seconds as people write them: 42 s, 3.5 min, 2.1 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def slots(cells: Sequence[Cell]) -> int:
    """How many cells the configured engine will run at once on this machine."""
    from sweeps import engines

    return engines.make(cells[0].config["engine"], int(cells[0].config["threads"])).slots


def base_costs(cells: Sequence[Cell], ledger: Ledger) -> dict[str, tuple[Cost, int]]:
    """Base models that have still to be trained: their cost and how many cells share them."""
    found: dict[str, tuple[Cost, int]] = {}
    for cell in cells:
        base = cell.config.get("base")
        if base is None or ledger.stages.has("training", cell.needs[0]):
            continue
        cost, sharing = found.get(cell.needs[0], (ledger.prior({**cell.config, **base}, trained=False), 0))
        found[cell.needs[0]] = (cost, sharing + 1)
    return found


def show_plan(selection: Selection, *, as_json: bool, every_cell: bool) -> None:
    """Every row (or cell) with its state and cost, shared base models, the total."""
    ledger, cells = selection.ledger, unique(selection.cells)
    states = {cell.signature: "done" if cell.signature in selection.drifted else ledger.state(cell) for cell in cells}
    costs = {cell.signature: ledger.cost(cell) for cell in cells}
    bases = base_costs([cell for cell in cells if states[cell.signature] != "done"], ledger)
    open_cells = [cell for cell in cells if states[cell.signature] != "done"]
    work = sum(costs[cell.signature].seconds for cell in open_cells) + sum(cost.seconds for cost, _ in bases.values())
    low = sum(costs[cell.signature].low for cell in open_cells) + sum(cost.low for cost, _ in bases.values())
    high = sum(costs[cell.signature].high for cell in open_cells) + sum(cost.high for cost, _ in bases.values())
    width = slots(cells)
    # Cells that wait for one base model cannot be spread over the workers before it is there.
    alone = sum(cost.seconds for cost, _ in bases.values())
    wall = max(alone + (work - alone) / width, max((costs[cell.signature].seconds for cell in open_cells), default=0.0))
    if as_json:
        print(
            json.dumps(
                {
                    "sweep": selection.definition.name,
                    "scale": selection.request.scale,
                    "workers": width,
                    "cells": [
                        {
                            "row": cell.row,
                            "seed": cell.seed,
                            "signature": cell.signature,
                            "training": cell.training,
                            "state": states[cell.signature],
                            "needs": list(cell.needs),
                            **asdict(costs[cell.signature]),
                        }
                        for cell in cells
                    ],
                    "base_models": [
                        {"training": key, "shared_by": sharing, **asdict(cost)}
                        for key, (cost, sharing) in bases.items()
                    ],
                    "cell_seconds": work,
                    "wall_seconds": wall,
                    "range": [low / width, high / width],
                },
                indent=1,
            )
        )
        return
    console = Console()
    table = Table(title=f"{selection.definition.name} at {selection.request.scale} scale", title_justify="left")
    for name in ("row", "seed" if every_cell else "cells", "signature" if every_cell else "", "state"):
        if name:
            table.add_column(name)
    for name in ("seconds a cell", "memory"):
        table.add_column(name, justify="right")
    if every_cell:
        for cell in selection.cells:
            cost = costs[cell.signature]
            table.add_row(
                cell.row,
                str(cell.seed),
                cell.signature,
                states[cell.signature],
                _range(cost),
                f"{cost.mebibytes / 1024:.1f} GiB",
            )
    else:
        for row in dict.fromkeys(cell.row for cell in selection.cells):
            own = [cell for cell in selection.cells if cell.row == row]
            count = Counter(states[cell.signature] for cell in own)
            middle = statistics.median(costs[cell.signature].seconds for cell in own)
            cost = min((costs[cell.signature] for cell in own), key=lambda cost: abs(cost.seconds - middle))
            state = ", ".join(f"{count[name]} {name}" for name in STATES if count[name])
            table.add_row(row, str(len(own)), state, _range(cost), f"{cost.mebibytes / 1024:.1f} GiB")
    console.print(table)
    for key, (cost, sharing) in bases.items():
        console.print(f"base model {key}: shared by {sharing} cells, built once, {_range(cost)} s", highlight=False)
    shared = len(selection.cells) - len(cells)
    console.print(
        f"{len(cells)} cells{f' ({shared} more are shared)' if shared else ''}, {len(open_cells)} to run: "
        f"{len(open_cells)} cells x {work / max(1, len(open_cells)):.0f} s = {duration(work)} of work, about "
        f"{duration(wall)} on {width} worker{'s' if width > 1 else ''} "
        f"(between {duration(low / width)} and {duration(high / width)})",
        highlight=False,
        soft_wrap=True,
    )
    note = selection.definition.scales.get(selection.request.scale)
    for line in (*selection.definition.notes, *([note.note] if note and note.note else [])):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _range(cost: Cost) -> str:
    return f"{cost.seconds:.0f} ({cost.low:.0f}-{cost.high:.0f}{', prior' if cost.basis == 'prior' else ''})"


class Live:
    """Live view of running cells: a table on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, cells: Sequence[Cell], ledger: Ledger) -> None:
        self._cells = {cell.signature: cell for cell in cells}
        self._ledger = ledger
        self._costs = {cell.signature: ledger.cost(cell).seconds for cell in cells}
        self._begun = time.monotonic()
        self._shown = self._begun
        self._live = RichLive(console=_ERR, refresh_per_second=4, transient=True) if _ERR.is_terminal else None

    def __enter__(self) -> Live:
        """Starts drawing."""
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops drawing."""
        if self._live:
            self._live.stop()
        done = sum(self._ledger.state(cell) == "done" for cell in self._cells.values())
        say(f"{done} of {len(self._cells)} cells done in {duration(time.monotonic() - self._begun)}")

    def update(self, outcome: Outcome, running: list[Job]) -> None:
        """Redraws; called by the driver."""
        now = time.monotonic()
        if now - self._shown < (0.5 if self._live else 10.0):
            return
        self._shown = now
        done, total = len(outcome.finished), len(self._cells)
        spent = now - self._begun
        known = sum(self._costs[signature] for signature in outcome.finished)
        left = sum(self._costs.values()) - known - sum(self._costs[signature] for signature in outcome.failed)
        # The prediction corrected by how long the finished cells really took.
        eta = left * (spent / known if known else 1.0 / max(1, len(running)))
        head = (
            f"{done} of {total} cells done, {len(outcome.failed)} failed, {len(running)} running, "
            f"{duration(spent)} so far, about {duration(eta)} left ({duration(eta * 0.7)}-{duration(eta * 1.5)})"
        )
        doing = [(self._cells[job.signature], self._progress(job.signature)) for job in running]
        if self._live is None:
            say(head + "".join(f"; {cell.row} seed {cell.seed}: {what}" for cell, what in doing))
            return
        table = Table(title=head, title_justify="left", show_header=False, box=None)
        for cell, what in doing:
            table.add_row(cell.row, f"seed {cell.seed}", what)
        for signature, reason in list(outcome.failed.items())[-5:]:
            table.add_row(self._cells[signature].row, "failed", reason, style="red")
        self._live.update(table)

    def _progress(self, signature: str) -> str:
        return progress_of(self._ledger, signature)


def progress_of(ledger: Ledger, signature: str) -> str:
    """What a running cell is doing, from the file that it keeps, with its newest metric."""
    phase = read_json(ledger.folder(signature) / "progress.json")
    text = f"{phase['phase']} {phase['done']}/{phase['total']}" if phase else "starting"
    newest = newest_metric(ledger.folder(signature) / "metrics.jsonl")
    return f"{text}, {newest}" if newest else text


def newest_metric(path: Path) -> str:
    """Last whole row of a metrics file: its step and loss, or whatever it holds first."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        names = [name for name in row if name not in ("step", "time")]
        names.sort(key=lambda name: "loss" not in name)
        if names:
            return f"step {row.get('step')}: {names[0]} {row[names[0]]:.4g}"
    return ""


def show_status(selection: Selection, *, as_json: bool, watch: bool) -> None:
    """States by row, running cells with their newest metric, failures with their reasons."""
    while True:
        ledger, cells = selection.ledger, unique(selection.cells)
        states = {
            cell.signature: "done" if cell.signature in selection.drifted else ledger.state(cell) for cell in cells
        }
        if as_json:
            print(
                json.dumps(
                    [
                        {
                            "row": cell.row,
                            "seed": cell.seed,
                            "signature": cell.signature,
                            "state": states[cell.signature],
                            "failure": ledger.failure(cell).get("reason"),
                        }
                        for cell in cells
                    ],
                    indent=1,
                )
            )
            return
        console = Console()
        if watch and console.is_terminal:
            console.clear()
        table = Table(title=f"{selection.definition.name} at {selection.request.scale} scale", title_justify="left")
        table.add_column("row")
        for state in STATES:
            table.add_column(state, justify="right")
        for row in dict.fromkeys(cell.row for cell in cells):
            count = Counter(states[cell.signature] for cell in cells if cell.row == row)
            table.add_row(row, *(str(count[state] or "") for state in STATES))
        console.print(table)
        for cell in cells:
            if states[cell.signature] == "running":
                console.print(
                    f"running  {cell.row} seed {cell.seed}: {progress_of(ledger, cell.signature)}", highlight=False
                )
            elif states[cell.signature] == "failed":
                failure = ledger.failure(cell)
                console.print(
                    f"failed   {cell.row} seed {cell.seed} ({failure.get('class')}): {failure.get('reason')}",
                    highlight=False,
                    markup=False,
                )
        count = Counter(states.values())
        left = sum(ledger.cost(cell).seconds for cell in cells if states[cell.signature] != "done")
        console.print(
            ", ".join(f"{count[state]} {state}" for state in STATES if count[state])
            + (f"; about {duration(left)} of work left" if left else ""),
            highlight=False,
        )
        if not watch or not any(state in ("running", "missing", "cached") for state in states.values()):
            return
        time.sleep(2.0)


def show_stages(outputs: Path, *, prune: bool) -> int:
    """Lists stages; with ``prune`` deletes those that are partial, corrupt, or named by no finished run."""
    store = StageStore(outputs / "stages")
    needed = {read_json(path).get("training") for path in outputs.glob("runs/*/done.json")}
    if prune:
        gone = store.prune(
            keep=lambda state: (
                state.state == "done"
                and (state.kind != "training" or state.key in needed or state.key in _bases(outputs))
            )
        )
        for state in gone:
            print(f"deleted {state.kind}/{state.key} ({state.state}, {state.bytes / 2**20:.1f} MiB)")
        print(f"{len(gone)} stages deleted, {sum(state.bytes for state in gone) / 2**20:.1f} MiB freed")
        return 0
    table = Table(title=f"stages below {outputs}", title_justify="left")
    for name in ("kind", "key", "state", "size", "built in"):
        table.add_column(name)
    for state in store.states():
        table.add_row(
            state.kind,
            state.key,
            state.state,
            f"{state.bytes / 2**20:.1f} MiB",
            duration(state.seconds) if state.seconds is not None else "",
        )
    Console().print(table)
    return 0


def _bases(outputs: Path) -> set[str]:
    """Training signatures of the base models that finished runs started from."""
    return {str(name) for path in outputs.glob("runs/*/receipt.json") for name in read_json(path).get("needs", [])}
