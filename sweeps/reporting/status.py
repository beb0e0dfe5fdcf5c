"""What a sweep is doing, from its folders alone: right for whoever looks, whenever they begin to look.

Nothing is remembered between two looks but what files said, so that a second terminal, or a driver that was started
again, shows the same: states, cells an hour, time left, the newest metric of every running cell, failures, lost cells.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.table import Table
from rich.text import Text

from sweeps.execution.failures import STOPPED, Preempted
from sweeps.execution.lease import owner
from sweeps.execution.ledger import STATES, Cost, Ledger, read_json
from sweeps.execution.progress import is_stale
from sweeps.planning.plan import Cell, unique
from sweeps.preflight.plan_view import duration, say

if TYPE_CHECKING:
    from sweeps.cli import Selection
    from sweeps.execution.driver import Outcome
    from sweeps.run import Job

RECENT = 20
"""Cells an hour are those of the newest so many finished cells."""

HEARTBEAT_LOST = 30.0
"""Seconds without a heartbeat after which a running cell is pointed out; it beats every three."""

_STYLES = {"done": "green", "running": "cyan", "cached": "blue", "failed": "red", "missing": "dim"}


@dataclass(frozen=True)
class Running:
    """A running cell: seconds since it began, what it does, its newest metric, what is suspicious about it.

    ``training_left`` is how many seconds its training will go on at its pace, None where that cannot be told.
    """

    row: str
    seed: int
    seconds: float
    phase: str
    metric: str
    warning: str
    training_left: float | None = None


@dataclass(frozen=True)
class Trouble:
    """A cell that failed, was stopped, or whose process has gone: which of them, and one line of reason.

    ``resumes`` tells whether the same command goes on with it by itself.
    """

    row: str
    seed: int
    kind: str
    reason: str
    resumes: bool = False


@dataclass(frozen=True)
class Snapshot:
    """One look at a sweep.

    Attributes:
        states: state of every cell by its signature.
        per_hour: cells an hour while there was work; None before the first is finished.
        left: seconds until everything is done (low, middle, high); None where nobody works on it.
        work: seconds of work that are left, for one worker.
    """

    states: Mapping[str, str]
    running: tuple[Running, ...]
    troubles: tuple[Trouble, ...]
    per_hour: float | None
    left: tuple[float, float, float] | None
    work: float

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to wait for: all cells are done or failed."""
        return all(state in ("done", "failed") for state in self.states.values())


def look(cells: Sequence[Cell], ledger: Ledger, drifted: Mapping[str, Any], now: float | None = None) -> Snapshot:
    """Looks at a sweep's cells.

    Args:
        drifted: signatures that older runs stand for, which count as done.
        now: seconds since the epoch.
    """
    now = time.time() if now is None else now
    cells = unique(cells)
    states = {cell.signature: "done" if cell.signature in drifted else ledger.state(cell) for cell in cells}
    running: list[Running] = []
    troubles: list[Trouble] = []
    spans = []
    left: list[tuple[float, float, float]] = []
    trained: set[str] = set()
    for cell in cells:
        state = states[cell.signature]
        if state == "done":
            done = ledger.done(cell)
            if "finished" in done:
                spans.append((done["finished"] - done.get("seconds", 0.0), done["finished"]))
            continue
        one = None
        if state == "failed":
            failure = ledger.failure(cell)
            kind, reason = str(failure.get("class")), str(failure.get("reason"))
            stopped = kind in STOPPED
            reason += "; the sweep command goes on from its checkpoint" if stopped else ""
            troubles.append(
                Trouble(cell.row, cell.seed, f"{'stopped' if stopped else 'failed'} ({kind})", reason, stopped)
            )
            if not stopped:
                continue
        elif state == "running":
            one = _running(cell, ledger, now)
            running.append(one)
        elif lost := ledger.lost(cell):
            where = f"process {lost.get('pid')} on {lost.get('host')}"
            reason = f"{where} is gone; the sweep command goes on from its checkpoint"
            troubles.append(Trouble(cell.row, cell.seed, "lost", reason, True))
        # A training that several cells share is reckoned for the first of them.
        cost = ledger.rest_cost(cell) if cell.training in trained else ledger.cost(cell)
        trained.add(cell.training)
        left.append(_left(cost, one))
    sums = tuple(sum(part[i] for part in left) for i in range(3))
    # What is running will go on beside each other; the longest of it is the least that it can take.
    width = max(1, len(running))
    until = tuple(max(sums[i] / width, max((part[i] for part in left), default=0.0)) for i in range(3))
    begun = [now - one.seconds for one in running]
    return Snapshot(
        states,
        tuple(running),
        tuple(troubles),
        per_hour(spans, begun, now),
        (until[0], until[1], until[2]) if running else None,
        sums[1],
    )


def _left(cost: Cost, running: Running | None) -> tuple[float, float, float]:
    """Seconds (low, middle, high) that are left of a cell.

    A cell in training is judged by its own pace; any other by its prediction, and when it takes longer than predicted
    it is taken to be nearly there.
    """
    spent = running.seconds if running else 0.0
    if running and running.training_left is not None:
        rest = running.training_left
        return 0.8 * rest, rest, 1.3 * rest
    low, middle, high = (max(seconds - spent, 0.1 * seconds) for seconds in (cost.low, cost.seconds, cost.high))
    return low, middle, high


def per_hour(spans: Sequence[tuple[float, float]], begun: Sequence[float], now: float) -> float | None:
    """Finished cells per hour of work: hours in which no cell ran, such as a night between two commands, do not count.

    Args:
        spans: begin and end of every finished cell, seconds since the epoch; the newest ``RECENT`` are looked at.
        begun: when the running cells began.
    """
    newest = sorted(spans, key=lambda span: span[1])[-RECENT:]
    if not newest:
        return None
    since = min(begin for begin, _ in newest)
    at_work, reached = 0.0, since
    for begin, end in sorted([*newest, *((max(since, begin), now) for begin in begun)]):
        at_work += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return 3600.0 * len(newest) / at_work if at_work > 0 else None


def _running(cell: Cell, ledger: Ledger, now: float) -> Running:
    folder = ledger.folder(cell)
    lease, phase = owner(folder / "lease"), read_json(folder / "progress.json")
    seconds = max(0.0, now - float(lease.get("since", now)))
    warning = ""
    if seconds > HEARTBEAT_LOST and is_stale(folder / "heartbeat", now, HEARTBEAT_LOST):
        beat = read_json(folder / "heartbeat").get("time")
        silent = f"for {duration(now - beat)}" if isinstance(beat, (int, float)) and beat > now - seconds else "yet"
        warning = f"no heartbeat {silent} (process {lease.get('pid')} on {lease.get('host')})"
    doing = f"{phase['phase']} {phase['done']}/{phase['total']}" if "phase" in phase else "starting"
    left = None
    if phase.get("phase") == "train":
        stage = ledger.stages.path("training", cell.training)
        pace = seconds_per_step(stage.with_name(f"{stage.name}.partial") / "metrics.jsonl", now - seconds)
        left = None if pace is None else pace * (phase["total"] - phase["done"])
    return Running(cell.row, cell.seed, seconds, doing, newest_metric(folder / "metrics.jsonl"), warning, left)


def seconds_per_step(metrics: Path, since: float) -> float | None:
    """Pace of a training from its own log, from what was logged after ``since``: an earlier attempt does not count."""
    rows = [row for row in _newest_rows(metrics, 16384) if row.get("time", 0) >= since and "step" in row]
    if len(rows) < 2 or rows[-1]["step"] <= rows[0]["step"]:
        return None
    return float((rows[-1]["time"] - rows[0]["time"]) / (rows[-1]["step"] - rows[0]["step"]))


def newest_metric(path: Path) -> str:
    """Last whole row of a metrics file: its step and loss, or whatever it holds first."""
    for row in reversed(_newest_rows(path, 4096)):
        names = [name for name in row if name not in ("step", "time") and isinstance(row[name], (int, float))]
        names.sort(key=lambda name: "loss" not in name)
        if names:
            return f"step {row.get('step')}: {names[0]} {row[names[0]]:.4g}"
    return ""


def _newest_rows(path: Path, size: int) -> list[dict[str, Any]]:
    """Whole rows in the last ``size`` bytes of a file of JSON lines."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict):
                rows.append(row)
    return rows


def headline(snapshot: Snapshot) -> str:
    """The look in one line: states, cells an hour, time left with its range."""
    count = Counter(snapshot.states.values())
    parts = [", ".join(f"{count[state]} {state}" for state in STATES if count[state]) or "no cells"]
    if snapshot.per_hour is not None and not snapshot.ended:
        parts.append(f"{snapshot.per_hour:.3g} cells/h")
    if snapshot.left is not None:
        low, middle, high = map(duration, snapshot.left)
        parts.append(f"about {middle} left ({low} to {high})")
    elif not snapshot.ended:
        parts.append(f"about {duration(snapshot.work)} of work left, nobody works on it")
    return "; ".join(parts)


def picture(title: str, cells: Sequence[Cell], snapshot: Snapshot, *, most: int = 12) -> Group:
    """The look as something that rich draws, for any width.

    Args:
        most: how many running cells, and how many troubles, are shown at most; the rest is counted.
    """
    table = Table(title=Text(title), title_justify="left", expand=False)
    table.add_column("row", overflow="fold")
    for state in STATES:
        table.add_column(state, justify="right", style=_STYLES[state], no_wrap=True)
    for row in dict.fromkeys(cell.row for cell in cells):
        signatures = {cell.signature for cell in cells if cell.row == row}
        count = Counter(snapshot.states[signature] for signature in signatures)
        table.add_row(Text(row), *(str(count[state] or "") for state in STATES))
    below: list[Table | Text] = [Text(headline(snapshot), style="bold")]
    if snapshot.running:
        doing = Table(box=None, show_header=False, padding=(0, 1))
        for one in snapshot.running[:most]:
            words = ", ".join(filter(None, (one.phase, one.metric)))
            what = Text(words).append(f"  {one.warning}" if one.warning else "", style="yellow")
            name = Text(f"{one.row} seed {one.seed}")
            doing.add_row(Text("running", style="cyan"), name, duration(one.seconds), what)
        below.append(doing)
    if snapshot.troubles:
        trouble = Table(box=None, show_header=False, padding=(0, 1))
        for it in snapshot.troubles[-most:]:
            kind = Text(it.kind, style="yellow" if it.resumes else "red")
            trouble.add_row(kind, Text(f"{it.row} seed {it.seed}"), Text(it.reason))
        below.append(trouble)
    hidden = [
        f"{len(found) - most} more {what}"
        for found, what in ((snapshot.running, "running"), (snapshot.troubles, "failed or lost"))
        if len(found) > most
    ]
    return Group(table, *below, *([Text(", ".join(hidden), style="dim")] if hidden else []))


def show_status(selection: Selection, *, as_json: bool, watch: bool) -> None:
    """Shows one look, or with ``watch`` a new one every two seconds until all cells are done or failed."""
    ledger, cells = selection.ledger, selection.cells
    title = selection.title
    snapshot = look(cells, ledger, selection.drifted)
    if as_json:
        print(json.dumps(_as_json(cells, ledger, snapshot), indent=1))
        return
    console = Console()
    if not watch:
        console.print(picture(title, cells, snapshot))
        return
    if not console.is_terminal:
        while True:
            console.print(headline(snapshot), highlight=False, soft_wrap=True)
            if snapshot.ended:
                return
            time.sleep(10.0)
            snapshot = look(cells, ledger, selection.drifted)
    with RichLive(picture(title, cells, snapshot), console=console, auto_refresh=False) as live:
        while not snapshot.ended:
            time.sleep(2.0)
            snapshot = look(cells, ledger, selection.drifted)
            live.update(picture(title, cells, snapshot), refresh=True)


def _as_json(cells: Sequence[Cell], ledger: Ledger, snapshot: Snapshot) -> list[dict[str, Any]]:
    return [
        {
            "row": cell.row,
            "seed": cell.seed,
            "signature": None if cell.absent else cell.signature,
            "state": snapshot.states[cell.signature],
            "failure": ledger.failure(cell).get("reason"),
            "remarks": list(cell.absent),
        }
        for cell in unique(cells)
    ]


class Live:
    """The driver's view of the cells that it was given: a picture on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, cells: Sequence[Cell], ledger: Ledger) -> None:
        self._cells, self._ledger = list(cells), ledger
        self._begun = time.monotonic()
        self._shown = self._begun
        console = Console(stderr=True, highlight=False)
        self._live = RichLive(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

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
        snapshot = look(self._cells, self._ledger, {})
        done = list(snapshot.states.values()).count("done")
        say(f"{done} of {len(self._cells)} cells done in {duration(time.monotonic() - self._begun)}")
        if kind is not None and issubclass(kind, (KeyboardInterrupt, Preempted)):
            say(interrupted(snapshot))

    def update(self, outcome: Outcome, running: list[Job]) -> None:
        """Redraws; called by the driver."""
        now = time.monotonic()
        if now - self._shown < (1.0 if self._live else 10.0):
            return
        self._shown = now
        snapshot = look(self._cells, self._ledger, {})
        if self._live:
            self._live.update(picture("this sweep's unfinished cells", self._cells, snapshot), refresh=True)
            return
        doing = [f"; {one.row} seed {one.seed}: {one.phase} {one.metric}".rstrip() for one in snapshot.running]
        say(headline(snapshot) + "".join(doing))


def interrupted(snapshot: Snapshot) -> str:
    """What Ctrl-C, or another order to go, left behind, in one line."""
    count = Counter(snapshot.states.values())
    stopped = sum(trouble.resumes for trouble in snapshot.troubles)
    waiting = len(snapshot.states) - count["done"] - count["running"] - len(snapshot.troubles)
    failed = len(snapshot.troubles) - stopped
    parts = [
        f"{number} {what}"
        for number, what in (
            (stopped, "stopped with their checkpoints kept"),
            (count["running"], "still running, which the next command finds"),
            (failed, "failed"),
            (waiting, "not begun"),
        )
        if number
    ]
    return f"interrupted: {', '.join(parts) or 'nothing was left to do'}"
