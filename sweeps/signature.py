"""Signatures: what a cell is, as a hash of its science, its data and its code.

Two signatures (ARCHITECTURE, "A cell and its run"). The *training signature* covers everything that shapes the trained
weights; the *evaluation signature* adds what is evaluated and how. Both leave out where and with what a cell runs
(paths, devices, engine, logger), every name that people give to sweeps and rows, and where files of code lie: what a
config builds counts by the last name of its ``_target_`` and by its code (``closure``). Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import json
import marshal
import math
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from data import scoring
from data.sources import DataNotFoundError, digest, folder_digest, hub_commit, locate, locate_weights, weights_digest
from sweeps import modules
from sweeps.closure import Closures, keep_read
from sweeps.errors import UserError
from sweeps.named_inputs import Input, named_inputs

ROOT = modules.ROOT
"""The project's root: the folder that holds ``data``, ``lightning_modules`` and ``sweeps``."""

INFRASTRUCTURE = frozenset({"engine", "logger", "paths", "sweep", "hydra"})
"""Top-level config keys that say where a cell runs and who is told of it: never part of a signature."""

PRESENTATION = frozenset({"cost", "label"})
"""Keys that are left out wherever they stand: priors for the plan, display names."""

PLACEMENT = frozenset({"accelerator", "devices", "strategy", "checkpoint_every", "log_every"})
"""Keys that are left out of a ``trainer``: where it runs, how often it saves and logs. Elsewhere such a name means
another thing: ``method.strategy`` of InfiFPO decides results."""

TRAINING_ENTRY_POINTS = ("lightning_modules.fitting",)
"""Modules that take part in every training although no config names them."""

SOURCES_ENTRY_POINTS = ("lightning_modules.authors",)
"""Modules that take part in every training with ``sources``."""

EVALUATION_ENTRY_POINTS = ("data.scoring",)
"""Modules that take part in every evaluation although no config names them."""

_LENGTH = 16
_WITHOUT_PLACEMENT = PRESENTATION | PLACEMENT


def canonical(value: Any, path: str = "config") -> Any:
    """Plain, stably serialisable form of ``value``; equal numbers are the same: 1.0 becomes 1, True stays True.

    Raises:
        UserError: a value that has no stable serialisation (an object, a NaN, a non-string key), by its name.
    """
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UserError(f"{path} is {value}: a signature needs finite numbers; write null or a finite value")
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise UserError(
                    f"{path} has the key {key!r} of type {type(key).__name__}: only text keys can be signed"
                )
        return {key: canonical(value[key], f"{path}.{key}") for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [canonical(item, f"{path}[{index}]") for index, item in enumerate(value)]
    raise UserError(
        f"{path} is a {type(value).__name__}, which has no stable text form: give a number, text, list or mapping"
    )


def hash_of(value: Any) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of the canonical JSON of ``value``."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


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
    """A ``_target_`` without the module that it lies in: "data.modules.RelationData" -> "RelationData"."""
    parts = str(target).split(".")
    begin = next((place for place, part in enumerate(parts) if part[:1].isupper()), len(parts) - 1)
    return ".".join(parts[begin:])


class _Part(NamedTuple):
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


class Signer:
    """Signs configs; looks up every input and every closure once, so that a thousand cells cost little more than one.

    What it has looked up it keeps: make a new one to see files that have changed since.

    Args:
        lenient: sign configs whose data or weights are not on this machine as well, under provisional names that no run
            carries; ``absent`` says what is missing. Without it such a config is refused, and a hub that has not been
            read on this machine is asked for its newest commit.
        root: where this project's code lies.
    """

    def __init__(self, *, lenient: bool = False, root: Path = ROOT) -> None:
        self._lenient = lenient
        self._digests: dict[Input, tuple[str, str]] = {}
        self._closures = Closures(root)
        self._parts: dict[tuple[str, bytes], _Part] = {}
        self._names: dict[tuple[bytes, str], str] = {}

    def inputs(self, config: Mapping[str, Any]) -> dict[str, str]:
        """What the data and weights that a config names are: ``{name: sha256}``, of hub data ``{name: commit}``.

        Raises:
            UserError: a file or weights that cannot be found, with the ways to get them.
        """
        return self._found(self._sections(config))

    def absent(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """One line for every input of a config that is not on this machine."""
        reasons = (self._digest(one)[1] for part in self._sections(config).values() for one in part.inputs)
        return tuple(dict.fromkeys(filter(None, reasons)))

    def _found(self, parts: Mapping[str, _Part]) -> dict[str, str]:
        found: dict[str, str] = {}
        for part in parts.values():
            for one in part.inputs:
                found[one.label], reason = self._digest(one)
                if reason and not self._lenient:
                    raise UserError(reason)
        return found

    def _digest(self, one: Input) -> tuple[str, str]:
        """Digest and "", or a stand-in and the reason for which there is none."""
        if one not in self._digests:
            try:
                if one.kind == "hub":
                    found = hub_commit(one.name, one.revision, ask=not self._lenient)
                elif one.kind == "weights":
                    found = weights_digest(locate_weights(one.name, one.revision))
                elif one.kind == "folder":
                    found = folder_digest(one.name)
                else:
                    found = digest(locate(one.name) if one.kind == "file" else one.name)
                self._digests[one] = (found, "")
            except (DataNotFoundError, FileNotFoundError) as error:
                self._digests[one] = ("absent", str(error))
            except ValueError as error:
                raise UserError(str(error)) from error
        return self._digests[one]

    def training(self, config: Mapping[str, Any]) -> str:
        """Name of the trained weights of a cell.

        Args:
            config: resolved cell config in which everything that depends on ``evaluation`` has been blanked (see
                ``plan.resolve``), so that decoding or metrics never reach the trained weights' name.
        """
        return self._name("training", config, lambda: self._training_key(config))

    def evaluation(self, config: Mapping[str, Any], training: str) -> str:
        """Name of the run of a cell, and so of its folder, from that of its trained weights."""
        return self._name(f"evaluation {training}", config, lambda: self._evaluation_key(config, training))

    def science(self, config: Mapping[str, Any]) -> str:
        """Name of a cell without its code: equal for runs of the same science under different versions of the code."""
        parts = self._sections(config)
        return hash_of({"science": _says(parts), "inputs": self._found(parts)})

    def _name(self, kind: str, config: Mapping[str, Any], key: Callable[[], dict[str, Any]]) -> str:
        """Hash of a key, made once for a config: cells share their bases and sources."""
        spelt = _spelt(config)
        if spelt is None:
            return hash_of(key())
        if (spelt, kind) not in self._names:
            self._names[spelt, kind] = hash_of(key())
            keep_read()
        return self._names[spelt, kind]

    def _training_key(self, config: Mapping[str, Any]) -> dict[str, Any]:
        parts = self._sections({key: value for key, value in config.items() if key != "evaluation"})
        texts = _texts(parts)
        code = {**self._code(parts, texts), "": self._closures.digest(_training_entries(config), texts)}
        return {"science": _says(parts), "inputs": self._found(parts), "code": code}

    def _evaluation_key(self, config: Mapping[str, Any], training: str) -> dict[str, Any]:
        parts = self._sections({"evaluation": config.get("evaluation")})
        texts = _texts(self._sections(config))
        scores = sorted(self._closures.digest([name], texts) for name in self.scores(config))
        entry = self._closures.digest(EVALUATION_ENTRY_POINTS, texts)
        code = {**self._code(parts, texts), "": entry, "scores": scores}
        return {"training": training, "science": _says(parts), "inputs": self._found(parts), "code": code}

    def scores(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Modules of the scores that the data of a config name (``scored_by``); of all, where they name none."""
        target = str((config.get("data") or {}).get("_target_", ""))
        reference = self._closures.modules.reference(target)
        return (self._closures.scores(*reference) if reference else ()) or scoring.lists_beside()

    def files(self, config: Mapping[str, Any]) -> dict[str, bytes]:
        """All files of code that the signatures of a config cover, by path, with their content."""
        parts = self._sections(config)
        found = {module for part in parts.values() for *_, module in part.code if module}
        entries = (*_training_entries(config), *EVALUATION_ENTRY_POINTS)
        return self._closures.files([*found, *entries, *self.scores(config)], _texts(parts))

    def _code(self, parts: Mapping[str, _Part], texts: frozenset[str]) -> dict[str, str]:
        """By place in a config, what is built or named there: digest of its code; of what is not own, its name."""
        return {
            place: text if module is None else self._closures.digest([module], texts)
            for part in parts.values()
            for place, text, module in part.code
        }

    def _sections(self, config: Mapping[str, Any]) -> dict[str, _Part]:
        """A config's sections, and every one of its ``sources``, each read once for all configs that have it."""
        left_out = INFRASTRUCTURE | PRESENTATION
        sections = {name: value for name, value in config.items() if name not in left_out}
        if isinstance(sections.get("sources"), Mapping):
            sections |= {f"sources.{name}": one for name, one in sections.pop("sources").items()}
        return {name: self._section(name, value) for name, value in sections.items()}

    def _section(self, name: str, value: Any) -> _Part:
        spelt = _spelt(value)
        if spelt is None:
            return self._read(name, value)
        if (name, spelt) not in self._parts:
            self._parts[name, spelt] = self._read(name, value)
        return self._parts[name, spelt]

    def _read(self, name: str, value: Any) -> _Part:
        value = _stripped(value, name)
        plain = canonical(self._told(value), f"config.{name}")
        code: list[tuple[str, str, str | None]] = []
        texts: set[str] = set()
        self._look(value, name, code, texts)
        return _Part(hash_of(plain), tuple(code), tuple(dict.fromkeys(named_inputs({name: value}))), frozenset(texts))

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
            return {
                key: own_name(item) if key == "_target_" else _marked(item) if key in whole else self._told(item)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self._told(item) for item in value]
        reference = self._closures.modules.reference(value) if isinstance(value, str) else None
        return reference[1] if reference else value


def _training_entries(config: Mapping[str, Any]) -> tuple[str, ...]:
    return (*TRAINING_ENTRY_POINTS, *(SOURCES_ENTRY_POINTS if config.get("sources") else ()))


def _spelt(value: Any) -> bytes | None:
    """Bytes that tell plain values apart, types included; None for what is no plain value."""
    try:
        return marshal.dumps(value, 2)
    except ValueError:
        return None


def _says(parts: Mapping[str, _Part]) -> dict[str, str]:
    return {name: part.says for name, part in parts.items()}


def _texts(parts: Mapping[str, _Part]) -> frozenset[str]:
    return frozenset().union(*(part.texts for part in parts.values()))


def _marked(value: Any) -> Any:
    """A value in which floats are not taken for whole numbers."""
    if isinstance(value, dict):
        return {key: _marked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item) for item in value]
    return f"the float {value!r}" if isinstance(value, float) and math.isfinite(value) else value


def inputs(config: Mapping[str, Any]) -> dict[str, str]:
    """Digests of all data files and weights that a config names, looked up now; see ``Signer.inputs``."""
    return Signer().inputs(config)


def training_signature(config: Mapping[str, Any]) -> str:
    """Name of the trained weights of a (blanked) cell config, from what is on disk now."""
    return Signer().training(config)


def evaluation_signature(config: Mapping[str, Any], training: str) -> str:
    """Name of the run of a cell, from what is on disk now."""
    return Signer().evaluation(config, training)


def science_signature(config: Mapping[str, Any]) -> str:
    """Name of a cell without its code, from what is on disk now."""
    return Signer().science(config)
