"""Engines: where cells run. One file each; `make` finds it by the name that conf/engine gives."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from sweeps.engines.protocol import Ended, Engine
from sweeps.errors import UserError

__all__ = ["Ended", "Engine", "make"]


def make(config: Mapping[str, Any], threads: int) -> Engine:
    """The engine that an ``engine`` section describes: class ``<Name>Engine`` of ``sweeps/engines/<name>.py``.

    Raises:
        UserError: an unknown engine, or a setting that it does not take.
    """
    from sweeps.schema import check_arguments

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
