"""Slurm job arrays, through submitit.

What became of a cell is read from its run folder. Slurm is asked one thing only, with one ``squeue`` every few seconds
however many cells there are: which of our array elements it still holds. A cell whose element has gone without leaving
a record was killed.

The driver may leave and come back. Before an array is submitted, the list of its cells is written to
``outputs/sweeps/slurm/<token>/cells.json`` and the token becomes part of the job name, so that the queue itself tells
which cells are in it, even when the driver died between ``sbatch`` and its answer. A new driver adopts those. Elements
that Slurm preempts and requeues, or that requeue themselves just before their time limit, go on from their newest
checkpoint, with or without a driver.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.engines.cell_process import Work, run_logged
from sweeps.engines.protocol import Ended
from sweeps.errors import UserError
from sweeps.execution import orders
from sweeps.execution.failures import TIME_LIMIT
from sweeps.execution.lease import alive
from sweeps.execution.ledger import read_json
from sweeps.execution.stages import write_atomically
from sweeps.run import BUSY, Job, execute, fail
from sweeps.signatures.signature import ROOT

_TICK = 0.5
_GATHER = 2.0
_PREFIX = "papergrid-"
_LARGEST_ARRAY = 1000
_GONE = frozenset(
    {
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "DEADLINE",
        "FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
        "TIMEOUT",
    }
)
_REASONS = {
    "OUT_OF_MEMORY": "out of memory: over the job's limit (engine.memory_gib)",
    "TIMEOUT": "reached the job's time limit (engine.timeout_minutes)",
    "CANCELLED": "the job was cancelled",
    "NODE_FAIL": "the node failed",
    "PREEMPTED": "preempted and not requeued",
}

Element = tuple[str, int]
"""Token of an array and index in it."""


def run_cell(job: Job, work: Work, requeues: int) -> int:
    """Body of an array element, run by submitit on the node.

    Args:
        requeues: how often the element may put itself back into the queue when its time limit is near.
    """
    near_limit = []

    def warned(*_: object) -> None:
        near_limit.append(True)
        orders.give("the job's time limit is near (SIGUSR2)", signal.SIGUSR2)

    signal.signal(signal.SIGUSR2, warned)
    status = run_logged(job, work)
    element = os.environ.get("SLURM_JOB_ID")
    # The requeue sends SIGTERM to whoever asks for it, and all that is to be recorded is.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if near_limit and status and status != BUSY and element:
        if int(os.environ.get("SLURM_RESTART_COUNT") or 0) < requeues:
            subprocess.run(["scontrol", "requeue", element], check=False, timeout=60)
        else:
            why = read_json(job.folder / "failed.json").get("reason", "the job's time limit is near")
            again = "the same command goes on from its newest checkpoint"
            fail(job.folder, TIME_LIMIT, f"{why}; it has requeued itself {requeues} times (engine.requeues): {again}")
    return status


@dataclass
class _Queued:
    """A cell in the queue; ``before``: the failure record that was there already and says nothing of this attempt."""

    job: Job
    element: Element
    before: Mapping[str, Any]
    absent: int = 0
    state: str = ""


class SlurmEngine:
    """Submits cells as array elements.

    Args:
        threads: threads of one cell, which are its ``cpus_per_task``.
        parallel: how many cells are in the queue at once.
        partition, qos, account, gres, constraint: as in ``sbatch``; None leaves the site's default.
        timeout_minutes: time limit of one element; it requeues itself ``warning_seconds`` before.
        memory_gib: memory of one element; None leaves the site's default.
        more: further ``sbatch`` options, ``{name: value}``.
        poll_seconds: least time between two calls of ``squeue``.
        requeues: how often an element may requeue itself at its time limit.
        leave: what an interrupted driver does with its elements: True leaves them in the queue, where the same command
            finds them again; False cancels them.
        retries: read by the driver.
        work: what runs a cell.
    """

    def __init__(
        self,
        *,
        threads: int,
        parallel: int = 64,
        partition: str | None = None,
        qos: str | None = None,
        account: str | None = None,
        gres: str | None = None,
        constraint: str | None = None,
        timeout_minutes: int = 720,
        memory_gib: float | None = None,
        more: Mapping[str, Any] | None = None,
        warning_seconds: int = 90,
        poll_seconds: float = 5.0,
        requeues: int = 10,
        leave: bool = True,
        retries: int = 2,
        work: Work = execute,
    ) -> None:
        try:
            import submitit  # noqa: F401
        except ImportError as error:
            raise UserError(
                "engine=slurm needs the package submitit, which is not installed: pip install "
                "'submitit>=1.5,<2', or use engine=local"
            ) from error
        missing = [name for name in ("sbatch", "srun", "squeue", "scancel") if shutil.which(name) is None]
        if missing:
            raise UserError(
                f"engine=slurm needs Slurm's commands, but {', '.join(missing)} cannot be found here: "
                "start the sweep on a machine of the cluster, or use engine=local"
            )
        for name, value, least in (
            ("parallel", parallel, 1),
            ("timeout_minutes", timeout_minutes, 1),
            ("warning_seconds", warning_seconds, 0),
            ("requeues", requeues, 0),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UserError(f"engine.{name} is {value!r}: give a whole number from {least} up")
        if poll_seconds <= 0 or (memory_gib is not None and memory_gib <= 0):
            raise UserError(
                f"engine.poll_seconds={poll_seconds} and engine.memory_gib={memory_gib} must be above 0 "
                "(memory_gib=null: the site's default)"
            )
        self.slots, self.retries = parallel, retries
        self._leave, self._requeues, self._poll_seconds, self._work = leave, requeues, poll_seconds, work
        self._options = {
            "time": timeout_minutes,
            "cpus_per_task": threads,
            "partition": partition,
            "qos": qos,
            "account": account,
            "gres": gres,
            "constraint": constraint,
            "mem": None if memory_gib is None else f"{int(memory_gib * 1024)}M",
            "signal_delay_s": warning_seconds,
            "array_parallelism": parallel,
            # The job must not depend on where the driver was started from.
            "additional_parameters": {"requeue": True, "chdir": str(ROOT), **(more or {})},
        }
        self._pending: list[Job] = []
        self._queued: dict[str, _Queued] = {}
        self._over: set[Element] = set()
        self._states: dict[Element, str] | None = None
        self._asked = self._flushed = float("-inf")

    def submit(self, job: Job) -> None:
        """Keeps the job for the next array."""
        self._pending.append(job)

    def poll(self) -> list[Ended]:
        """Submits what is kept, as one array; collects cells that have a record or have left the queue."""
        time.sleep(_TICK)
        self._ask()
        ended = []
        if self._pending and self._states is not None and time.monotonic() - self._flushed >= _GATHER:
            ended = self._flush(self._states)
        for entry in list(self._queued.values()):
            one = self._outcome(entry)
            if one is not None:
                del self._queued[entry.job.signature]
                self._over.add(entry.element)
                ended.append(one)
        return ended

    def cancel(self) -> None:
        """Leaves the elements in the queue, or cancels them."""
        names = sorted({_PREFIX + entry.element[0] for entry in self._queued.values()})
        self._pending.clear()
        self._queued.clear()
        if not names:
            return
        command = ["scancel", f"--user={os.getuid()}", f"--jobname={','.join(names)}"]
        if self._leave:
            print(
                "papergrid: the jobs stay in Slurm's queue, and the same command comes back to them; to end them: "
                f"{shlex.join(command)}",
                file=sys.stderr,
            )
        else:
            subprocess.run(command, check=False, timeout=60)
            print(
                "papergrid: the jobs are cancelled; cells that run get Slurm's KillWait to write a checkpoint",
                file=sys.stderr,
            )

    def _flush(self, states: Mapping[Element, str]) -> list[Ended]:
        """Adopts pending jobs that are in the queue already, reports those that are done or busy, submits the rest."""
        jobs, self._pending = self._pending, []
        root = Path(jobs[0].outputs) / "sweeps" / "slurm"
        if self._flushed < 0:
            _tidy(root, {token for token, _ in states})
        self._flushed = time.monotonic()
        arrays = {token: _cells(root, token) for token, _ in states}
        queued = {
            arrays[element[0]][element[1]]: element
            for element, state in states.items()
            if state not in _GONE and element not in self._over and element[1] < len(arrays[element[0]])
        }
        ended, new = [], []
        for job in jobs:
            if (job.folder / "done.json").is_file():
                ended.append(Ended(job, 0))
            elif job.signature in queued:
                self._queued[job.signature] = _Queued(job, queued[job.signature], read_json(job.folder / "failed.json"))
            elif alive(job.folder / "lease"):
                ended.append(Ended(job, BUSY))
            else:
                new.append(job)
        for start in range(0, len(new), _LARGEST_ARRAY):
            self._submit_array(root, new[start : start + _LARGEST_ARRAY])
        return ended

    def _submit_array(self, root: Path, jobs: list[Job]) -> None:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        token = uuid.uuid4().hex[:12]
        folder = root / token
        write_atomically(folder / "cells.json", json.dumps([job.signature for job in jobs], indent=1))
        for index, job in enumerate(jobs):
            self._queued[job.signature] = _Queued(job, (token, index), read_json(job.folder / "failed.json"))
        executor = submitit.SlurmExecutor(folder=folder, python=shlex.quote(sys.executable))
        options = {key: value for key, value in self._options.items() if value is not None}
        executor.update_parameters(job_name=_PREFIX + token, **options)
        count = len(jobs)
        try:
            executor.map_array(run_cell, jobs, [self._work] * count, [self._requeues] * count)
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            lines = [line.strip() for line in str(error).splitlines() if "sbatch" in line] or [str(error)]
            raise UserError(
                f"Slurm did not take the jobs ({lines[-1]}): check partition, qos, gres, account and "
                "constraint in conf/engine/slurm.yaml"
            ) from error

    def _outcome(self, entry: _Queued) -> Ended | None:
        """How a cell ended; None while that is still to come."""
        job, folder = entry.job, entry.job.folder
        if (folder / "done.json").is_file():
            return Ended(job, 0)
        record = read_json(folder / "failed.json")
        fresh = bool(record) and record != entry.before
        if fresh and record.get("class") not in ("preempted", "killed") and not alive(folder / "lease"):
            return Ended(job, 1)
        # A requeue shows as an end for a moment: only the second look that finds the element gone counts.
        if entry.absent < 2:
            return None
        if alive(folder / "lease"):
            return Ended(job, BUSY)
        reason = _REASONS.get(entry.state, "the job left Slurm's queue without a record")
        if entry.state == "TIMEOUT":
            return Ended(job, 1 if fresh else -signal.SIGKILL, reason, limit=True)
        return Ended(job, 1) if fresh else Ended(job, -signal.SIGKILL, reason)

    def _ask(self) -> None:
        """Looks at the queue, unless that was done a moment ago."""
        if time.monotonic() - self._asked < self._poll_seconds:
            return
        command = ["squeue", f"--user={os.getuid()}", "--noheader", "--array", "--states=all", "--format=%j|%K|%T"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        except (OSError, subprocess.SubprocessError):
            # A controller that restarts. Nothing is concluded from its silence.
            return
        finally:
            self._asked = time.monotonic()
        self._states = {}
        for line in answer.splitlines():
            name, index, state = line.strip().rsplit("|", 2)
            if name.startswith(_PREFIX):
                self._states[name.removeprefix(_PREFIX), int(index) if index.isdigit() else 0] = state
        for entry in self._queued.values():
            state = self._states.get(entry.element, "")
            entry.absent = entry.absent + 1 if not state or state in _GONE else 0
            entry.state = state or entry.state


def _cells(root: Path, token: str) -> list[str]:
    """Signatures of an array's cells; empty for an array of another outputs folder."""
    try:
        return list(json.loads((root / token / "cells.json").read_text()))
    except (OSError, ValueError):
        return []


def _tidy(root: Path, in_queue: set[str]) -> None:
    """Deletes submitit's files of arrays that have left the queue and whose cells are all done."""
    for folder in root.glob("*"):
        cells = _cells(root, folder.name)
        if (
            folder.name not in in_queue
            and cells
            and all((root.parent.parent / "runs" / cell / "done.json").is_file() for cell in cells)
        ):
            shutil.rmtree(folder, ignore_errors=True)
