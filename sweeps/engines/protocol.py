"""What the driver asks of an engine: somewhere to run cells. Three verbs, no knowledge of sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sweeps.run import Job


@dataclass(frozen=True)
class Ended:
    """A job that has left its engine.

    Attributes:
        status: exit status; negative for a signal, as in ``subprocess``.
        reason: one line where the engine knows more than the status ("over the memory limit").
        limit: whether the engine ended it, or let it end, because its time was over.
    """

    job: Job
    status: int
    reason: str = ""
    limit: bool = False


class Engine(Protocol):
    """Runs jobs; whether one succeeded is read from its run folder, never from here."""

    slots: int
    """How many jobs it takes at once."""

    def submit(self, job: Job) -> None:
        """Starts a job."""

    def poll(self) -> list[Ended]:
        """Jobs that have ended since the last call. Returns at once or after a short wait."""

    def cancel(self) -> None:
        """Ends everything that runs; run folders stay in a state from which the same command goes on.

        Cells get time to write a checkpoint; an exception that comes out of this (a second Ctrl-C) ends them at once.
        """
