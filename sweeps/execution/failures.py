"""Classes of failure: what a driver decides by whether a cell is tried again, and what people read beside its name."""

from __future__ import annotations

import errno

from lightning_modules.training.stopping import Stopped
from sweeps.errors import UserError

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers of a full disk and of a full quota."""

TIME_LIMIT = "time-limit"
"""Class of a cell that ran into the limit of its engine: no fault of it, and nothing that another try would mend."""

STOPPED = frozenset({"preempted", "killed", TIME_LIMIT})
"""Classes of cells that were stopped from outside: the same command goes on from their newest checkpoint."""


class Preempted(BaseException):
    """The scheduler, or a person, asked this process to go."""


def classify(error: BaseException) -> str:
    """Failure class of an exception: oom, disk, nan, bad-data, preempted, killed or bug. Engines tell time limits."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text.lower():
        return "oom"
    if full(error):
        return "disk"
    if any(kind.__name__ in ("NonFiniteLossError", "FloatingPointError") for kind in type(error).__mro__):
        return "nan"
    if isinstance(error, (Preempted, Stopped)):
        return "preempted"
    if isinstance(error, KeyboardInterrupt):
        return "killed"
    if isinstance(error, (UserError, ValueError, FileNotFoundError, UnicodeError)):
        return "bad-data"
    return "bug"


def full(error: BaseException | None) -> BaseException | None:
    """The error, or the one that it was made of, that says that a disk is full; libraries write through C code too."""
    while error is not None:
        if (isinstance(error, OSError) and error.errno in NO_ROOM) or "no space left on device" in str(error).lower():
            return error
        error = error.__cause__ or error.__context__
    return None
