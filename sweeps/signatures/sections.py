"""What of a config decides results, section by section: values, code and inputs that it names."""

from __future__ import annotations

import marshal
import math
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from sweeps.signatures.canonical import canonical, hash_of
from sweeps.signatures.closure import Closures
from sweeps.signatures.named_inputs import Input, named_inputs

INFRASTRUCTURE = frozenset({"engine", "logger", "paths", "sweep", "hydra"})
"""Top-level config keys that say where a cell runs and who is told of it: never part of a signature."""

PRESENTATION = frozenset({"cost", "label"})
"""Keys that are left out wherever they stand: priors for the plan, display names."""

PLACEMENT = frozenset({"accelerator", "devices", "strategy", "checkpoint_every", "log_every"})
"""Keys that are left out of a ``trainer``: where it runs, how often it saves and logs. Elsewhere such a name means
another thing: ``method.strategy`` of InfiFPO decides results."""

_WITHOUT_PLACEMENT = PRESENTATION | PLACEMENT


def science(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a resolved config that decides results: no infrastructure, no presentation, no places of code."""
    return {name: _shortened(value) for name, value in decisive(config).items()}


def decisive(config: Mapping[str, Any]) -> dict[str, Any]:
    """As ``science``, with every ``_target_`` as it is."""
    left_out = INFRASTRUCTURE | PRESENTATION
    return {name: _stripped(value, name) for name, value in config.items() if name not in left_out}


def _stripped(value: Any, name: str = "") -> Any:
    if isinstance(value, (str, int, float)) or value is None:  # nearly all; the test for a mapping is slow
        return value
    if isinstance(value, Mapping):
        without = _WITHOUT_PLACEMENT if name == "trainer" else PRESENTATION
        return {key: _stripped(item, key) for key, item in value.items() if key not in without}
    return [_stripped(item) for item in value] if isinstance(value, (list, tuple)) else value


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: own_name(item) if key == "_target_" else _shortened(item) for key, item in value.items()}
    return [_shortened(item) for item in value] if isinstance(value, list) else value


@cache
def own_name(target: Any) -> Any:
    """A ``_target_`` without its module: "data.relations.relation_data.RelationData" -> "RelationData"."""
    parts = str(target).split(".")
    begin = next((place for place, part in enumerate(parts) if part[:1].isupper()), len(parts) - 1)
    return ".".join(parts[begin:])


class Section(NamedTuple):
    """One section of a config as a signature takes it.

    Attributes:
        says: hash of its values, without places of own code.
        code: what could name code: place, text, and the own module that it names.
        inputs: that it names.
        texts: in it, keys included.
    """

    says: str
    code: tuple[tuple[str, str, str | None], ...]
    inputs: tuple[Input, ...]
    texts: frozenset[str]


class Sections:
    """Reads configs; every section once for all configs that have it.

    Args:
        closures: tell what code a text names.
    """

    def __init__(self, closures: Closures) -> None:
        self._closures = closures
        self._read_before: dict[tuple[str, bytes], Section] = {}

    def of(self, config: Mapping[str, Any]) -> dict[str, Section]:
        """A config's sections, and every one of its ``sources``, each read once for all configs that have it."""
        left_out = INFRASTRUCTURE | PRESENTATION
        sections = {name: value for name, value in config.items() if name not in left_out}
        if isinstance(sections.get("sources"), Mapping):
            sections |= {f"sources.{name}": one for name, one in sections.pop("sources").items()}
        return {name: self._section(name, value) for name, value in sections.items()}

    def _section(self, name: str, value: Any) -> Section:
        spelt = config_bytes(value)
        if spelt is None:
            return self._read(name, value)
        if (name, spelt) not in self._read_before:
            self._read_before[name, spelt] = self._read(name, value)
        return self._read_before[name, spelt]

    def _read(self, name: str, value: Any) -> Section:
        value = _stripped(value, name)
        plain = canonical(self._told(value), f"config.{name}")
        code: list[tuple[str, str, str | None]] = []
        texts: set[str] = set()
        self._look(value, name, code, texts)
        return Section(hash_of(plain), tuple(code), tuple(dict.fromkeys(named_inputs({name: value}))), frozenset(texts))

    def _look(self, value: Any, place: str, code: list[tuple[str, str, str | None]], texts: set[str]) -> None:
        if isinstance(value, dict):
            texts.update(map(str, value))
            for key, item in value.items():
                self._look(item, f"{place}.{key}", code, texts)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self._look(item, f"{place}.{index}", code, texts)
        elif isinstance(value, str):
            texts.add(value)
            reference = self._closures.modules.reference(value)
            if reference is not None or place.endswith("._target_"):
                code.append((place, value, reference[0] if reference else None))

    def _told(self, value: Any) -> Any:
        """A config without the places of own code, and with 1 and 1.0 apart where a constructor may tell them apart."""
        if isinstance(value, dict):
            reference = self._closures.modules.reference(str(value.get("_target_", "")))
            whole = self._closures.whole_parameters(*reference) if reference else frozenset()
            return {key: _marked(item) if key in whole else self._told(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._told(item) for item in value]
        reference = self._closures.modules.reference(value) if isinstance(value, str) else None
        return reference[1] if reference else value


def config_bytes(value: Any) -> bytes | None:
    """Bytes that tell plain values apart, types included; None for what is no plain value."""
    try:
        return marshal.dumps(value, 2)
    except ValueError:
        return None


def _marked(value: Any) -> Any:
    """A value in which floats are not taken for whole numbers."""
    if isinstance(value, dict):
        return {key: _marked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item) for item in value]
    return f"the float {value!r}" if isinstance(value, float) and math.isfinite(value) else value
