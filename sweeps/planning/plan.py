"""Planning: from a sweep or a list of overrides to fully resolved, signed cells. Writes nothing, imports no torch.

Cells that pick the same config groups share one composition; their plain value overrides are laid on a copy of it,
which is what Hydra itself does after composing. ``compose.py`` composes Hydra's everyday features without Hydra, and
plain ``key=value`` texts are parsed here; both hand everything else to Hydra, which is imported only then. Tests hold
that all ways agree.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.errors import UserError, nearest
from sweeps.planning.compose import Beyond, PlainComposer, copied
from sweeps.planning.definition import Definition
from sweeps.planning.definition_checks import check_scores
from sweeps.planning.overridden import key_of, row_name
from sweeps.planning.plan_checks import check_config
from sweeps.planning.reach import refuse_unread
from sweeps.signatures import signature

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
        absent: one line for each of its inputs that is not on this machine; its signatures are provisional then.
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
    absent: tuple[str, ...] = ()


FOLDERED = ("base",)
"""Groups whose options lie in folders, one a paper (base=re/fewrel): the folders are no groups of their own."""


def groups() -> dict[str, list[str]]:
    """Config groups and their options, read from the conf folder."""
    found: dict[str, list[str]] = {}
    for path in sorted(CONF.rglob("*.yaml")):
        group, _, option = path.relative_to(CONF).with_suffix("").as_posix().rpartition("/")
        if group.partition("/")[0] in FOLDERED:
            group, _, option = f"{group}/{option}".partition("/")
        if group:
            found.setdefault(group, []).append(option)
    return found


_KEY = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*|[A-Za-z_]\w*(?:/[A-Za-z_]\w*)*")
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+")
_TEXT = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.\-]*")
_WORDS = {"true": True, "false": False, "null": None}


@dataclass(frozen=True)
class Override:
    """A parsed override of one value.

    Attributes:
        key: a group or a dotted key; ``package``: what stands behind ``@``.
        plain: it changes what is there, as ``key=value`` does: no ``+``, no ``~``.
    """

    text: str
    key: str
    value: Any
    package: str | None = None
    plain: bool = True


def parse_plain(text: str) -> Override | None:
    """Reads ``key=value`` for names, paths, numbers, booleans and null as Hydra does; None where Hydra has to."""
    key, equals, value = text.partition("=")
    if not equals or not _KEY.fullmatch(key):
        return None
    if _WHOLE.fullmatch(value):
        return Override(text, key, int(value))
    if _DECIMAL.fullmatch(value):
        return Override(text, key, float(value))
    if not _TEXT.fullmatch(value) or value.lower() in ("inf", "nan"):
        return None
    if value.lower() in _WORDS:
        return Override(text, key, _WORDS[value.lower()])
    return Override(text, key, value)


def split_choices(overrides: Sequence[str]) -> list[tuple[str, ...]] | None:
    """The override lists that ``-m`` makes of ``key=a,b,c``, as Hydra's basic sweeper orders them.

    Returns:
        None where it takes Hydra: ranges, globs, quotes, parameters that a config gives to the sweeper.
    """
    axes = []
    for text in overrides:
        key, equals, values = text.partition("=")
        points = [f"{key}={value}" for value in values.split(",")]
        if not equals or key.split(".")[0] == "hydra" or not all(map(parse_plain, points)):
            return None
        axes.append(points)
    texts = (path.read_text(encoding="utf-8") for path in CONF.rglob("*.yaml"))
    if any(re.search(r"^\s*params\s*:", text, re.MULTILINE) for text in texts):
        return None
    return list(itertools.product(*axes))


def _parse_with_hydra(text: str) -> Override:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if text.startswith("="):
        raise UserError(f"{text!r} is no override: write key=value")
    try:
        (found,) = OverridesParser.create().parse_overrides([text])
    except HydraException as error:
        raise UserError(f"{text!r} is no override ({_first_line(error)}): write key=value") from error
    if found.is_sweep_override():
        raise UserError(f"{text!r} names several values: one cell takes one; use -m or a sweep")
    return Override(
        text, found.key_or_group, found.value(), found.package, plain=not found.is_delete() and not found.is_add()
    )


class Composer:
    """Composes cell configs from override lists, each distinct choice of groups once."""

    def __init__(self) -> None:
        self.groups = groups()
        self._plain = PlainComposer(CONF)
        self._parsed: dict[str, Override] = {}
        self._composed: dict[tuple[str, ...], dict[str, Any]] = {}
        self.by_hydra = 0
        """How many compositions were left to Hydra."""

    def compose(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The config that ``overrides`` make, as plain values with its interpolations unresolved.

        Raises:
            UserError: an override that does not parse, or names a group, option or key that is not there.
        """
        grouped: list[Override] = []
        values: list[Override] = []
        for text in overrides:
            if text not in self._parsed:
                self._parsed[text] = parse_plain(text) or _parse_with_hydra(text)
            override = self._parsed[text]
            if override.plain and override.package is None and override.key not in self.groups:
                values.append(override)
            else:
                self._check_option(override)
                grouped.append(override)
        config: dict[str, Any] = copied(self._compose_groups(grouped))
        for override in values:
            self._apply(config, override)
        return config

    def _check_option(self, override: Override) -> None:
        group, option = override.key, override.value
        if group not in self.groups:
            if override.package is not None or override.plain:
                raise UserError(f"no config group is called {group!r}: {nearest(group, self.groups)}")
            return
        if isinstance(option, (list, dict)):
            raise UserError(f"{override.text} gives {group} more than a name: it takes one of its options")
        if option is None and not override.text.startswith("~"):
            raise UserError(f"{override.text} leaves {group} without one: {nearest('', self.groups[group])}")
        if option is not None and str(option) not in self.groups[group]:
            raise UserError(f"{group} has no option {str(option)!r}: {nearest(str(option), self.groups[group])}")

    def _compose_groups(self, overrides: Sequence[Override]) -> dict[str, Any]:
        texts = tuple(override.text for override in overrides)
        if texts not in self._composed:
            try:
                if hydra_is_running() or not all(each.plain and isinstance(each.value, str) for each in overrides):
                    raise Beyond("overrides of the defaults list itself")
                choices = {each.text.partition("=")[0]: each.value for each in overrides}
                self._composed[texts] = self._plain.compose(choices)
            except Beyond:
                self._composed[texts] = self._compose_with_hydra(texts)
        return self._composed[texts]

    def _compose_with_hydra(self, overrides: tuple[str, ...]) -> dict[str, Any]:
        from hydra import compose, initialize_config_dir
        from hydra.errors import HydraException
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        self.by_hydra += 1
        try:
            if hydra_is_running():
                composed = compose("config", overrides=list(overrides))
            else:
                with initialize_config_dir(str(CONF), version_base=None):
                    composed = compose("config", overrides=list(overrides))
        except (HydraException, OmegaConfBaseException, ValueError, TypeError) as error:
            raise UserError(f"{' '.join(overrides)}: {_first_line(error)}") from error
        plain = OmegaConf.to_container(composed, resolve=False)
        assert isinstance(plain, dict)
        return plain  # type: ignore[return-value]

    def _apply(self, config: dict[str, Any], override: Override) -> None:
        key, value, node = override.key, override.value, config
        *path, last = key.split(".")
        for depth, part in enumerate((*path, last)):
            if not isinstance(node, dict) or part not in node:
                where = ".".join(path[:depth]) or "the config"
                choices = list(node) if isinstance(node, dict) else []
                choices += [] if depth else list(self.groups)
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


def hydra_is_running() -> bool:
    """Whether this process is inside a Hydra application, whose search path may reach further than ours."""
    loaded = sys.modules.get("hydra.core.global_hydra")
    return bool(loaded and loaded.GlobalHydra.instance().is_initialized())


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
        for depth, part in enumerate(target):
            if isinstance(node, str) and "${" in node:
                # The way leads through another reference, as from base.method to base.model, which is ${model}.
                node = self.value(node, target[:depth])
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
        return {key: value for key, value in _Resolver(config).value(config, ()).items()}
    except LookupError:
        return _resolved_by_omegaconf(config)


def _resolved_by_omegaconf(config: dict[str, Any]) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        resolved = OmegaConf.to_container(OmegaConf.create(config), resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(f"the config does not resolve: {_first_line(error)}") from error
    assert isinstance(resolved, dict)
    return resolved  # type: ignore[return-value]


class Planner:
    """Makes cells; keeps what their compositions, files and closures have in common.

    Args:
        lenient: plan cells whose data or weights are not on this machine as well; ``Cell.absent`` says what they lack.
    """

    def __init__(self, *, lenient: bool = False) -> None:
        self._composer = Composer()
        self._signer = signature.Signer(lenient=lenient)

    def by_hand(self, override_lists: Sequence[Sequence[str]]) -> list[Cell]:
        """The signed cells that override lists make; a setting that none of them reads is refused."""
        cells = [self.cell(overrides, row=" ".join(overrides)) for overrides in override_lists]
        self._refuse_unread(override_lists, dict.fromkeys(text for overrides in override_lists for text in overrides))
        return cells

    def cell(self, overrides: Sequence[str], *, row: str = "", seed: int | None = None) -> Cell:
        """The signed cell that ``overrides`` (and ``seed``, where given) make."""
        full = tuple(overrides) if seed is None else (*overrides, f"seed={seed}")
        config, blanked = resolve(self._composer.compose(full))
        check_config(config)
        training = self._signer.training(blanked)
        needs = tuple(self._signer.training(base) for base in bases(blanked))
        if (config.get("method") or {}).get("tune", True):
            needs = (*needs, training)
        return Cell(
            row=row,
            seed=int(config["seed"]),
            overrides=full,
            config=config,
            blanked=blanked,
            training=training,
            signature=self._signer.evaluation(config, training),
            science=self._signer.science(config),
            needs=needs,
            absent=self._signer.absent(config),
        )

    def sweep(
        self, definition: Definition, scale: str, extra: Sequence[str] = (), seeds: Sequence[int] | None = None
    ) -> list[Cell]:
        """All cells of a sweep at a scale, in table order. A cell that two rows share appears under both.

        Args:
            extra: overrides of every cell, which win over the file's.
            seeds: in place of the file's, but for rows with seeds of their own.

        Raises:
            UserError: a scale that the sweep does not have, an override that does not fit, or that no cell reads.
        """
        for text in extra:
            if key_of(text) == "seed":
                raise UserError(f"{text} would be overruled: the seeds of a sweep are given as seeds=0,1,2")
        own, cells = definition.own(scale), []
        made: dict[str, tuple[str, ...]] = {}
        for row, overrides, seed in definition.points(scale, seeds):
            made[row] = (f"scale={scale}", *overrides, *extra)
            try:
                cells.append(self.cell(made[row], row=row_name(row, own[row], extra), seed=seed))
            except UserError as error:
                raise UserError(f"sweep {definition.name}, row {row!r}: {error}") from error
        for row, texts in () if extra else own.items():
            try:
                self._refuse_unread([made[row]], texts)
            except UserError as error:
                raise UserError(f"sweep {definition.name}, row {row!r}: {error}") from error
        self._refuse_unread(list(made.values()), extra)
        shown = zip(own, {cell.row: cell.config for cell in cells}.values(), strict=True)
        check_scores(definition, {row: (str(it["data"].get("name")), self._signer.scores(it)) for row, it in shown})
        return cells

    def _refuse_unread(self, override_lists: Sequence[Sequence[str]], asked: Iterable[str]) -> None:
        asked = tuple(asked)
        if asked:
            configs = [self._composer.compose(overrides) for overrides in override_lists]
            refuse_unread(configs, asked, self._composer.groups)


def bases(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The configs whose trained weights a config needs, the deepest first, each once.

    Its ``base``, which it starts from and which may have a base and sources itself; and its ``sources``, by name, but
    for those that are used as they come.
    """
    found: list[Mapping[str, Any]] = []
    sources = (config.get("sources") or {}).values()
    for each in (*(one for one in sources if one["method"].get("tune", True)), config.get("base")):
        if each:
            found += [one for one in (*bases(each), each) if one not in found]
    return found


def unique(cells: Iterable[Cell]) -> list[Cell]:
    """Cells without those that share a signature with an earlier one: a shared cell runs once."""
    found: dict[str, Cell] = {}
    for cell in cells:
        found.setdefault(cell.signature, cell)
    return list(found.values())
