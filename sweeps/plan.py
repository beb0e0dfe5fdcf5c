"""Planning: from a sweep or a list of overrides to fully resolved, signed cells. Writes nothing, imports no torch.

Every cell is composed by Hydra. Cells that pick the same config groups share one composition; their plain value
overrides are laid on a copy of it, which is what Hydra itself does after composing. A test holds that both ways agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweeps import signature
from sweeps.definition import Definition
from sweeps.errors import UserError, nearest

CONF = signature.ROOT / "conf"
_BLANK = "<decided by the evaluation>"


@dataclass(frozen=True)
class Cell:
    """One point of a grid: one fully resolved config and its names.

    Attributes:
        row: the table row that the cell belongs to ("" for a cell that was asked for by hand).
        seed: its seed.
        overrides: the Hydra overrides that make it.
        config: the resolved config, plain values only.
        blanked: the same with everything that depends on the evaluation blanked; names the trained weights.
        training: training signature; ``signature``: evaluation signature, the run folder's name;
        science: signature without code.
        needs: signatures of the trained weights that the cell needs or makes: its bases', the deepest first, its own.
    """

    row: str
    seed: int
    overrides: tuple[str, ...]
    config: Mapping[str, Any]
    blanked: Mapping[str, Any]
    training: str
    signature: str
    science: str
    needs: tuple[str, ...] = ()


def groups() -> dict[str, list[str]]:
    """Config groups and their options, read from the conf folder."""
    found: dict[str, list[str]] = {}
    for path in sorted(CONF.rglob("*.yaml")):
        group = path.parent.relative_to(CONF).as_posix()
        if group != ".":
            found.setdefault(group, []).append(path.stem)
    return found


class Composer:
    """Composes cell configs from override lists, each distinct choice of groups once."""

    def __init__(self) -> None:
        self._parser = OverridesParser.create()
        self._groups = groups()
        self._parsed: dict[str, list[Override]] = {}
        self._composed: dict[tuple[str, ...], dict[str, Any]] = {}

    def compose(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The config that ``overrides`` make, as plain values with its interpolations unresolved.

        Raises:
            UserError: an override that does not parse, or names a group, option or key that is not there.
        """
        grouped: list[str] = []
        values: list[Override] = []
        for override in self._parse(overrides):
            if override.is_sweep_override():
                raise UserError(f"{override.input_line!r} names several values: one cell takes one; use -m or a sweep")
            plain = override.package is None and not override.is_delete() and not override.is_add()
            if plain and override.key_or_group not in self._groups:
                values.append(override)
            else:
                self._check_option(override)
                grouped.append(str(override.input_line))
        config: dict[str, Any] = _copied(self._compose_groups(tuple(grouped)))
        for override in values:
            self._apply(config, override)
        return config

    def _parse(self, overrides: Sequence[str]) -> list[Override]:
        parsed = []
        for text in overrides:
            if text not in self._parsed:
                if text.startswith("="):
                    raise UserError(f"{text!r} is no override: write key=value")
                try:
                    self._parsed[text] = self._parser.parse_overrides([text])
                except HydraException as error:
                    raise UserError(f"{text!r} is no override ({_first_line(error)}): write key=value") from error
            parsed += self._parsed[text]
        return parsed

    def _check_option(self, override: Override) -> None:
        group, option = override.key_or_group, override.value()
        if group not in self._groups:
            if override.package is not None or not (override.is_add() or override.is_delete()):
                raise UserError(f"no config group is called {group!r}: {nearest(group, self._groups)}")
            return
        if isinstance(option, (list, dict)):
            raise UserError(f"{override.input_line} gives {group} more than a name: it takes one of its options")
        if option is not None and str(option) not in self._groups[group]:
            raise UserError(f"{group} has no option {str(option)!r}: {nearest(str(option), self._groups[group])}")

    def _compose_groups(self, overrides: tuple[str, ...]) -> dict[str, Any]:
        if overrides not in self._composed:
            try:
                if GlobalHydra.instance().is_initialized():
                    composed = compose("config", overrides=list(overrides))
                else:
                    with initialize_config_dir(str(CONF), version_base=None):
                        composed = compose("config", overrides=list(overrides))
            except (HydraException, OmegaConfBaseException) as error:
                raise UserError(f"{' '.join(overrides)}: {_first_line(error)}") from error
            plain = OmegaConf.to_container(composed, resolve=False)
            assert isinstance(plain, dict)
            self._composed[overrides] = plain  # type: ignore[assignment]
        return self._composed[overrides]

    def _apply(self, config: dict[str, Any], override: Override) -> None:
        key, value, node = override.key_or_group, override.value(), config
        *path, last = key.split(".")
        for depth, part in enumerate((*path, last)):
            if not isinstance(node, dict) or part not in node:
                where = ".".join(path[:depth]) or "the config"
                choices = list(node) if isinstance(node, dict) else []
                choices += [] if depth else list(self._groups)
                raise UserError(f"unknown key {key!r}: {where} has no {part!r}; {nearest(part, choices)}")
            if depth < len(path):
                node = node[part]
        if isinstance(node[last], dict):
            if value is not None and not isinstance(value, dict):
                raise UserError(
                    f"{key}={value!r} replaces a whole section by one value; it has {', '.join(node[last])}"
                )
            value = value if value is None else {**node[last], **value}
        node[last] = value


def _copied(value: Any) -> Any:
    """Deep copy of plain values, several times faster than ``copy.deepcopy``."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")


_REFERENCE = re.compile(r"\$\{(\.*)([\w.]+)\}")
"""An interpolation of one key, absolute (``${seed}``) or relative (``${..seed}``), that is the whole value."""


class _Resolver:
    """Resolves whole-value references in plain configs; whatever else OmegaConf can do is left to OmegaConf."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._open: set[tuple[str, ...]] = set()

    def value(self, raw: Any, path: tuple[str, ...]) -> Any:
        """``raw``, which stands at ``path``, with everything inside it resolved."""
        if isinstance(raw, dict):
            return {key: self.value(item, (*path, str(key))) for key, item in raw.items()}
        if isinstance(raw, list):
            return [self.value(item, (*path, str(index))) for index, item in enumerate(raw)]
        if not isinstance(raw, str) or "${" not in raw:
            if raw == "???":
                raise UserError(f"{'.'.join(path)} has no value: give one, {'.'.join(path)}=...")
            return raw
        found = _REFERENCE.fullmatch(raw)
        if found is None:
            raise LookupError(raw)
        dots, keys = found.groups()
        # One dot is the section that holds the key, each further dot one section up; no dot is the root.
        start = path[: len(path) - len(dots)] if dots else ()
        target = (*start, *keys.split("."))
        if target in self._open:
            raise UserError(f"{'.'.join(path)} refers to itself through {raw}: break the circle")
        node: Any = self._config
        for part in target:
            if isinstance(node, str) and "${" in node:
                raise LookupError(raw)
            if not isinstance(node, dict) or part not in node:
                raise UserError(f"{'.'.join(path)} refers to {raw}, which is not there")
            node = node[part]
        self._open.add(target)
        try:
            return self.value(node, target)
        finally:
            self._open.discard(target)


def resolve(config: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config with all interpolations resolved, and the same with all that depends on ``evaluation`` blanked."""
    blanked = {**config, "evaluation": dict.fromkeys(config.get("evaluation") or {}, _BLANK)}
    return _resolved(config), _resolved(blanked)


def _resolved(config: dict[str, Any]) -> dict[str, Any]:
    try:
        try:
            return {key: value for key, value in _Resolver(config).value(config, ()).items()}
        except LookupError:
            resolved = OmegaConf.to_container(OmegaConf.create(config), resolve=True, throw_on_missing=True)
            assert isinstance(resolved, dict)
            return resolved  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise UserError(f"the config does not resolve: {_first_line(error)}") from error


class Planner:
    """Makes cells; keeps what their compositions, files and closures have in common."""

    def __init__(self) -> None:
        self._composer = Composer()

    def cell(self, overrides: Sequence[str], *, row: str = "", seed: int | None = None) -> Cell:
        """The signed cell that ``overrides`` (and ``seed``, where given) make."""
        full = tuple(overrides) if seed is None else (*overrides, f"seed={seed}")
        config, blanked = resolve(self._composer.compose(full))
        training = signature.training_signature(blanked)
        needs = tuple(signature.training_signature(base) for base in bases(blanked))
        if (config.get("method") or {}).get("tune", True):
            needs = (*needs, training)
        return Cell(
            row=row,
            seed=int(config["seed"]),
            overrides=full,
            config=config,
            blanked=blanked,
            training=training,
            signature=signature.evaluation_signature(config, training),
            science=signature.science_signature(config),
            needs=needs,
        )

    def sweep(
        self, definition: Definition, scale: str, extra: Sequence[str] = (), seeds: Sequence[int] | None = None
    ) -> list[Cell]:
        """All cells of a sweep at a scale, in table order. A cell that two rows share appears under both."""
        cells = []
        for row, overrides, seed in definition.points(scale, seeds):
            try:
                cells.append(self.cell((f"scale={scale}", *overrides, *extra), row=row, seed=seed))
            except UserError as error:
                raise UserError(f"sweep {definition.name}, row {row!r}: {error}") from error
        return cells


def bases(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The configs that a config starts from, the deepest first: a base may itself have a base."""
    base = config.get("base")
    return [*bases(base), base] if base else []


def unique(cells: Iterable[Cell]) -> list[Cell]:
    """Cells without those that share a signature with an earlier one: a shared cell runs once."""
    return list({cell.signature: cell for cell in reversed(list(cells))}.values())[::-1]
