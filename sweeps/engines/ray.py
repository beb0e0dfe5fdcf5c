"""Ray core tasks, on a cluster that is there or on one that is started on this machine.

One task per cell, each in a worker process of its own that ends with it (``max_calls=1``): a cell finds no state of
another one, and its GPU memory is free afterwards. Ray itself retries nothing. A task that its worker or node took down
is reported as killed, and the driver starts the cell again, from its newest checkpoint.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import Any

from sweeps.engines.cell_process import Work, announce, run_logged
from sweeps.engines.protocol import Ended
from sweeps.errors import UserError
from sweeps.execution.lease import owner
from sweeps.run import Job, execute
from sweeps.signatures.signature import ROOT

_TICK = 0.2
_PATIENCE = 60.0
"""Seconds that a cell gets to end: more than its training gets for a step, and time to write a checkpoint."""


def run_cell(job: Job, work: Work) -> int:
    """Body of a task."""
    # The data root is looked for relative to the project's folder, and Ray's workers start elsewhere.
    os.chdir(ROOT)
    # Ray interrupts a task by SIGINT, which workers of a driver that was started in the background would ignore;
    # ``execute`` makes an order of it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return run_logged(job, work)


class RayEngine:
    """Runs cells as Ray tasks.

    Args:
        threads: threads of one cell, which are the CPUs that its task asks for.
        address: of a running cluster (``host:port``, or "auto" for the one of this machine); None starts one here,
            bound to the loopback interface, which ends with the driver.
        workers: how many cells run at once; "auto": as many as the cluster has room for.
        gpus: GPUs of one cell; a fraction shares one.
        memory_gib: memory that a task books, which Ray uses for placing it; None books none.
        timeout_minutes: a cell that runs longer is asked to go, as by Ctrl-C, and not started again.
        resources: further resources that a task books, ``{name: amount}``, to pick nodes by.
        retries: read by the driver.
        work: what runs a cell.
    """

    def __init__(
        self,
        *,
        threads: int,
        address: str | None = None,
        workers: int | str = "auto",
        gpus: float = 0,
        memory_gib: float | None = None,
        timeout_minutes: float = 720,
        resources: dict[str, float] | None = None,
        retries: int = 2,
        work: Work = execute,
    ) -> None:
        if workers != "auto" and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 1):
            raise UserError(f"engine.workers is {workers!r}: give a whole number from 1 up, or auto")
        if gpus < 0 or timeout_minutes <= 0 or (memory_gib is not None and memory_gib <= 0):
            raise UserError(
                f"engine.gpus={gpus}, timeout_minutes={timeout_minutes}, memory_gib={memory_gib}: give "
                "gpus from 0 up, the others above 0 (memory_gib=null books none)"
            )
        self._ray = _import_ray(loopback=address is None)
        self._timeout, self._work = timeout_minutes * 60, work
        self._running: dict[Any, Job] = {}
        self._late: dict[Any, float] = {}
        self._looked = time.monotonic()
        self._cpus = None if workers == "auto" else int(workers) * threads
        self._started = _connect(self._ray, address, self._cpus)
        options: dict[str, Any] = {"num_cpus": threads, "num_gpus": gpus, "max_retries": 0, "max_calls": 1}
        if memory_gib is not None:
            options["memory"] = int(memory_gib * 2**30)
        if resources:
            options["resources"] = dict(resources)
        self._task = self._ray.remote(**options)(run_cell)
        room = self._room(threads, gpus)
        if room < 1:
            raise UserError(
                f"the Ray cluster at {address or 'this machine'} has no node for a cell with {threads} "
                f"CPUs and {gpus:g} GPUs: lower threads or engine.gpus, or give another engine.address"
            )
        self.slots, self.retries = room if workers == "auto" else workers, retries

    def submit(self, job: Job) -> None:
        """Starts a task."""
        self._running[self._task.remote(job, self._work)] = job

    def poll(self) -> list[Ended]:
        """Collects ended tasks, after a short wait; stops those over the time limit."""
        ready, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=_TICK)
        ended = [self._collect(reference) for reference in ready]
        if time.monotonic() - self._looked > 5.0:
            self._looked = time.monotonic()
            self._stop_late()
            ended += self._start_again()
        return ended

    def cancel(self) -> None:
        """Interrupts the tasks, which end with a checkpoint and a record, then kills those that have not ended."""
        references = list(self._running)
        self._running.clear()
        # Ray's own errors here mean that the cluster has gone, and the tasks with it.
        with contextlib.suppress(self._ray.exceptions.RayError):
            late = references
            try:
                for reference in references:
                    self._ray.cancel(reference, force=False)
                if references:
                    announce(len(references), _PATIENCE)
                    _, late = self._ray.wait(references, num_returns=len(references), timeout=_PATIENCE)
            finally:
                for reference in late:
                    self._ray.cancel(reference, force=True)
        if self._started:
            self._ray.shutdown()

    def _collect(self, reference: Any) -> Ended:
        job = self._running.pop(reference)
        errors = self._ray.exceptions
        late, reason = self._late.pop(reference, None) is not None, ""
        if late:
            reason = f"took longer than {self._timeout / 60:g} minutes (engine.timeout_minutes)"
        try:
            return Ended(job, int(self._ray.get(reference)), reason, limit=late)
        except errors.OutOfMemoryError:
            return Ended(job, -signal.SIGKILL, "out of memory: Ray's memory monitor stopped the cell")
        except (errors.RayTaskError, errors.TaskCancelledError) as error:
            ended = f"the task ended with {type(error).__name__}: {str(error).strip().splitlines()[-1]}"
            return Ended(job, 1, reason or ended, limit=late)
        except errors.RayError as error:
            lost = f"its worker or node was lost ({type(error).__name__})"
            return Ended(job, -signal.SIGKILL, reason or lost, limit=late)

    def _stop_late(self) -> None:
        """Asks tasks over the time limit to go, counted from when they took their cell's lease and not from submission,
        and kills those that do not.
        """
        for reference, job in self._running.items():
            if (asked := self._late.get(reference)) is not None:
                if time.monotonic() - asked > _PATIENCE:
                    self._ray.cancel(reference, force=True)
                continue
            since = owner(job.folder / "lease").get("since")
            if since is not None and time.time() - since > self._timeout:
                self._late[reference] = time.monotonic()
                self._ray.cancel(reference, force=False)

    def _start_again(self) -> list[Ended]:
        """Replaces a cluster of our own whose only node has died: Ray would let all tasks wait for another for ever."""
        if not self._started or any(node["Alive"] for node in self._ray.nodes()):
            return []
        ended = [Ended(job, -signal.SIGKILL, "the node was lost") for job in self._running.values()]
        self._running.clear()
        self._late.clear()
        self._ray.shutdown()
        self._started = _connect(self._ray, None, self._cpus)
        return ended

    def _room(self, threads: int, gpus: float) -> int:
        room = 0
        for node in self._ray.nodes():
            if node["Alive"]:
                resources = node["Resources"]
                fits = int(resources.get("CPU", 0) // threads)
                room += min(fits, int(resources.get("GPU", 0) // gpus)) if gpus else fits
        return room


def _import_ray(*, loopback: bool) -> Any:
    # All of these are read when ray is imported. No usage report leaves this machine.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if loopback:
        # The one switch that keeps Ray's servers on 127.0.0.1; the address given to init is replaced by an outside one.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise UserError(
            "engine=ray needs the package ray, which is not installed: pip install -c constraints.txt "
            "'ray>=2.55,<3', or use engine=local"
        ) from error
    return ray


def _connect(ray: Any, address: str | None, cpus: int | None) -> bool:
    """Joins a cluster, or starts one of our own with so many CPUs (None: the machine's): then True."""
    if ray.is_initialized():
        return False
    # Workers look modules up where the driver does.
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    quiet = {"log_to_driver": False, "logging_level": "error"}
    try:
        if address is not None:
            ray.init(address=address, **quiet)
            return False
        ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)
        return True
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at {address} does not answer" if address else "no Ray cluster could be started here"
        why = str(error).strip().splitlines()[0]
        raise UserError(f"{where} ({why}): check engine.address, or use engine=local") from error
