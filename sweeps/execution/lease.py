"""Leases: who may build a stage or run a cell, on one machine or on many that share a folder.

A lease is a small file that exists while its owner works. It is written under another name and linked into place: one
of any number of racing processes gets it, and nobody ever reads half of it. The owner touches it every few seconds; a
lease is dead when its process on this machine has gone, or when it has not been touched for ``stale_after`` seconds and
its process stands still (SIGSTOP) or is on another machine. A dead lease is taken over by renaming it away first: a
rename succeeds for exactly one of the racers. A stopped owner on this machine is killed by whoever takes over, so that
it cannot write again when it is continued; any other owner that finds its lease gone kills itself within seconds.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

STALE_AFTER = 60.0
"""Seconds without a heartbeat after which a lease held on another host counts as dead."""

_BEAT = 2.0


class LeaseHeld(Exception):  # noqa: N818 - a state of the world, not an error
    """Somebody alive holds the lease."""


@functools.lru_cache(maxsize=1)
def place() -> str:
    """Where process ids mean what they mean here: this boot of this machine, this process namespace.

    Host names do not tell that: containers that share an outputs folder may carry the same one.
    """
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> float | None:
    """Kernel start time of a process, which tells a reused process id from the old one; None where unknown."""
    try:
        return float(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    except (OSError, IndexError, ValueError):
        return None


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return ""


def alive(path: Path, *, stale_after: float = STALE_AFTER) -> bool:
    """Whether the lease at ``path`` exists and its owner still works."""
    try:
        age = time.time() - path.stat().st_mtime
        owner = json.loads(path.read_text())
    except OSError:
        return False
    except ValueError:
        # Torn by a full disk or a network file system: give its owner a few heartbeats' time.
        return age < 5 * _BEAT
    if place() and owner.get("place") == place():
        pid = int(owner["pid"])
        started = _started(pid)
        state = _state(pid)
        if started is None or state in ("", "Z", "X") or owner.get("started") not in (None, started):
            return False
        # A process that computes is alive however late its heartbeat; a stopped one only while that is young.
        return state not in "Tt" or age < stale_after
    return age < stale_after


def _end_stopped(path: Path) -> None:
    """Kills the stopped owner of a lease that was taken over here: continued, it might write once more."""
    seen = owner(path)
    pid = seen.get("pid")
    if place() and seen.get("place") == place() and pid and _state(pid) == "T" and _started(pid) == seen.get("started"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def owner(path: Path) -> dict[str, Any]:
    """What the lease says of its owner: host, pid, since; empty where there is none."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


class Lease:
    """Context manager that holds a lease, with a heartbeat from a daemon thread.

    Args:
        path: the lease file; its folder is made.
        stale_after: seconds without a heartbeat after which another host may take over.

    Raises:
        LeaseHeld: on entry, when somebody alive holds it.
    """

    def __init__(self, path: Path, *, stale_after: float = STALE_AFTER) -> None:
        self.path = path
        self.stale_after = stale_after
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Lease:
        """Takes the lease or raises ``LeaseHeld``."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self._create():
            tomb = self.path.with_name(f"{self.path.name}.dead-{self._token}")
            try:
                # Read before the look: the lease that is buried must be the one that was found dead.
                seen = self.path.read_bytes()
                if alive(self.path, stale_after=self.stale_after):
                    raise LeaseHeld(str(self.path))
                os.rename(self.path, tomb)
                if tomb.read_bytes() != seen:
                    # Between look and rename somebody else took over and we buried a living lease: give it back.
                    os.link(tomb, self.path)
                    tomb.unlink()
                    raise LeaseHeld(str(self.path))
                _end_stopped(tomb)
                tomb.unlink()
            except (FileNotFoundError, FileExistsError) as error:
                raise LeaseHeld(str(self.path)) from error
            if not self._create():
                raise LeaseHeld(str(self.path))
        self._thread = threading.Thread(target=self._beat, name=f"lease {self.path.name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives the lease back."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if owner(self.path).get("token") == self._token:
            self.path.unlink(missing_ok=True)

    def _create(self) -> bool:
        pid = os.getpid()
        content = {
            "host": socket.gethostname(),
            "place": place(),
            "pid": pid,
            "started": _started(pid),
            "token": self._token,
            "since": time.time(),
        }
        draft = self.path.with_name(f".{self.path.name}.{self._token}")
        try:
            draft.write_text(json.dumps(content))
            os.link(draft, self.path)
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
        return True

    def _beat(self) -> None:
        while not self._stop.wait(_BEAT):
            if self._lost() and not self._stop.is_set():
                os.kill(os.getpid(), signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def _lost(self) -> bool:
        """Whether the lease is gone or another's. A file system that does not answer is no proof."""
        for _ in range(2):
            try:
                return bool(json.loads(self.path.read_text())["token"] != self._token)
            except FileNotFoundError:
                # A racer that renamed it by mistake gives it back at once: look again before giving up.
                time.sleep(0.2)
            except (OSError, ValueError):
                return False
        return True
