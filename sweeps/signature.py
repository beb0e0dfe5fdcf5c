"""Signatures: what a cell is, as a hash of its science, its data and its code.

Two signatures (ARCHITECTURE, "A cell and its run"). The *training signature* covers everything that shapes the trained
weights; the *evaluation signature* adds what is evaluated and how. Both leave out where and with what a cell runs
(paths, devices, engine, logger) and every name that people give to sweeps and rows. Nothing here imports torch.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from data.sources import DataNotFoundError, digest, locate, locate_weights, weights_digest
from sweeps.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
"""The project's root: the folder that holds ``data``, ``lightning_modules`` and ``sweeps``."""

INFRASTRUCTURE = frozenset({"engine", "logger", "paths", "sweep", "hydra"})
"""Top-level config keys that say where a cell runs and who is told of it: never part of a signature."""

PRESENTATION = frozenset({"cost", "label"})
"""Keys that are left out wherever they stand: priors for the plan, display names."""

PLACEMENT = frozenset({"accelerator", "devices", "strategy", "checkpoint_every"})
"""Keys that are left out of a ``trainer``: where it runs, how often it saves. Elsewhere such a name means another
thing: ``method.strategy`` of InfiFPO decides results."""

TRAINING_ENTRY_POINTS = ("lightning_modules.fitting",)
"""Modules that take part in every training although no config names them."""

EVALUATION_ENTRY_POINTS = ("data.scoring",)
"""Modules that take part in every evaluation although no config names them."""

_PACKAGES = ("data", "lightning_modules")
_LENGTH = 16


def canonical(value: Any, path: str = "config") -> Any:
    """Plain, stably serialisable form of ``value``; floats with an integral value stay floats.

    Raises:
        UserError: a value that has no stable serialisation (an object, a NaN, a non-string key), by its name.
    """
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UserError(f"{path} is {value}: a signature needs finite numbers; write null or a finite value")
        return value
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
    """The part of a resolved config that decides results: no infrastructure, no presentation."""

    def strip(value: Any, without: frozenset[str] = PRESENTATION) -> Any:
        if isinstance(value, Mapping):
            return {
                key: strip(item, PRESENTATION | PLACEMENT if key == "trainer" else PRESENTATION)
                for key, item in value.items()
                if key not in without
            }
        if isinstance(value, (list, tuple)):
            return [strip(item) for item in value]
        return value

    config = {key: value for key, value in config.items() if key not in INFRASTRUCTURE}
    stripped: dict[str, Any] = strip(config)
    return stripped


def nodes(config: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping inside ``config``, itself first."""
    if isinstance(config, Mapping):
        yield config
        for value in config.values():
            yield from nodes(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from nodes(value)


@cache
def _source(path: Path, modified_ns: int) -> tuple[str, tuple[str, ...]]:
    """Digest of a file without its comments and docstrings, and the modules that it imports."""
    tree = ast.parse(path.read_bytes(), filename=str(path))
    imported: list[str] = []
    for node in ast.walk(tree):
        if getattr(node, "type_params", None) == []:
            # A field that Python 3.12 brought, the last of its nodes: without it both versions print the same.
            del node.type_params  # type: ignore[attr-defined]
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # Text that stands alone as a statement does nothing, so a changed docstring changes no result.
            node.body = [  # type: ignore[attr-defined]
                item
                for item in body
                if not (
                    isinstance(item, ast.Expr)
                    and isinstance(item.value, ast.Constant)
                    and isinstance(item.value.value, str)
                )
            ]
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    text = ast.dump(tree, annotate_fields=False)
    return hashlib.sha256(text.encode()).hexdigest(), tuple(imported)


def _module_file(name: str, root: Path) -> Path | None:
    if name.split(".")[0] not in _PACKAGES:
        return None
    stem = root.joinpath(*name.split("."))
    for path in (stem.with_suffix(".py"), stem / "__init__.py"):
        if path.is_file():
            return path
    return None


def import_closure(modules: tuple[str, ...], root: Path = ROOT) -> dict[str, str]:
    """Digests of the project files that ``modules`` import, directly or not: ``{relative path: sha256}``.

    Imports inside functions count too. Comments, docstrings and formatting do not change a digest.
    """
    closure: dict[str, str] = {}
    queue = list(modules)
    while queue:
        path = _module_file(queue.pop(), root)
        if path is None:
            continue
        relative = path.relative_to(root).as_posix()
        if relative in closure:
            continue
        closure[relative], imported = _source(path, path.stat().st_mtime_ns)
        queue += imported
    return dict(sorted(closure.items()))


def _targets(config: Any) -> tuple[str, ...]:
    """Modules of all ``_target_`` entries."""
    found = {str(node["_target_"]).rpartition(".")[0] for node in nodes(config) if "_target_" in node}
    return tuple(sorted(found))


class Signer:
    """Signs configs; looks up every input and every closure once, so that a thousand cells cost little more than one.

    What it has looked up it keeps: make a new one to see files that have changed since.

    Args:
        lenient: sign configs whose data or weights are not on this machine as well, under provisional names that no run
            carries; ``absent`` says what is missing. Without it such a config is refused.
    """

    def __init__(self, *, lenient: bool = False) -> None:
        self._lenient = lenient
        self._digests: dict[tuple[str, str, str | None], tuple[str, str]] = {}
        self._closures: dict[tuple[str, ...], dict[str, str]] = {}

    def inputs(self, config: Mapping[str, Any]) -> dict[str, str]:
        """Digests of all data files and weights that a config names: ``{name: sha256}``.

        Raises:
            UserError: a file or weights that cannot be found, with the ways to get them.
        """
        found: dict[str, str] = {}
        for kind, name, revision in _named(config):
            found[name], reason = self._digest(kind, name, revision)
            if reason and not self._lenient:
                raise UserError(reason)
        return found

    def absent(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """One line for every input of a config that is not on this machine."""
        reasons = (self._digest(*named)[1] for named in _named(config))
        return tuple(dict.fromkeys(filter(None, reasons)))

    def _digest(self, kind: str, name: str, revision: str | None) -> tuple[str, str]:
        """Digest and "", or a stand-in and the reason for which there is none."""
        key = (kind, name, revision)
        if key not in self._digests:
            try:
                found = digest(locate(name)) if kind == "file" else weights_digest(locate_weights(name, revision))
                self._digests[key] = (found, "")
            except (DataNotFoundError, FileNotFoundError) as error:
                self._digests[key] = ("absent", str(error))
            except ValueError as error:
                raise UserError(str(error)) from error
        return self._digests[key]

    def closure(self, modules: tuple[str, ...]) -> dict[str, str]:
        """``import_closure`` of ``modules``."""
        if modules not in self._closures:
            self._closures[modules] = import_closure(modules)
        return self._closures[modules]

    def training_key(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """What the training signature hashes.

        Args:
            config: resolved cell config in which everything that depends on ``evaluation`` has been blanked (see
                ``plan.resolve``), so that decoding or metrics never reach the trained weights' name.
        """
        scientific = science({key: value for key, value in config.items() if key != "evaluation"})
        return {
            "science": scientific,
            "inputs": self.inputs(scientific),
            "code": self.closure((*_targets(scientific), *TRAINING_ENTRY_POINTS)),
        }

    def training(self, config: Mapping[str, Any]) -> str:
        """Name of the trained weights of a (blanked) cell config."""
        return hash_of(self.training_key(config))

    def evaluation_key(self, config: Mapping[str, Any], training: str) -> dict[str, Any]:
        """What the evaluation signature, and with it the run folder's name, hashes."""
        evaluation = science({"evaluation": config.get("evaluation")})
        return {
            "training": training,
            "science": evaluation,
            "inputs": self.inputs(evaluation),
            "code": self.closure((*_targets(evaluation), *EVALUATION_ENTRY_POINTS)),
        }

    def evaluation(self, config: Mapping[str, Any], training: str) -> str:
        """Name of the run of a cell."""
        return hash_of(self.evaluation_key(config, training))

    def science(self, config: Mapping[str, Any]) -> str:
        """Name of a cell without its code: equal for runs of the same science under different versions of the code."""
        scientific = science(config)
        return hash_of({"science": scientific, "inputs": self.inputs(scientific)})


def _named(config: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """Every data file ("file", name, None) and all weights ("weights", name, revision) that a config names."""
    for node in nodes(config):
        files = node.get("files")
        for name in files.values() if isinstance(files, Mapping) else [files]:
            if isinstance(name, str):
                yield "file", name, None
        if isinstance(node.get("weights"), str):
            yield "weights", node["weights"], node.get("revision")


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
