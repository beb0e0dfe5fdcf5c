"""Progress of long work: bars on a terminal, plain lines elsewhere, and a run's files of its phase and heartbeat.

What takes less than two seconds shows nothing. Code in ``data`` and ``lightning_modules`` receives a plain callback
``(done, total)`` and knows nothing of this module:

    with progress("embed the training sentences") as update:
        retriever.index(texts, stages, progress=update)
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sweeps.execution.stages import write_atomically

Update = Callable[[int, int], None]

SHOW_AFTER = 2.0
"""Seconds of work before anything is shown."""

PLAIN_EVERY = 10.0
"""Seconds between two lines of one phase where there is no terminal."""

_TICK = 0.25


@dataclass
class _Phase:
    description: str
    begun: float
    done: int = 0
    total: int = 0
    ended: float | None = None
    said: float | None = None
    task: TaskID | None = None


class Bars:
    """Context manager that shows the progress of any number of phases.

    Args:
        console: where to show it; by default standard error. A terminal gets bars, anything else lines.
        clock: seconds, rising.
    """

    def __init__(self, console: Console | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._phases: list[_Phase] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._bars: Progress | None = None

    def phase(self, description: str) -> Update:
        """Begins a phase.

        Returns:
            Callback ``(done, total)``; total 0 means unknown. The phase ends when done reaches total.
        """
        phase = _Phase(description, self._clock())
        with self._lock:
            self._phases.append(phase)

        def update(done: int, total: int) -> None:
            phase.done, phase.total = done, total
            if total and done >= total and phase.ended is None:
                phase.ended = self._clock()

        return update

    def show(self) -> None:
        """Brings what is shown up to date; the block's own thread calls it four times a second."""
        with self._lock:
            now = self._clock()
            for phase in self._phases:
                if (phase.ended or now) - phase.begun >= SHOW_AFTER:
                    if self._console.is_terminal:
                        self._draw(phase)
                    else:
                        self._say(phase, now)
            self._phases = [phase for phase in self._phases if phase.ended is None]

    def _draw(self, phase: _Phase) -> None:
        if self._bars is None:
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bars.start()
        if phase.task is None:
            phase.task = self._bars.add_task(phase.description, total=None)
        self._bars.update(phase.task, completed=phase.done, total=phase.total or None)
        if phase.ended is not None:
            self._bars.stop_task(phase.task)

    def _say(self, phase: _Phase, now: float) -> None:
        if phase.ended is None and phase.said is not None and now - phase.said < PLAIN_EVERY:
            return
        phase.said = now
        spent = (phase.ended or now) - phase.begun
        line = f"{phase.description}: {phase.done:,}"
        if phase.total:
            line += f"/{phase.total:,} ({100 * phase.done // phase.total}%)"
        line += f", {spent:.0f} s"
        if phase.ended is None and 0 < phase.done < phase.total:
            line += f", about {spent * (phase.total - phase.done) / phase.done:.0f} s left"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            now = self._clock()
            for phase in self._phases:
                phase.ended = phase.ended if phase.ended is not None else now
        self.show()
        if self._bars is not None:
            self._bars.stop()

    def _run(self) -> None:
        while not self._stop.wait(_TICK):
            self.show()


@contextmanager
def progress(description: str, console: Console | None = None) -> Iterator[Update]:
    """The callback of one phase, shown while the block runs."""
    with Bars(console) as bars:
        yield bars.phase(description)


class PhaseFile:
    """What a cell is doing, for the live view: phase, done, total; rewritten at most once a second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = 0.0

    def say(self, line: str) -> None:
        """Notes a line in the cell's own log."""
        print(line, flush=True)

    def phase(self, name: str) -> Callable[[int, int], None]:
        """Callback ``(done, total)`` for one phase."""

        def update(done: int, total: int) -> None:
            if time.monotonic() - self._written >= 1.0:
                self._written = time.monotonic()
                write_atomically(self._path, json.dumps({"phase": name, "done": done, "total": total}))

        return update


class Heartbeat:
    """Context manager that keeps a heartbeat file from a daemon thread: pid, host and time, written whole each time.

    A thread does not survive a fork: only the process that opened the block beats. The file stays when the block ends.

    Args:
        path: the file; its folder is made.
        every: seconds between two beats. Native code that holds the interpreter's lock delays them.
    """

    def __init__(self, path: Path, *, every: float = 3.0) -> None:
        if every <= 0:
            raise ValueError(f"every is {every}: give the seconds between two beats, above 0")
        self._path = path
        self._every = every
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._beat()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._every):
            try:
                self._beat()
            except OSError:
                # A full or absent disk for a moment: the next beat tries again, and a lasting one shows as stale.
                continue

    def _beat(self) -> None:
        beat = {"pid": os.getpid(), "host": socket.gethostname(), "time": time.time()}
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(beat))
        os.replace(temporary, self._path)


def is_stale(path: Path, now: float, limit: float = 30.0) -> bool:
    """Whether the process behind a heartbeat file has stopped beating.

    Args:
        path: the heartbeat file; one that is missing or unreadable is stale.
        now: seconds since the epoch.
        limit: seconds without a beat that count as stopped; at least several beats.
    """
    try:
        return now - float(json.loads(path.read_text())["time"]) > limit
    except (OSError, ValueError, KeyError, TypeError):
        return True
