"""What planning itself needs of a resolved config: sections, a seed, and plain numbers where it reckons with numbers.

Everything else is checked against the constructors (``schema``) before a cell runs; these would break the plan itself.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.errors import UserError
from sweeps.planning.definition_checks import LARGEST_SEED, is_seed

_SECTIONS = ("data", "method", "trainer", "evaluation", "engine", "logger", "paths")
_NUMBERS = (
    *("data.batch_size", "data.train_limit", "data.prompt.k", "trainer.max_epochs", "trainer.max_steps"),
    *("evaluation.limit", "engine.memory_gib", "engine.timeout_minutes", "engine.retries"),
)
"""What the plan or the driver reckons with; null where a section has none."""


def check_config(config: Mapping[str, Any]) -> None:
    """Refuses, by its key, what a plan cannot be made of.

    Raises:
        UserError: a section that is none, a seed that is none, text where a number is reckoned with.
    """
    for name in _SECTIONS:
        _section(config, name, name)
    if not is_seed(config.get("seed")):
        raise UserError(f"seed is {config.get('seed')!r}: give a whole number from 0 to {LARGEST_SEED}")
    threads = config.get("threads")
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise UserError(f"threads is {threads!r}: give a whole number from 1 up")
    outputs = config["paths"].get("outputs")
    if not isinstance(outputs, str) or not outputs:
        raise UserError(f"paths.outputs is {outputs!r}: give a folder")
    if not isinstance(config["engine"].get("name"), str):
        raise UserError(f"engine.name is {config['engine'].get('name')!r}: choose an engine, as in engine=local")
    _check_part(config, "")


def check_outputs(folder: Path, *, write: bool) -> None:
    """Refuses an outputs folder that is none, or that nothing can be written to where something has to be."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise UserError(f"paths.outputs is {folder}: {nearest} is a file, give a folder")
    if write and not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"paths.outputs is {folder}: {nearest} cannot be written to, give another folder")


def _check_part(config: Mapping[str, Any], at: str) -> None:
    """Checks a cell, a base or a source, whose keys begin with ``at``."""
    for key in _NUMBERS:
        node: Any = config
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        if node is not None and not _is_number(node):
            raise UserError(f"{at}{key} is {node!r}: give a number, or null")
    for name in ("data", "method", "model"):
        section = config.get(name)
        cost = section.get("cost") if isinstance(section, Mapping) else None
        if cost is not None and not isinstance(cost, Mapping):
            raise UserError(f"{at}{name}.cost is {cost!r}: give a mapping of figures, or null")
        for key, value in (cost or {}).items():
            if not _is_number(value):
                raise UserError(f"{at}{name}.cost.{key} is {value!r}: give a number")
    below = {"base": config["base"]} if config.get("base") is not None else {}
    sources = config.get("sources")
    if sources is not None and not isinstance(sources, Mapping):
        raise UserError(f"{at}sources is {sources!r}: give a mapping from names to sources, or null")
    below |= {f"sources.{name}": source for name, source in (sources or {}).items()}
    for name, part in below.items():
        if not isinstance(part, Mapping):
            raise UserError(f"{at}{name} is {part!r} and should be a section")
        for section in ("data", "method"):
            _section(part, section, f"{at}{name}.{section}")
        _check_part(part, f"{at}{name}.")


def _section(config: Mapping[str, Any], name: str, shown: str) -> None:
    if not isinstance(config.get(name), Mapping):
        raise UserError(f"{shown} is {config.get(name)!r} and should be a section: give {name}=<option>")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
