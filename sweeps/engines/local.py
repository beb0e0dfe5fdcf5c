"""Warm workers on this machine.

A server process (``multiprocessing``'s fork server) imports torch, Lightning, transformers and the rest once; every
cell then runs in a fresh process forked from it, so that it starts in well under a second and a crash kills only
itself.

Every worker leads a session of its own. Ctrl-C therefore reaches the driver alone, which asks the workers to go
(SIGTERM): they write a checkpoint and record that they were preempted. The driver does so too when it is told to end
itself (SIGTERM) or its terminal is closed (SIGHUP). When it is killed (SIGKILL) the workers finish the cells that they
hold; their leases tell a new driver to wait for them and not to start these again.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil

from sweeps.engines.cell_process import Work, announce, run_logged
from sweeps.engines.protocol import Ended
from sweeps.errors import UserError
from sweeps.run import Job, execute, fail
from sweeps.signatures.signature import ROOT

WARM = ("sweeps.engines.preload",)
"""What the worker server imports, whatever the cells are."""

_TICK = 0.1
_LOOK = 1.0
_PATIENCE = 60.0
"""Seconds that a worker gets to end: more than its training gets for a step, and time to write a checkpoint."""
_LOST = 255
"""Exit code that ``multiprocessing`` gives a process whose fork server has died, whatever became of the process."""


@dataclass
class _Running:
    job: Job
    process: BaseProcess
    started: float
    slot: int
    looked: float = 0.0
    stopped: str = ""
    asked: float = 0.0
    one: psutil.Process | None = None
    family: tuple[psutil.Process, ...] = ()

    def __post_init__(self) -> None:
        # Tells it from another process of the same id, also when the fork server has died and knows no more of it.
        with contextlib.suppress(psutil.Error):
            self.one = psutil.Process(self.process.pid)

    def ask(self) -> None:
        """Asks the worker to go. What it started itself is noted: it must not outlive it."""
        self.asked = time.monotonic()
        with contextlib.suppress(psutil.Error):
            if self.one is not None:
                self.family = (self.one, *self.one.children(recursive=True))
                self.one.terminate()

    def gone(self) -> bool:
        """Whether the worker has ended."""
        try:
            return self.one is None or not self.one.is_running() or self.one.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            return True

    def end(self) -> None:
        """Makes sure that the worker is gone, with everything that it started."""
        _kill(self.process)
        for one in self.family:
            with contextlib.suppress(psutil.Error):
                one.kill()


def worker(job: Job, work: Work, gpu: str | None, warm: Sequence[str]) -> None:
    """Body of a worker process: runs one cell.

    Args:
        gpu: the one GPU that this cell may see; None leaves the choice as it is. The fork server has its own
            environment, so it can only be set here, before CUDA is initialised.
        warm: modules that the server was to import.
    """
    with contextlib.suppress(OSError):
        os.setsid()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda._is_in_bad_fork():
        job.folder.mkdir(parents=True, exist_ok=True)
        fail(
            job.folder, "bug", "CUDA was initialised before the fork: an import of sweeps/engines/preload.py touches it"
        )
        os._exit(1)
    cold = [name for name in warm if name not in sys.modules]
    if cold:
        job.folder.mkdir(parents=True, exist_ok=True)
        fail(job.folder, "bug", f"the worker server could not import {', '.join(cold)}: import it by hand to see why")
        os._exit(1)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    # Skips the interpreter's teardown, which may wait for threads of libraries that the fork copied half.
    os._exit(run_logged(job, work))


class LocalEngine:
    """Pool of warm workers.

    Args:
        threads: threads of one cell.
        workers: how many cells run at once; "auto" divides the cores by ``threads``, and takes no more than there are
            GPUs where there are any.
        timeout_minutes: a cell that takes longer is asked to go, as by Ctrl-C, and not started again.
        memory_gib: a cell whose resident memory (with its child processes) grows beyond it is stopped as out of memory;
            None for no limit.
        retries: read by the driver.
        work: what runs a cell.
        warm: modules that the fork server imports.
    """

    def __init__(
        self,
        *,
        threads: int,
        workers: int | str = "auto",
        timeout_minutes: float = 720,
        memory_gib: float | None = None,
        retries: int = 2,
        work: Work = execute,
        warm: Sequence[str] = WARM,
    ) -> None:
        self._gpus = visible_gpus()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
        if workers == "auto":
            workers = max(1, min(cores // max(1, threads), len(self._gpus) or cores))
        if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
            raise UserError(f"engine.workers is {workers!r}: give a whole number from 1 up, or auto")
        if timeout_minutes <= 0:
            raise UserError(f"engine.timeout_minutes is {timeout_minutes}: give a number above 0")
        if memory_gib is not None and memory_gib <= 0:
            raise UserError(f"engine.memory_gib is {memory_gib}: give a number above 0, or null for no limit")
        self.retries, self.slots = retries, workers
        self._timeout, self._memory, self._work = timeout_minutes * 60, memory_gib, work
        self._running: dict[str, _Running] = {}
        self._lost: list[_Running] = []
        self._unstarted: list[Ended] = []
        # Python 3.11's fork server ignores the path that it is given, and is silent about modules that it cannot find.
        inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        if str(ROOT) not in inherited:
            os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, inherited)])
        # Locks of a cell that was killed, or left by os._exit, are cleaned up at the end: no news for the terminal.
        quiet = "ignore:resource_tracker:UserWarning"
        if quiet not in os.environ.get("PYTHONWARNINGS", ""):
            os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (os.environ.get("PYTHONWARNINGS"), quiet)))
        self._warm = tuple(warm)
        self._context = multiprocessing.get_context("forkserver")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        # Arrow's allocator would start a thread in the server, which forks only the thread that asks.
        os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")
        # Before any worker imports a numerical library: its pool would otherwise be as wide as the machine.
        os.environ["OMP_NUM_THREADS"] = str(threads)

    def submit(self, job: Job) -> None:
        """Forks a worker for the job."""
        slot = min(set(range(self.slots)) - {entry.slot for entry in self._running.values()})
        gpu = self._gpus[slot % len(self._gpus)] if self._gpus else None
        arguments = (job, self._work, gpu, self._warm)
        self._context.set_forkserver_preload(preloaded(job.config, self._warm))
        process = self._context.Process(target=worker, args=arguments, name=f"cell {job.signature}")
        try:
            start_alone(process)
        except (OSError, EOFError) as error:
            # The fork server was killed while it was asked; the next start brings up a new one.
            reason = f"the worker server was killed ({type(error).__name__})"
            self._unstarted.append(Ended(job, -signal.SIGKILL, reason))
            return
        self._running[job.signature] = _Running(job, process, time.monotonic(), slot)

    def poll(self) -> list[Ended]:
        """Collects ended workers, after a tick or as soon as one ends; stops those over a limit."""
        connection.wait([entry.process.sentinel for entry in self._running.values()], 0 if self._unstarted else _TICK)
        ended, self._unstarted = self._unstarted, []
        for entry in list(self._running.values()):
            if entry.process.is_alive():
                self._watch(entry)
                continue
            entry.process.join()
            del self._running[entry.job.signature]
            status = entry.process.exitcode or 0
            if status == _LOST:
                # The worker itself may well go on: if it does, its lease says so and the driver waits for it.
                self._lost.append(entry)
                ended.append(Ended(entry.job, -signal.SIGKILL, "the worker server was killed"))
            else:
                entry.end()
                ended.append(Ended(entry.job, status, entry.stopped, limit=bool(entry.asked)))
        return ended

    def cancel(self) -> None:
        """Asks the workers to go, which they do with a checkpoint and a record, then kills those that have not gone."""
        entries = [entry for entry in (*self._running.values(), *self._lost) if not entry.gone()]
        self._running.clear()
        self._lost.clear()
        if not entries:
            return
        try:
            for entry in entries:
                entry.ask()
            announce(len(entries), _PATIENCE)
            deadline = time.monotonic() + _PATIENCE
            while time.monotonic() < deadline and not all(entry.gone() for entry in entries):
                time.sleep(_TICK / 2)
        finally:
            for entry in entries:
                entry.end()

    def _watch(self, entry: _Running) -> None:
        now = time.monotonic()
        if now - entry.looked < _LOOK:
            return
        entry.looked = now
        if entry.asked:
            if now - entry.asked > _PATIENCE:
                _kill(entry.process)
        elif now - entry.started > self._timeout:
            entry.stopped = f"took longer than {self._timeout / 60:g} minutes (engine.timeout_minutes)"
            entry.ask()
        elif self._memory is not None and (used := _resident(entry.process.pid)) > self._memory:
            entry.stopped = f"out of memory: {used:.2f} GiB, over engine.memory_gib={self._memory:g}"
            _kill(entry.process)


def preloaded(config: Mapping[str, Any], warm: Sequence[str] = WARM) -> list[str]:
    """Modules that the worker server imports for cells like this one; read when the server starts, and only then.

    W&B is a third of a second that cells without a dashboard need not wait for. It comes first, since what comes last
    takes everything before it out of the garbage collector's reach.
    """
    return [*(["wandb"] if (config.get("logger") or {}).get("wandb") else []), *warm]


def start_alone(process: BaseProcess) -> None:
    """Starts a process of the worker server that does not run the program's main module again.

    Workers find what they run by name. Running ``python -m sweeps.run`` or a script once more in each of them is time
    lost, and Python warns of it.
    """
    main = sys.modules["__main__"]
    kept: dict[str, Any] = {name: vars(main)[name] for name in ("__spec__", "__file__") if name in vars(main)}
    try:
        main.__spec__ = None
        vars(main).pop("__file__", None)
        process.start()
    finally:
        vars(main).update(kept)


def _resident(pid: int | None) -> float:
    """Resident memory of a process and its descendants in GiB; 0 for one that has gone."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += one.memory_info().rss / 2**30
    return total


def _kill(process: BaseProcess) -> None:
    """Kills a worker with everything in its session's process group, which is what it started itself."""
    if process.pid is None or not process.is_alive():
        return
    try:
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except ProcessLookupError:
        pass
    process.join()


def visible_gpus() -> list[str]:
    """GPU ids to share out, one a worker: CUDA_VISIBLE_DEVICES, else what the driver lists; no CUDA call is made."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu]
    return [str(index) for index, _ in enumerate(sorted(Path("/proc/driver/nvidia/gpus").glob("*")))]
