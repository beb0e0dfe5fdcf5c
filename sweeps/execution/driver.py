"""The driver: gives a sweep's unfinished cells to an engine until each is done or has failed for good.

Resume is the same command: what is done is skipped, what failed or is missing is run. Two drivers may work on one
sweep at once; a cell is run by whoever gets its lease.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sweeps.engines.protocol import Ended, Engine
from sweeps.execution import orders
from sweeps.execution.failures import NO_ROOM, TIME_LIMIT
from sweeps.execution.lease import alive
from sweeps.execution.ledger import read_json
from sweeps.execution.stages import StageStore
from sweeps.run import BUSY, Job, fail

GIVE_UP = frozenset({"nan", "bad-data", "bug", "disk", TIME_LIMIT})
"""Failure classes for which the same cell would fail again: run the command again after mending the cause."""

LONGER = "the same command goes on from its newest checkpoint; raise engine.timeout_minutes for it to get further"
"""What to do about a cell that ran into its time limit."""

FULL_DISK = "the disk is full: make room (papergrid stages --prune shows what no run needs) and give the same command"
"""Why a sweep stops at the first cell that met a full disk: every other would train, and then lose what it made."""

SAME_FAILURE = 3
"""A sweep stops early when its first so many ended cells all failed in the same way."""


@dataclass
class Outcome:
    """What a drive did: signatures of cells that it finished, cells that failed for good with their reasons."""

    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    retried: int = 0
    stopped_early: str = ""


def drive(
    jobs: Sequence[Job],
    engine: Engine,
    stages: StageStore,
    *,
    retries: int = 2,
    watch: Callable[[Outcome, list[Job]], None] = lambda outcome, running: None,
) -> Outcome:
    """Runs all jobs. An order to go ends the cells that run, with their checkpoints, and
    then this.

    Args:
        jobs: unfinished cells, in the order in which they should start.
        stages: asked which trained weights exist, so that two cells that need the same ones do not both wait for them.
        retries: how often a cell that was killed or preempted is started again; it goes on from its checkpoint.
        watch: called about ten times a second with the outcome so far and the running jobs.

    Raises:
        Preempted: of an order.
    """
    # A worker that was just started must not be lost by an order that comes before it is written down.
    with orders.listening(), orders.deferred():
        return _drive(jobs, engine, stages, retries, watch)


def _drive(
    jobs: Sequence[Job],
    engine: Engine,
    stages: StageStore,
    retries: int,
    watch: Callable[[Outcome, list[Job]], None],
) -> Outcome:
    outcome = Outcome()
    waiting, running = list(jobs), dict[str, Job]()
    attempts: Counter[str] = Counter()
    alone: set[str] = set()
    elsewhere: set[str] = set()
    try:
        while waiting or running:
            orders.obey()
            if not outcome.stopped_early:
                for job in list(waiting):
                    if job.signature in elsewhere and (job.folder / "done.json").is_file():
                        waiting.remove(job)
                        outcome.finished.append(job.signature)
                for job in _startable(waiting, running, engine.slots, stages, alone, elsewhere):
                    waiting.remove(job)
                    running[job.signature] = job
                    engine.submit(job)
            elif not running:
                break
            for ended in engine.poll() if running else [_pause()]:
                if ended is None:
                    continue
                job = running.pop(ended.job.signature)
                kind, reason = _judge(job, ended)
                # Only real endings count as attempts: to find a cell busy says nothing against it.
                if kind == "done":
                    outcome.finished.append(job.signature)
                    continue
                if kind == "busy":
                    elsewhere.add(job.signature)
                    waiting.append(job)
                    continue
                attempts[job.signature] += 1
                if kind in GIVE_UP or attempts[job.signature] > (1 if kind == "oom" else retries):
                    outcome.failed[job.signature] = f"{kind}: {reason}"
                    outcome.stopped_early = FULL_DISK if kind == "disk" else _systematic(outcome)
                else:
                    if kind == "oom":
                        alone.add(job.signature)
                    outcome.retried += 1
                    waiting.insert(0, job)
            watch(outcome, list(running.values()))
        orders.obey()
    except BaseException:
        engine.cancel()
        orders.obey()  # a terminal sends Ctrl-C to what an engine calls as well, and the engine says that it failed
        raise
    return outcome


def _pause() -> Ended | None:
    time.sleep(0.2)
    return None


def _startable(
    waiting: Sequence[Job],
    running: dict[str, Job],
    slots: int,
    stages: StageStore,
    alone: set[str],
    elsewhere: set[str],
) -> list[Job]:
    """Jobs to start now: as many as there are free slots, none that would only wait for a stage a running one builds,
    none that somebody else was found to be running and still is (``elsewhere``).
    """
    if any(signature in alone for signature in running):
        return []
    chosen: list[Job] = []
    building = {need for job in running.values() for need in job.needs if not stages.has("training", need)}
    for job in waiting:
        if len(running) + len(chosen) >= slots:
            break
        if job.signature in elsewhere and alive(job.folder / "lease"):
            continue
        if job.signature in alone and (running or chosen):
            continue
        missing = {need for need in job.needs if not stages.has("training", need)}
        if missing & building:
            continue
        building |= missing
        chosen.append(job)
        if job.signature in alone:
            break
    return chosen


def _judge(job: Job, ended: Ended) -> tuple[str, str]:
    """What became of a job, from its run folder; writes the record that a killed process could not write."""
    if (job.folder / "done.json").is_file():
        return "done", ""
    if ended.status == BUSY or alive(job.folder / "lease"):
        return "busy", ""
    record = read_json(job.folder / "failed.json")
    # Statuses above 128 are of cells that a second order ended at once, with a record as well.
    recorded = bool(record) and (ended.status == 1 or ended.status > 128)
    if recorded and not ended.limit:
        return record["class"], record["reason"]
    how = f"killed by signal {-ended.status}" if ended.status < 0 else f"ended with status {ended.status}"
    reason = ended.reason or how
    kind = "oom" if "out of memory" in reason else "killed" if ended.status < 0 else "bug"
    if ended.limit:
        kind, reason = TIME_LIMIT, f"{reason}{': ' + record['reason'] if recorded else ''}; {LONGER}"
    try:
        fail(job.folder, kind, reason)
    except OSError as error:  # no record then: the driver's own report names the cell
        if error.errno in NO_ROOM:
            return "disk", f"{reason}; the disk is full"
    return kind, reason


def _systematic(outcome: Outcome) -> str:
    """The reason that the first ended cells share, when all of them failed with it; else "". Figures may differ."""
    reasons = list(outcome.failed.values())
    alike = {re.sub(r"\d+(\.\d+)?", "#", reason) for reason in reasons}
    if outcome.finished or len(reasons) < SAME_FAILURE or len(alike) > 1:
        return ""
    return reasons[0]
