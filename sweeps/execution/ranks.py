"""The further processes of a training on several devices: rank 0 is the cell's own process and starts the others.

A further rank is a fresh interpreter (``python -m sweeps.execution.ranks``): it builds the same data and method from
the same config, finds every stage finished, and joins the training. It writes nothing but its shards of a checkpoint;
run folder, logs, lease and heartbeat stay with rank 0, and it cannot outlive rank 0: its standard input ends when that
dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lightning_modules.training.stopping import Stopped
from sweeps.signatures.signature import ROOT

if TYPE_CHECKING:
    from lightning_modules.distributed.processes import Group

GRACE = 20.0
"""Seconds that rank 0 gets to notice by itself that another rank has ended, before it is killed: it may wait for it in
a collective operation for ever."""

_READY = "ready"
_FAREWELL = 60.0


class RankFailedError(RuntimeError):
    """Another process of this training failed."""


@contextmanager
def started(
    config: Mapping[str, Any], values: Mapping[str, Any], folder: Path, outputs: Path
) -> Iterator[Group | None]:
    """Starts the other ranks of a training and ends them with it; nothing, and None, for one device.

    Args:
        config: what the training's stage is named by; ``values``: the same with values. Both as ``_trained`` has them.
        folder: of the training.
        outputs: of the sweep.

    Raises:
        RankFailedError: another rank failed, before or while this one did its part.
        Preempted: another rank was killed.
    """
    from lightning_modules.distributed.processes import Group

    devices = int(values["trainer"].get("devices", 1))
    if devices == 1:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="papergrid-ranks-") as place:
        meeting = Path(place) / "meeting"
        places = {"folder": str(folder), "outputs": str(outputs), "meeting": str(meeting)}
        task = {"config": config, "values": values, **places}
        others = [_Other({**task, "rank": rank}) for rank in range(1, devices)]
        try:
            for other in others:
                other.wait_until_ready()
            yield Group(0, meeting)
            for other in others:
                other.wait()
        except Exception as error:
            for other in others:
                other.blame(error)
            raise
        finally:
            for other in others:
                other.end()


class _Other:
    """Rank 0's hold on one other rank."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        self.rank = int(task["rank"])
        self._reason = ""
        self._ready = threading.Event()
        self._left = threading.Event()
        paths = filter(None, (str(ROOT), os.environ.get("PYTHONPATH", "")))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sweeps.execution.ranks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            # Ctrl-C at a terminal is for rank 0 alone, which decides when all end.
            process_group=0,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(task) + "\n")
            self._process.stdin.flush()
        self._thread = threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True)
        self._thread.start()

    def _listen(self, reports: IO[str]) -> None:
        for line in reports:
            if line.strip() == _READY:
                self._ready.set()
            else:
                self._reason = line.strip()
        status = self._process.wait()
        self._ready.set()
        if status and not self._left.wait(GRACE):
            print(f"rank {self.rank} {self._fate(status)}; rank 0 waits for it in vain", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    def _fate(self, status: int) -> str:
        return f"was killed by signal {-status}" if status < 0 else self._reason or f"ended with status {status}"

    def wait_until_ready(self) -> None:
        """Returns once the rank has built what it needs. Raises RankFailedError when it could not."""
        self._ready.wait()
        if self._process.poll():
            raise RankFailedError(f"rank {self.rank} ended before the training began")

    def wait(self) -> None:
        """Returns once the rank has ended well. Raises RankFailedError when it did not."""
        try:
            status = self._process.wait(_FAREWELL)
        except subprocess.TimeoutExpired:
            status = -signal.SIGKILL
        if status:
            raise RankFailedError(f"rank {self.rank} {self._fate(status)}")

    def blame(self, error: Exception) -> None:
        """Raises what the rank failed of, if it failed: rank 0's own error is then only that it lost the other."""
        from sweeps.execution.failures import Preempted

        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        status = self._process.poll()
        if status is None or status == 0:
            return
        self._thread.join(1.0)
        if status < 0:
            raise Preempted(f"rank {self.rank} {self._fate(status)}") from error
        raise RankFailedError(f"rank {self.rank} failed: {self._fate(status)}") from error

    def end(self) -> None:
        """Makes sure that the rank is gone."""
        self._left.set()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._thread.join()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]


def join(task: Mapping[str, Any], ready: Any) -> None:
    """What a further rank does: builds, says that it is ready, trains its share."""
    from lightning_modules.distributed.processes import Group
    from lightning_modules.training.fit import fit
    from sweeps.execution.hardware import limit_threads
    from sweeps.execution.progress import PhaseFile
    from sweeps.execution.stages import StageStore
    from sweeps.run import prepare, strip

    values, meeting = task["values"], Path(task["meeting"])
    progress = PhaseFile(meeting.with_name(f"progress-{task['rank']}.json"))
    limit_threads(int(values["threads"]))
    data, method = prepare(task["config"], values, StageStore(Path(task["outputs"]) / "stages"), progress)
    ready()
    fit(
        method,
        data,
        folder=Path(task["folder"]),
        group=Group(int(task["rank"]), meeting),
        **strip(values["trainer"], frozenset({"_target_"})),
    )


def _end_with_rank_0() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def main() -> None:
    """A process started by ``started``. Ends without the interpreter's teardown: rank 0 waits only for its status."""
    # Rank 0 decides when all end: a signal to all processes of a job must not tear this rank away from it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    line = b""
    while not line.endswith(b"\n"):  # unbuffered: nothing may be left behind in a buffer that the thread cannot see
        line += os.read(0, 1 << 16) or b"{}\n"
    reports = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    threading.Thread(target=_end_with_rank_0, daemon=True).start()
    status = 0
    try:
        join(json.loads(line), lambda: print(_READY, file=reports))
    except Stopped:  # in all ranks alike, and rank 0 says why
        pass
    except BaseException as error:
        traceback.print_exc()
        print(" ".join(f"{type(error).__name__}: {error}".split())[:500], file=reports)
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
