"""Sweep definitions: one YAML file per table or figure of a paper, read and checked without building anything."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sweeps.errors import UserError, nearest

PAPERS = Path(__file__).resolve().parent / "papers"
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

    def points(self, scale: str, seeds: Sequence[int] | None = None) -> list[tuple[str, tuple[str, ...], int]]:
        """All points ``(row, overrides, seed)`` at a scale, in the order in which the table shows them."""
        change = self.scales.get(scale, ScaleChange())
        points = []
        for arm in self.arms:
            if arm.row in change.leave_out:
                continue
            # An arm's own seeds say that it is deterministic (one seed): a request for other seeds cannot add to them.
            chosen = arm.seeds or tuple(seeds or change.seeds or self.seeds)
            for row, overrides in arm.points():
                points += [(row, (*self.base, *change.base, *overrides), seed) for seed in chosen]
        return points

    def rows(self, scale: str) -> list[str]:
        """Row names at a scale, each once, in table order."""
        return list(dict.fromkeys(row for row, _, _ in self.points(scale)))


def names() -> list[str]:
    """Names of all sweep definitions, ``<paper>/<file stem>``."""
    return sorted(path.relative_to(PAPERS).with_suffix("").as_posix() for path in PAPERS.glob("*/*.yaml"))


def load(name: str) -> Definition:
    """Reads and checks ``sweeps/papers/<name>.yaml``.

    Raises:
        UserError: an unknown sweep, or a definition with an unknown, missing or ill-typed entry, by its name.
    """
    path = PAPERS / f"{name}.yaml"
    if name not in names():
        raise UserError(f"no sweep is called {name!r}: {nearest(name, names())}")
    return parse(name, yaml.safe_load(path.read_text(encoding="utf-8")), path)


def parse(name: str, raw: Any, path: Path = Path()) -> Definition:
    """Turns the parsed YAML of a sweep into a checked ``Definition``."""
    where = f"sweep {name}"
    _keys(
        raw,
        where,
        required={"paper", "title", "question", "seeds", "grid", "table"},
        optional={"base", "scales", "published", "published_on", "claims", "notes", "full"},
    )
    arms = []
    for number, arm in enumerate(raw["grid"], start=1):
        _keys(arm, f"{where}, grid entry {number}", required={"row", "overrides"}, optional={"seeds"})
        arms.append(Arm(arm["row"], dict(arm["overrides"]), _seeds(arm.get("seeds"), where)))
    scales = {}
    for scale, change in (raw.get("scales") or {}).items():
        if scale not in SCALES:
            raise UserError(f"{where} changes the scale {scale!r}: {nearest(scale, SCALES)}")
        _keys(change, f"{where}, scale {scale}", optional={"base", "seeds", "leave_out", "note"})
        scales[scale] = ScaleChange(
            tuple(change.get("base") or ()),
            _seeds(change.get("seeds"), where),
            tuple(change.get("leave_out") or ()),
            change.get("note", ""),
        )
    _keys(raw["table"], f"{where}, table", required={"columns"}, optional={"curves"})
    definition = Definition(
        name=name,
        paper=raw["paper"],
        title=raw["title"],
        question=raw["question"],
        base=tuple(raw.get("base") or ()),
        seeds=_seeds(raw["seeds"], where) or (),
        arms=tuple(arms),
        scales=scales,
        columns=tuple(raw["table"]["columns"]),
        curves=tuple(raw["table"].get("curves") or ()),
        published=tuple(raw.get("published") or ()),
        claims=tuple(raw.get("claims") or ()),
        notes=tuple(raw.get("notes") or ()),
        full=raw.get("full"),
        published_on=raw.get("published_on"),
        path=path,
    )
    told = (change.note for change in scales.values())
    _texts((definition.title, definition.question, *definition.notes, *told), where)
    known = {row for arm in definition.arms for row, _ in arm.points()}
    for change in scales.values():
        for row in change.leave_out:
            if row not in {arm.row for arm in arms}:
                raise UserError(
                    f"{where} leaves out the unknown row {row!r}: {nearest(row, [arm.row for arm in arms])}"
                )
    for entry in (*definition.published, *definition.claims):
        for key in ("row", "left", "right"):
            if isinstance(entry.get(key), str) and entry[key] not in known:
                raise UserError(f"{where} speaks of the unknown row {entry[key]!r}: {nearest(entry[key], known)}")
        if "column" in entry and entry["column"] not in definition.columns:
            raise UserError(
                f"{where} speaks of the unknown column {entry['column']!r}: "
                f"{nearest(entry['column'], definition.columns)}"
            )
    return definition


def _text(value: Any) -> str:
    """A Hydra override's right-hand side for a plain value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value)


def _texts(values: Sequence[Any], where: str) -> None:
    for value in values:
        if not isinstance(value, str):
            raise UserError(
                f"{where} has {value!r} where a text is wanted: a colon with a space behind it makes a mapping, so put "
                "the text in quotes or behind >-"
            )


def _seeds(value: Any, where: str) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(seed, int) for seed in value):
        raise UserError(f"{where} has the seeds {value!r}: give a list of whole numbers, such as [0, 1, 2]")
    return tuple(value)


def _keys(
    value: Any,
    where: str,
    required: set[str] | frozenset[str] = frozenset(),
    optional: set[str] | frozenset[str] = frozenset(),
) -> None:
    if not isinstance(value, Mapping):
        raise UserError(f"{where} is {type(value).__name__}, not a mapping of {', '.join(sorted(required | optional))}")
    for key in value:
        if key not in required | optional:
            raise UserError(f"{where} has the unknown entry {key!r}: {nearest(str(key), required | optional)}")
    for key in sorted(required - set(value)):
        raise UserError(f"{where} lacks the entry {key!r}")
