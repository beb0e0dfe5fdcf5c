"""Work of an engine under chaos: a real cell that leaves an append-only trail of what it did.

``<outputs>/trail/steps`` gets one line ``<training> <step> <pid>`` for every training step, before its checkpoint is
written; ``<outputs>/trail/completions`` one line ``<signature> <pid>`` for every cell run to its end.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from sweeps import run
from sweeps.execution.progress import PhaseFile
from sweeps.run import Job

_run = run._run
_phase = PhaseFile.phase


def trail(outputs: str | Path, name: str, line: str) -> None:
    """Appends a line in one write, so that a kill cannot tear it."""
    path = Path(outputs) / "trail" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(f"{line}\n")


def counted(job: Job) -> int:
    """``sweeps.run.execute``, with the trail."""

    def phase(self: PhaseFile, name: str) -> Callable[[int, int], None]:
        update = _phase(self, name)
        training = {"train": job.training, "base model": job.needs[0] if job.needs else ""}.get(name)

        def step(done: int, total: int) -> None:
            trail(job.outputs, "steps", f"{training} {done} {os.getpid()}")
            update(done, total)

        return update if training is None else step

    def completed(one: Job) -> None:
        _run(one)
        trail(one.outputs, "completions", f"{one.signature} {os.getpid()}")

    PhaseFile.phase = phase  # type: ignore[method-assign]
    run._run = completed
    return run.execute(job)
