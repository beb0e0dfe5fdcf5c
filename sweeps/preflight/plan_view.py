"""What the terminal shows of plans. Reads what ``forecast`` worked out; decides nothing."""

from __future__ import annotations

import json
import os
import select
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweeps.execution.ledger import STATES, Cost

if TYPE_CHECKING:
    from sweeps.cli import Selection
    from sweeps.preflight.forecast import CellForecast, Forecast, SharedStage

_ERR = Console(stderr=True, highlight=False)


def say(line: str) -> None:
    """One line for a person, on standard error: standard output is for results."""
    _ERR.print(line, markup=False, soft_wrap=True)


def reader_gone() -> bool:
    """Whether nobody reads our output any more, as behind ``| head``; what is still to be written is then dropped."""
    gone = False
    for stream in (sys.stdout, sys.stderr):
        try:
            place = stream.fileno()
        except (OSError, ValueError):  # no file behind it
            continue
        poll = select.poll()
        poll.register(place, 0)
        if any(event & select.POLLERR for _, event in poll.poll(0)):
            os.dup2(os.open(os.devnull, os.O_WRONLY), place)
            gone = True
    return gone


def duration(seconds: float) -> str:
    """Seconds as people write them: 42 s, 3.5 min, 2.1 h, 3.0 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"


def show_plan(selection: Selection, *, as_json: bool, every_cell: bool) -> None:
    """Every row (or cell) with its state and cost, the trainings that cells share, the total."""
    from sweeps.preflight import forecast

    plan = forecast.forecast(selection.cells, selection.ledger, selection.drifted, forecast.this_machine())
    if as_json:
        value = forecast.as_json(plan, selection.definition.name, selection.request.scale)
        print(json.dumps({**value, "changed": list(selection.changed), "table": selection.name}, indent=1))
        return
    console = Console()
    console.print(_cells(selection.title, plan) if every_cell else _rows(selection.title, selection, plan))
    for line in lines(plan, shared=len(selection.cells) - len(plan.cells)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    note = selection.definition.change(selection.request.scale).note
    for line in (*selection.definition.notes, *filter(None, [note])):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _cells(title: str, plan: Forecast) -> Table:
    table = _table(title, "row", "seed", "signature", "state")
    for one in plan.cells:
        name = "-" if one.cell.absent else one.cell.signature
        table.add_row(
            Text(", ".join(one.rows)),
            str(one.cell.seed),
            name,
            one.state + _mark([one]),
            _range(one.cost),
            _memory(one.cost),
        )
    return table


def _rows(title: str, selection: Selection, plan: Forecast) -> Table:
    table = _table(title, "row", "cells", "state")
    known = {one.cell.signature: one for one in plan.cells}
    by_row: dict[str, list[CellForecast]] = {}
    for cell in selection.cells:
        by_row.setdefault(cell.row, []).append(known[cell.signature])
    for row, own in by_row.items():
        count = Counter(one.state for one in own)
        middle = statistics.median(one.cost.seconds for one in own)
        cost = min((one.cost for one in own), key=lambda cost: abs(cost.seconds - middle))
        state = ", ".join(f"{count[name]} {name}" for name in STATES if count[name])
        table.add_row(Text(row), str(len(own)), state + _mark(own), _range(cost), _memory(cost))
    return table


def _table(title: str, *names: str) -> Table:
    # Text, since a row's name or an override in square brackets is no markup.
    table = Table(title=Text(title), title_justify="left")
    for name in names:
        table.add_column(name, no_wrap=name in ("signature", "seed", "cells"))
    for name in ("seconds a cell", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def lines(plan: Forecast, shared: int = 0) -> list[str]:
    """What stands below the table of a plan: what cells share, remarks, the total."""
    alike: dict[tuple[str, ...], list[SharedStage]] = {}
    for stage in plan.stages:
        # Most come once for each seed, and are said in one line.
        alike.setdefault((stage.what, stage.of, str(stage.shared_by), stage.state), []).append(stage)
    found = [_stages(group) for group in alike.values()]
    remarks: dict[str, list[CellForecast]] = {}
    for one in plan.cells:
        for remark in one.remarks:
            remarks.setdefault(remark, []).append(one)
    found += [f"! {_whose(cells, plan)}: {remark}" for remark, cells in remarks.items()]
    found += [f"! {remark}" for remark in plan.remarks]
    workers = plan.workers or 1
    many = f"{workers} worker{'s' if workers > 1 else ''}" if plan.workers else "one worker at a time"
    total = f"{len(plan.cells)} cells{f' ({shared} more are shared)' if shared else ''}, {plan.open_cells} to run"
    if plan.open_cells:
        total += (
            f": {duration(plan.work)} of work, about {duration(plan.wall)} on {many} "
            f"(between {duration(plan.wall_low)} and {duration(plan.wall_high)})"
        )
    return [*found, total]


def _stages(alike: Sequence[SharedStage]) -> str:
    """One line on shared stages that differ in their keys, and perhaps a little in their costs."""
    stage = sorted(alike, key=lambda one: one.cost.seconds if one.cost else 0.0)[len(alike) // 2]
    cost = f"built once, {_range(stage.cost)} s" if stage.cost else stage.state
    users = f"shared by {stage.shared_by} cell{'s' if stage.shared_by > 1 else ''}, {cost}"
    if stage.kind != "training":
        return f"{stage.what}: {users}" if len(alike) == 1 else f"{stage.what}, {len(alike)} of them: each {users}"
    if len(alike) > 1:
        return f"{len(alike)} {stage.what.removesuffix('s')}s ({stage.of}): each {users}{' each' if stage.cost else ''}"
    return f"{stage.what} {stage.key if stage.known else '-'} ({stage.of}): {users}"


def _whose(cells: Sequence[CellForecast], plan: Forecast) -> str:
    """The cells that a remark is about, by their rows."""
    from sweeps.preflight.forecast import named

    rows = list(dict.fromkeys(row for one in cells for row in one.rows))
    count = f"{len(cells)} cell{'s' if len(cells) > 1 else ''}"
    if len(cells) == len(plan.cells):
        return f"all {count}"
    return f"{count} ({named(rows, most=4)})"


def _mark(cells: Sequence[CellForecast]) -> str:
    return " !" if any(one.remarks for one in cells) else ""


def _range(cost: Cost) -> str:
    basis = "" if cost.basis == "measured" else f" {cost.basis}"
    return f"{cost.seconds:.0f} ({cost.low:.0f}-{cost.high:.0f}){basis}"


def _memory(cost: Cost) -> str:
    return f"{cost.mebibytes / 1024:.1f} GiB"
