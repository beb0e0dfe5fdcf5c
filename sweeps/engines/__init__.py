"""Engines: where cells run. One file each; `make` finds it by the name that conf/engine gives."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from sweeps.engines.protocol import Ended, Engine

__all__ = ["Ended", "Engine", "make"]


def make(config: Mapping[str, Any], threads: int) -> Engine:
    """The engine that an ``engine`` section describes: class ``<Name>Engine`` of ``sweeps/engines/<name>.py``."""
    settings = dict(config)
    name = settings.pop("name")
    module = importlib.import_module(f"sweeps.engines.{name}")
    engine: Engine = getattr(module, f"{name.capitalize()}Engine")(threads=threads, **settings)
    return engine
