"""What a sweep's file may say: the checks that ``definition.parse`` makes of its entries, each in one line."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, get_type_hints

from sweeps.errors import UserError, nearest

if TYPE_CHECKING:
    from sweeps.planning.definition import Arm, Definition

_OWN_WORDS = {"seed": "seeds", "scale": "scales"}
"""Config keys that a sweep sets by entries of its own, which its rows and its table are named by."""


LARGEST_SEED = 2**32 - 1
"""The largest seed that every generator takes; numpy's takes no larger one."""


def is_seed(value: Any) -> bool:
    """Whether a value is a seed: a whole number that every generator takes."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_SEED


def check_keys(value: Any, where: str, required: Set[str] = frozenset(), optional: Set[str] = frozenset()) -> None:
    """Refuses what is no mapping, and keys that are unknown or lacking."""
    known = required | optional
    if not isinstance(value, Mapping):
        raise UserError(f"{where} is {type(value).__name__}, not a mapping of {', '.join(sorted(known))}")
    for key in value:
        if key not in known:
            raise UserError(f"{where} has the unknown entry {key!r}: {nearest(str(key), known)}")
    for key in sorted(required - set(value)):
        raise UserError(f"{where} lacks the entry {key!r}")


def checked_list(value: Any, where: str, least: int = 0) -> tuple[Any, ...]:
    """The items of a list of at least ``least``."""
    if not isinstance(value, list) or len(value) < least:
        raise UserError(f"{where} is {value!r}: give a list{' with something in it' if least else ''}")
    return tuple(value)


def checked_texts(value: Any, where: str, least: int = 0) -> tuple[str, ...]:
    """The items of a list of at least ``least`` texts."""
    for item in checked_list(value, where, least):
        if not isinstance(item, str):
            raise UserError(
                f"{where} has {item!r} where a text is wanted: a colon with a space behind it makes a mapping, so put "
                "the text in quotes or behind >-"
            )
    return tuple(value)


def checked_seeds(value: Any, where: str) -> tuple[int, ...]:
    """A list of seeds: whole numbers from 0 up, each once."""
    if not isinstance(value, list) or not value or not all(map(is_seed, value)) or len(set(value)) < len(value):
        raise UserError(
            f"{where} has the seeds {value!r}: give a list of whole numbers from 0 up, each once, such as [0, 1, 2]"
        )
    return tuple(value)


def checked_overrides(value: Any, where: str) -> dict[str, Any]:
    """Overrides by config key; whether the config has such a key is seen when it is composed."""
    if not isinstance(value, Mapping):
        raise UserError(f"{where} has the overrides {value!r}: give a mapping of config keys, {{}} for none")
    for key, item in value.items():
        if not isinstance(key, str):
            raise UserError(f"{where} sets {key!r}: a config key is a text")
        own = _OWN_WORDS.get(key.lstrip("+~").partition("@")[0])
        if own is not None:
            raise UserError(f"{where} sets {key}, which the sweep's own entry {own!r} is for")
        if item == []:
            raise UserError(f"{where} gives {key} no value at all: a list of values needs at least one")
        try:
            json.dumps(item, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{where} sets {key} to {item!r}, a {type(item).__name__}: give finite numbers, texts, true, false or "
                "null; a date is a text in quotes"
            ) from error
    return dict(value)


def check_rows(where: str, arms: Sequence[Arm], left_out: Mapping[str, Collection[str]]) -> None:
    """Refuses row names that hide something: two cells under one name, a key that fills nothing in, a row of no scale.

    Args:
        left_out: rows that are left out, by scale.
    """
    seen: dict[str, dict[str, str]] = {}
    for arm in arms:
        for key in re.findall(r"\{([^{}]+)\}", arm.row):
            if key not in arm.overrides:
                near = nearest(key, arm.overrides)
                raise UserError(f"{where}, row {arm.row!r} is named by {{{key}}}, which it does not set: {near}")
        if all(arm.row in rows for rows in left_out.values()):
            raise UserError(f"{where}, row {arm.row!r} is left out at every scale: {', '.join(left_out)}")
        for row, overrides in arm.points():
            own = dict(text.split("=", 1) for text in overrides)
            if row in seen:
                raise UserError(f"{where} has two cells under the row {row!r}: {_apart(seen[row], own)}")
            seen[row] = own


def _apart(one: Mapping[str, str], other: Mapping[str, str]) -> str:
    """How two cells of one row differ, and what to do."""
    axes = [key for key in dict.fromkeys((*one, *other)) if one.get(key) != other.get(key)]
    if not axes:
        return "they are the same; keep one"
    told = ", ".join(f"{key} ({one.get(key, 'not set')} and {other.get(key, 'not set')})" for key in axes)
    braces = " and ".join(f"{{{key}}}" for key in axes)
    return f"they differ in {told}; put {braces} into the row's name, or give each row a name of its own"


def checked_entries(definition: Definition, where: str) -> None:
    """Checks columns, published numbers and claims against the scores and the rows that there are."""
    from data.scoring.registry import all_scores
    from sweeps.inference.claims import Claim
    from sweeps.reporting.table import Published

    scores = all_scores()
    if set(definition.columns) - set(scores):
        scores = all_scores(_own_lists())
    for column in definition.columns:
        if column not in scores:
            raise UserError(f"{where} has the column {column!r}, which is no score: {nearest(column, scores)}")
        if definition.columns.count(column) > 1:
            raise UserError(f"{where} has the column {column!r} twice: keep one")
    rows = {row for arm in definition.arms for row, _ in arm.points()}
    shown = [set(definition.rows(scale)) for scale in definition.scales]
    seen: set[Any] = set()
    for number, entry in enumerate(definition.published, start=1):
        at = f"{where}, published number {number}"
        _check_names(entry, at, rows, definition.columns)
        _check_record(entry, Published, at)
        if (entry["row"], entry["column"]) in seen:
            raise UserError(f"{at}: row {entry['row']!r} has two published values of {entry['column']}; keep one")
        seen.add((entry["row"], entry["column"]))
    for number, entry in enumerate(definition.claims, start=1):
        named = isinstance(entry, Mapping) and isinstance(entry.get("id"), str)
        at = f"{where}, claim {entry['id']}" if named else f"{where}, claim {number}"
        _check_names(entry, at, rows, definition.columns)
        _check_record(entry, Claim, at)
        _check_kind(entry, at)
        if entry["id"] in seen:
            raise UserError(f"{at} comes twice: give every claim an id of its own")
        seen.add(entry["id"])
        sides = {entry[key] for key in ("left", "right") if isinstance(entry[key], str)}
        if not any(sides <= table for table in shown):
            raise UserError(f"{at} compares {' and '.join(sorted(sides))}, which no scale shows in one table")


def check_scores(definition: Definition, data: Mapping[str, tuple[str, tuple[str, ...]]]) -> None:
    """Checks that columns and claims are scores that the data of their rows have.

    Args:
        data: of every row of a scale, the name of its data and the modules of their scores.

    Raises:
        UserError: a column that the data of no row has, a claim on one that the data of its row lacks.
    """
    from data.scoring.registry import all_scores, by_name

    lists = {modules: by_name(map(importlib.import_module, modules)) for _, modules in data.values()}
    every = all_scores(name for modules in lists for name in modules)
    whole = {row for arm in definition.arms for row, _ in arm.points()} <= set(data)
    for column in definition.columns if whole else ():  # a row that this scale leaves out may have it
        if column in every and not any(column in scores for scores in lists.values()):
            of = ", ".join(sorted({name for name, _ in data.values()}))
            near = nearest(column, {name for scores in lists.values() for name in scores})
            raise UserError(f"sweep {definition.name} has the column {column!r}, no score of its data ({of}): {near}")
    for claim in definition.claims:
        for row in (claim["left"], claim["right"]):
            if row in data and claim["column"] not in lists[data[row][1]]:
                name, modules = data[row]
                raise UserError(
                    f"sweep {definition.name}, claim {claim['id']} is about the {claim['column']} of {row!r}, whose "
                    f"data ({name}) have no such score: {nearest(claim['column'], lists[modules])}"
                )


def _own_lists() -> set[str]:
    """Modules of scores that some data config names beside the repository's own; looked for only when it takes them."""
    from sweeps.signatures.signature import ROOT, Signer

    signer, found = Signer(lenient=True), set()
    for path in (ROOT / "conf" / "data").rglob("*.yaml"):
        target = re.search(r"^_target_:\s*([\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        if target:
            found |= set(signer.scores({"data": {"_target_": target[1]}}))
    return found


def _check_record(entry: Any, record: type, where: str) -> None:
    """Checks a mapping against the fields of the record that it becomes."""
    from sweeps.preflight.schema import fits, spelt

    hints = get_type_hints(record)
    required = {field.name for field in fields(record) if field.default is MISSING and field.default_factory is MISSING}
    check_keys(entry, where, required=required, optional=set(hints) - required)
    for key, value in entry.items():
        if not fits(value, hints[key]):
            raise UserError(f"{where} has {value!r} as its {key}: it takes {spelt(hints[key])}")


def _check_kind(claim: Mapping[str, Any], where: str) -> None:
    from sweeps.inference.significance import KINDS

    kind, right, margin = claim["kind"], claim["right"], claim.get("margin", 0.0)
    if kind not in KINDS:
        raise UserError(f"{where} has the kind {kind!r}: {nearest(kind, KINDS)}")
    if (kind == "at_least") == isinstance(right, str):
        wanted = "a row" if isinstance(right, int | float) else "a number"
        raise UserError(f"{where} is {kind} and its right side is {right!r}: give {wanted}")
    if (kind == "equal_within") != (margin > 0):
        wanted = "a margin above 0, in the column's units" if kind == "equal_within" else "no margin"
        raise UserError(f"{where} is {kind} with the margin {margin!r}: give {wanted}")


def _check_names(entry: Any, where: str, rows: Set[str], columns: Sequence[str]) -> None:
    """Checks the rows and the column that an entry speaks of, as far as it is one."""
    if not isinstance(entry, Mapping):
        return
    for key in ("row", "left", "right"):
        if isinstance(entry.get(key), str) and entry[key] not in rows:
            raise UserError(f"{where} speaks of the unknown row {entry[key]!r}: {nearest(entry[key], rows)}")
    if "column" in entry and entry["column"] not in columns:
        raise UserError(
            f"{where} speaks of the unknown column {entry['column']!r}: {nearest(str(entry['column']), columns)}"
        )
