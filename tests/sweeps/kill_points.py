"""Kills a cell's process just before a chosen change that it makes to its outputs.

Such a point is an event of Python's audit hooks (a file opened for writing, renamed, linked or deleted, a folder made
or deleted) or a flush (``os.fsync``), in the main thread, below the outputs folder. Between two points nothing changes
there that another process could rely on, so killing before each of them in turn is killing everywhere.
"""

import os
import sys
import threading
from pathlib import Path

from sweeps import run
from sweeps.execution.progress import PhaseFile

EVENTS = frozenset({"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate"})
KILLED = 9


def in_child(work):
    """Exit status of ``work`` in a forked process, which never returns from it."""
    child = os.fork()
    if child == 0:
        # No way out of here may run the tests' own clean-up.
        try:
            os._exit(work())
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed(job, at, *, below=""):
    """Runs a cell in a child that dies at its ``at``-th point; its exit status: ``KILLED``, or the cell's.

    Args:
        job: whose outputs folder gets ``steps``: a line ``<pid> <step>`` for every training step, and ``points``.
        at: counted from 1; 0 never kills.
        below: only points whose path has this in it count.
    """
    return in_child(lambda: _work(job, at, below))


def points(job):
    """What the last child did, in order, as far as it came."""
    return (Path(job.outputs) / "points").read_text().splitlines()


def steps(job):
    """Steps of every process that trained, in order."""
    path = Path(job.outputs) / "steps"
    found = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        pid, step = map(int, line.split())
        found.setdefault(pid, []).append(step)
    return list(found.values())


def _work(job, at, below):
    outputs = os.path.realpath(job.outputs)
    os.makedirs(outputs, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    trail = os.open(os.path.join(outputs, "steps"), flags)
    record = os.open(os.path.join(outputs, "points"), flags | os.O_TRUNC)
    main, count = threading.current_thread(), 0

    def point(name, path):
        nonlocal count
        if threading.current_thread() is main and path.startswith(outputs) and below in path:
            count += 1
            os.write(record, f"{name} {os.path.relpath(path, outputs)}\n".encode())
            if count == at:
                os._exit(KILLED)

    def heard(event, arguments):
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            mode, opened = arguments[1], arguments[2]
            writes = set(mode) & set("wax+") if isinstance(mode, str) else opened & (os.O_WRONLY | os.O_RDWR)
            if writes:
                point(event, os.fsdecode(arguments[0]))
        elif event in EVENTS:
            where = arguments[1] if event in ("os.remove", "os.rmdir") else -1
            folder = os.readlink(f"/proc/self/fd/{where}") if where != -1 else ""
            # Of a renamed or linked file, the new name.
            path = arguments[1] if event in ("os.rename", "os.link") else arguments[0]
            point(event, os.path.join(folder, os.fsdecode(path)))

    plain_flush, plain_phase = os.fsync, PhaseFile.phase

    def flush(descriptor):
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        point("os.fsync", os.readlink(f"/proc/self/fd/{number}"))
        plain_flush(descriptor)

    def phase(self, name):
        update = plain_phase(self, name)

        def step(done, total):
            os.write(trail, f"{os.getpid()} {done}\n".encode())
            update(done, total)

        return step if name == "train" else update

    os.fsync = flush
    PhaseFile.phase = phase
    sys.addaudithook(heard)
    return run.execute(job)
