"""What a cell's process does around the cell, the same on every engine."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import TypeAlias

from sweeps.run import Job

Work: TypeAlias = Callable[[Job], int]
"""Runs one cell and returns its exit status; must be importable by name. ``sweeps.run.execute``, except in tests."""


def run_logged(job: Job, work: Work) -> int:
    """Runs a cell with this process's output, and that of its children, in the run folder's ``log.txt``.

    SIGTERM gets its default action back (schedulers and Ray install handlers of their own, or let it be ignored):
    ``execute`` makes an order of it (``sweeps.execution.orders``).
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with (job.folder / "log.txt").open("a", buffering=1) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            return work(job)
        except BaseException:
            # What execute could not record (a full disk, an interrupt): the engine reports the status.
            traceback.print_exc()
            return 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            os.close(kept[0])
            os.close(kept[1])


def announce(cells: int, patience: float) -> None:
    """Tells whoever ends a driver what it waits for: cells that were told to go, for so many seconds at most."""
    with contextlib.suppress(OSError):  # the terminal may have gone
        print(
            f"papergrid: the running cells ({cells}) are told to finish their step and to write a checkpoint; they "
            f"get {patience:g} s, a second Ctrl-C ends them at once",
            file=sys.stderr,
            flush=True,
        )
