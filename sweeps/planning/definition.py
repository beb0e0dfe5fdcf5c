"""Sweep definitions: one YAML file per table or figure of a paper, read and checked without building anything."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.errors import UserError, nearest
from sweeps.planning import definition_yaml
from sweeps.planning.definition_checks import (
    check_keys,
    check_rows,
    checked_entries,
    checked_list,
    checked_overrides,
    checked_seeds,
    checked_texts,
)

PAPERS = Path(__file__).resolve().parents[1] / "papers"
SCALES = ("smoke", "tiny", "small", "paper")


@dataclass(frozen=True)
class Arm:
    """A product of overrides whose points share one naming pattern for their table rows.

    ``overrides`` maps config keys to a value or to a list of values; ``row`` may hold ``{key}`` for any of them.
    """

    row: str
    overrides: Mapping[str, Any]
    seeds: tuple[int, ...] | None = None

    def points(self) -> list[tuple[str, tuple[str, ...]]]:
        """Row name and Hydra overrides of every point of the product, in definition order."""
        axes = [value if isinstance(value, list) else [value] for value in self.overrides.values()]
        points = []
        for values in itertools.product(*axes):
            point = dict(zip(self.overrides, values, strict=True))
            points.append((self._name(point), tuple(f"{key}={_text(value)}" for key, value in point.items())))
        return points

    def _name(self, point: Mapping[str, Any]) -> str:
        return re.sub(r"\{([^{}]+)\}", lambda found: str(point.get(found[1], found[0])), self.row)


@dataclass(frozen=True)
class ScaleChange:
    """What a sweep changes at one scale: further base overrides, other seeds, arms left out."""

    base: tuple[str, ...] = ()
    seeds: tuple[int, ...] | None = None
    leave_out: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Definition:
    """One sweep: a union of grids over one question of one paper, with published numbers and claims.

    Attributes:
        scales: all scales that there are, and what each changes; at any other the sweep is refused.
        columns: names of scores.
        curves: names of metrics of the training that are drawn.
        full: for a cut-down sweep, the command that makes the full table.
        published_on: the data set (``data.name``) of the published numbers; on any other they are not comparable.
    """

    name: str
    paper: str
    title: str
    question: str
    base: tuple[str, ...]
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    scales: Mapping[str, ScaleChange]
    columns: tuple[str, ...]
    published: tuple[Mapping[str, Any], ...] = ()
    claims: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    full: str | None = None
    published_on: str | None = None
    curves: tuple[str, ...] = ()
    path: Path = field(default=Path(), compare=False)

    def change(self, scale: str) -> ScaleChange:
        """What the sweep changes at a scale; ``UserError`` for one that its file does not define."""
        if scale not in self.scales:
            raise UserError(f"sweep {self.name} has no scale {scale!r}: it has {' and '.join(self.scales)}")
        return self.scales[scale]

    def points(self, scale: str, seeds: Sequence[int] | None = None) -> list[tuple[str, tuple[str, ...], int]]:
        """All points ``(row, overrides, seed)`` at a scale, in the order in which the table shows them."""
        return [
            (row, (*base, *own), seed)
            for arm, base, chosen in self._arms(scale, seeds)
            for row, own in arm.points()
            for seed in chosen
        ]

    def own(self, scale: str) -> dict[str, tuple[str, ...]]:
        """The overrides that each row sets itself, beside those of the sweep and the scale."""
        return {row: own for arm, _, _ in self._arms(scale) for row, own in arm.points()}

    def _arms(
        self, scale: str, seeds: Sequence[int] | None = None
    ) -> list[tuple[Arm, tuple[str, ...], tuple[int, ...]]]:
        """The arms of a scale, each with the overrides that it shares with all others and with its seeds."""
        change = self.change(scale)
        base = (*self.base, *change.base)
        # An arm's own seeds say that it is deterministic (one seed): a request for other seeds cannot add to them.
        return [
            (arm, base, arm.seeds or tuple(seeds or change.seeds or self.seeds))
            for arm in self.arms
            if arm.row not in change.leave_out
        ]

    def rows(self, scale: str) -> list[str]:
        """Row names at a scale, each once, in table order."""
        return list(self.own(scale))


def names() -> list[str]:
    """Names of all sweep definitions, ``<paper>/<file stem>``."""
    return sorted(path.relative_to(PAPERS).with_suffix("").as_posix() for path in PAPERS.glob("*/*.yaml"))


def load(name: str) -> Definition:
    """Reads and checks ``sweeps/papers/<name>.yaml``.

    Raises:
        UserError: an unknown sweep; a file that is no YAML, by file and line; or a definition with an unknown, missing
            or ill-typed entry, by its name.
    """
    path = PAPERS / f"{name}.yaml"
    if name not in names():
        raise UserError(f"no sweep is called {name!r}: {nearest(name, names())}")
    shown = path.relative_to(PAPERS.parent.parent) if path.is_relative_to(PAPERS.parent.parent) else path
    return parse(name, definition_yaml.read(path, shown.as_posix()), path)


def parse(name: str, raw: Any, path: Path = Path()) -> Definition:
    """Turns the parsed YAML of a sweep into a ``Definition``, checked whole.

    Raises:
        UserError: the first entry that is unknown, missing, ill-typed, or speaks of a row or score that is not there.
    """
    where = f"sweep {name}"
    check_keys(
        raw,
        where,
        required={"paper", "title", "question", "seeds", "grid", "scales", "table"},
        optional={"base", "published", "published_on", "claims", "notes", "full"},
    )
    arms = []
    for number, arm in enumerate(checked_list(raw["grid"], f"{where}, grid", least=1), start=1):
        entry = f"{where}, grid entry {number}"
        check_keys(arm, entry, required={"row", "overrides"}, optional={"seeds"})
        (row,) = checked_texts([arm["row"]], f"{entry}, row")
        seeds = None if arm.get("seeds") is None else checked_seeds(arm["seeds"], entry)
        arms.append(Arm(row, checked_overrides(arm["overrides"], f"{where}, row {row!r}"), seeds))
    check_keys(raw["table"], f"{where}, table", required={"columns"}, optional={"curves"})
    check_keys(raw["scales"], f"{where}, scales", optional=set(SCALES))
    if not raw["scales"]:
        raise UserError(f"{where} has no scale: name at least one under scales, {nearest('', SCALES)}")
    definition = Definition(
        name=name,
        paper=checked_texts([raw["paper"]], f"{where}, paper")[0],
        title=checked_texts([raw["title"]], f"{where}, title")[0],
        question=checked_texts([raw["question"]], f"{where}, question")[0],
        base=_base(raw, where),
        seeds=checked_seeds(raw["seeds"], where),
        arms=tuple(arms),
        scales={scale: _change(raw["scales"][scale], where, scale, arms) for scale in SCALES if scale in raw["scales"]},
        columns=checked_texts(raw["table"]["columns"], f"{where}, columns", least=1),
        curves=checked_texts(raw["table"].get("curves") or [], f"{where}, curves"),
        published=checked_list(raw.get("published") or [], f"{where}, published"),
        claims=checked_list(raw.get("claims") or [], f"{where}, claims"),
        notes=checked_texts(raw.get("notes") or [], f"{where}, notes"),
        full=raw.get("full"),
        published_on=raw.get("published_on"),
        path=path,
    )
    checked_texts([each for each in (definition.full, definition.published_on) if each is not None], where)
    check_rows(where, arms, {scale: change.leave_out for scale, change in definition.scales.items()})
    checked_entries(definition, where)
    return definition


def _change(raw: Any, where: str, scale: str, arms: Sequence[Arm]) -> ScaleChange:
    """What a sweep changes at a scale; nothing where the scale is named and no more."""
    raw, where = {} if raw is None else raw, f"{where}, scale {scale}"
    check_keys(raw, where, optional={"base", "seeds", "leave_out", "note"})
    left_out = checked_texts(raw.get("leave_out") or [], f"{where}, leave_out")
    for row in left_out:
        if row not in {arm.row for arm in arms}:
            raise UserError(f"{where} leaves out the unknown row {row!r}: {nearest(row, [arm.row for arm in arms])}")
    (note,) = checked_texts([raw.get("note") or ""], f"{where}, note")
    seeds = None if raw.get("seeds") is None else checked_seeds(raw["seeds"], where)
    return ScaleChange(_base(raw, where), seeds, left_out, note)


def _base(raw: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Overrides of all cells, as Hydra writes them."""
    texts = checked_texts(raw.get("base") or [], f"{where}, base")
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{where} has {text!r} in its base: write key=value")
        checked_overrides({key: value}, f"{where}, base")
    return texts


def _text(value: Any) -> str:
    """A Hydra override's right-hand side for a plain value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value)
