"""Warm workers on this machine.

A server process (``multiprocessing``'s fork server) imports torch, Lightning, transformers and the rest once; every cell
then runs in a fresh process forked from it, so that it starts in well under a second and a crash kills only itself.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

from sweeps.engines.protocol import Ended
from sweeps.errors import UserError
from sweeps.run import Job, execute, fail

_TICK = 0.1


@dataclass
class _Running:
    job: Job
    process: BaseProcess
    started: float
    slot: int
    stopped: str = ""


def work(job: Job, parent: int) -> None:
    """Body of a worker process: runs one cell with its output in the run folder's ``log.txt``."""
    import torch

    if torch.cuda._is_in_bad_fork():
        fail(job.folder, "bug", "CUDA was initialised before the fork: something in sweeps/engines/warm.py touches the GPU")
        sys.exit(1)
    job.folder.mkdir(parents=True, exist_ok=True)
    with (job.folder / "log.txt").open("a", buffering=1) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        status = execute(job)
        sys.stdout.flush()
        sys.stderr.flush()
    # Skips the interpreter's teardown, which may wait for threads of libraries that the fork copied half.
    os._exit(status)


class LocalEngine:
    """Pool of warm workers.

    Args:
        workers: how many cells run at once; "auto" divides the cores by ``threads``.
        threads: threads of one cell.
        timeout_minutes: a cell that takes longer is stopped.
        memory_gib: a cell whose resident memory grows beyond it is stopped as out of memory; None for no limit.
        retries: read by the driver.
    """

    def __init__(
        self, *, threads: int, workers: int | str = "auto", timeout_minutes: float = 720, memory_gib: float | None = None,
        retries: int = 2,
    ) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
        if workers == "auto":
            workers = max(1, cores // max(1, threads))
        if not isinstance(workers, int) or workers < 1:
            raise UserError(f"engine.workers is {workers!r}: give a whole number from 1 up, or auto")
        if timeout_minutes <= 0:
            raise UserError(f"engine.timeout_minutes is {timeout_minutes}: give a number above 0")
        if memory_gib is not None and memory_gib <= 0:
            raise UserError(f"engine.memory_gib is {memory_gib}: give a number above 0, or null for no limit")
        self.retries, self.slots = retries, workers
        self._timeout, self._memory = timeout_minutes * 60, memory_gib
        self._running: dict[str, _Running] = {}
        self._gpus = _visible_gpus()
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["sweeps.engines.warm"])
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        # Before any worker imports a numerical library: its pool would otherwise be as wide as the machine.
        os.environ["OMP_NUM_THREADS"] = str(threads)

    def submit(self, job: Job) -> None:
        """Forks a worker for the job."""
        slot = min(set(range(self.slots)) - {entry.slot for entry in self._running.values()})
        if self._gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = self._gpus[slot % len(self._gpus)]
        process = self._context.Process(target=work, args=(job, os.getpid()), name=f"cell {job.signature}")
        process.start()
        self._running[job.signature] = _Running(job, process, time.monotonic(), slot)

    def poll(self) -> list[Ended]:
        """Collects ended workers, after a tick; stops those over a limit."""
        time.sleep(_TICK)
        ended = []
        for entry in list(self._running.values()):
            if entry.process.is_alive():
                self._watch(entry)
                continue
            entry.process.join()
            del self._running[entry.job.signature]
            ended.append(Ended(entry.job, entry.process.exitcode or 0, entry.stopped))
        return ended

    def cancel(self) -> None:
        """Asks the workers to go, then kills those that do not within ten seconds."""
        for entry in self._running.values():
            entry.process.terminate()
        deadline = time.monotonic() + 10
        for entry in self._running.values():
            entry.process.join(max(0.0, deadline - time.monotonic()))
            if entry.process.is_alive():
                entry.process.kill()
                entry.process.join()
        self._running.clear()

    def _watch(self, entry: _Running) -> None:
        import psutil

        if time.monotonic() - entry.started > self._timeout:
            entry.stopped = f"took longer than {self._timeout / 60:g} minutes (engine.timeout_minutes)"
        elif self._memory is not None:
            try:
                used = psutil.Process(entry.process.pid).memory_info().rss / 2**30
            except psutil.Error:
                return
            if used > self._memory:
                entry.stopped = f"out of memory: {used:.2f} GiB, over engine.memory_gib={self._memory:g}"
        if entry.stopped:
            entry.process.kill()


def _visible_gpus() -> list[str]:
    """GPU ids to share out, one a worker: CUDA_VISIBLE_DEVICES, else what the driver lists; no CUDA call is made."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu for gpu in visible.split(",") if gpu]
    from pathlib import Path

    return [str(index) for index, _ in enumerate(sorted(Path("/proc/driver/nvidia/gpus").glob("*")))]
