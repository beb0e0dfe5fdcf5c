"""What the driver asks of an engine: somewhere to run cells. Three verbs, no knowledge of sweeps."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sweeps.errors import UserError
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


def make_engine(config: Mapping[str, Any], threads: int) -> Engine:
    """The engine that an ``engine`` section describes: class ``<Name>Engine`` of ``sweeps/engines/<name>.py``.

    Raises:
        UserError: an unknown engine, or a setting that it does not take.
    """
    from sweeps.preflight.schema import check_arguments

    settings = dict(config)
    name = str(settings.pop("name"))
    try:
        module = importlib.import_module(f"sweeps.engines.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"sweeps.engines.{name}":  # something that this engine needs
            raise
        module = None
    kind = getattr(module, f"{name.capitalize()}Engine", None)
    if kind is None:
        raise UserError(f"no engine is called {name!r}: choose one by engine=, as in engine=local")
    check_arguments(kind, settings, "engine", given={"threads"})
    engine: Engine = kind(threads=threads, **settings)
    return engine
