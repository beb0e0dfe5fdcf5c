"""Signatures: what a cell is, as a hash of its science, its data and its code.

Two signatures (ARCHITECTURE, "A cell and its run"). The *training signature* covers everything that shapes the trained
weights; the *evaluation signature* adds what is evaluated and how. Both leave out where and with what a cell runs
(paths, devices, engine, logger), every name that people give to sweeps and rows, and where files of code lie: what a
config builds counts by the last name of its ``_target_`` and by its code (``closure``). Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data.files.sources import (
    DataNotFoundError,
    digest,
    folder_digest,
    hub_commit,
    locate,
    locate_weights,
    weights_digest,
)
from data.scoring import registry
from sweeps.errors import UserError
from sweeps.signatures import modules, readings
from sweeps.signatures.canonical import canonical as canonical
from sweeps.signatures.canonical import hash_of as hash_of
from sweeps.signatures.closure import Closures
from sweeps.signatures.named_inputs import Input
from sweeps.signatures.sections import INFRASTRUCTURE as INFRASTRUCTURE
from sweeps.signatures.sections import PLACEMENT as PLACEMENT
from sweeps.signatures.sections import PRESENTATION as PRESENTATION
from sweeps.signatures.sections import Section, Sections, config_bytes
from sweeps.signatures.sections import science as science

ROOT = modules.ROOT
"""The project's root: the folder that holds ``data``, ``lightning_modules`` and ``sweeps``."""

TRAINING_ENTRY_POINTS = ("lightning_modules.training.fit",)
"""Modules that take part in every training although no config names them."""

SOURCES_ENTRY_POINTS = ("lightning_modules.preference.source_models",)
"""Modules that take part in every training with ``sources``."""

EVALUATION_ENTRY_POINTS = ("data.scoring.registry",)
"""Modules that take part in every evaluation although no config names them."""


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
        self._sections = Sections(self._closures)
        self._names: dict[tuple[bytes, str], str] = {}

    def inputs(self, config: Mapping[str, Any]) -> dict[str, str]:
        """What the data and weights that a config names are: ``{name: sha256}``, of hub data ``{name: commit}``.

        Raises:
            UserError: a file or weights that cannot be found, with the ways to get them.
        """
        return self._found(self._sections.of(config))

    def absent(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """One line for every input of a config that is not on this machine."""
        reasons = (self._digest(one)[1] for part in self._sections.of(config).values() for one in part.inputs)
        return tuple(dict.fromkeys(filter(None, reasons)))

    def _found(self, parts: Mapping[str, Section]) -> dict[str, str]:
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
        parts = self._sections.of(config)
        return hash_of({"science": _says(parts), "inputs": self._found(parts)})

    def _name(self, kind: str, config: Mapping[str, Any], key: Callable[[], dict[str, Any]]) -> str:
        """Hash of a key, made once for a config: cells share their bases and sources."""
        spelt = config_bytes(config)
        if spelt is None:
            return hash_of(key())
        if (spelt, kind) not in self._names:
            self._names[spelt, kind] = hash_of(key())
            readings.write()
        return self._names[spelt, kind]

    def _training_key(self, config: Mapping[str, Any]) -> dict[str, Any]:
        parts = self._sections.of({key: value for key, value in config.items() if key != "evaluation"})
        texts = _texts(parts)
        code = {**self._code(parts, texts), "": self._closures.digest(_training_entries(config), texts)}
        return {"science": _says(parts), "inputs": self._found(parts), "code": code}

    def _evaluation_key(self, config: Mapping[str, Any], training: str) -> dict[str, Any]:
        parts = self._sections.of({"evaluation": config.get("evaluation")})
        texts = _texts(self._sections.of(config))
        scores = sorted(self._closures.digest([name], texts) for name in self.scores(config))
        entry = self._closures.digest(EVALUATION_ENTRY_POINTS, texts)
        code = {**self._code(parts, texts), "": entry, "scores": scores}
        return {"training": training, "science": _says(parts), "inputs": self._found(parts), "code": code}

    def scores(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Modules of the scores that the data of a config name (``scored_by``); of all, where they name none."""
        target = str((config.get("data") or {}).get("_target_", ""))
        reference = self._closures.modules.reference(target)
        return (self._closures.scores(*reference) if reference else ()) or registry.lists_beside()

    def files(self, config: Mapping[str, Any]) -> dict[str, bytes]:
        """All files of code that the signatures of a config cover, by path, with their content."""
        parts = self._sections.of(config)
        found = {module for part in parts.values() for *_, module in part.code if module}
        entries = (*_training_entries(config), *EVALUATION_ENTRY_POINTS)
        return self._closures.files([*found, *entries, *self.scores(config)], _texts(parts))

    def _code(self, parts: Mapping[str, Section], texts: frozenset[str]) -> dict[str, str]:
        """By place in a config, what is built or named there: digest of its code; of what is not own, its name."""
        return {
            place: text if module is None else self._closures.digest([module], texts)
            for part in parts.values()
            for place, text, module in part.code
        }


def _says(parts: Mapping[str, Section]) -> dict[str, str]:
    return {name: part.says for name, part in parts.items()}


def _texts(parts: Mapping[str, Section]) -> frozenset[str]:
    return frozenset().union(*(part.texts for part in parts.values()))


def _training_entries(config: Mapping[str, Any]) -> tuple[str, ...]:
    return (*TRAINING_ENTRY_POINTS, *(SOURCES_ENTRY_POINTS if config.get("sources") else ()))


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
