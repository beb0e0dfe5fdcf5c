"""Rows that people bring, checked column by column before anything is made of them.

A reader of one row says by ``columns`` what it wants; what it then gets is as it asked for. Whatever is wrong is a
``BadRowError`` of one line: file and row, what was found, what was wanted, and the name that was perhaps meant.
Torch-free.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, Protocol, TypeVar

Check = Callable[[Any, str], Any]
"""A value and what errors call it -> the value as readers take it; ``BadRowError`` where it is none."""

_SHOWN = 12
_KINDS = ((bool, "yes or no"), ((int, float), "a number"), (str, "text"), (Mapping, "an object"), (Sequence, "a list"))


class BadRowError(ValueError):
    """A row that cannot be read; one line that says why, and where the row stands if that is known."""


class Row(dict[str, Any]):
    """Columns of one row by name. A column that is asked for and not there is a ``BadRowError``.

    Args:
        values: the columns.
        source: file or data set that it comes from; "" where nobody knows.
        number: of the row in it, counted from 1.
    """

    __slots__ = ("number", "source")

    def __init__(self, values: Mapping[str, Any], source: str = "", number: int = 0) -> None:
        super().__init__(values)
        self.source = source
        self.number = number

    @property
    def place(self) -> str:
        """Source and number, as errors begin; "" where they are not known."""
        return f"{self.source}, row {self.number}" if self.source else ""

    def __missing__(self, name: str) -> Any:
        raise BadRowError(": ".join(filter(None, (self.place, _absent([name], self, name, ())))))


def placed(rows: Iterable[Mapping[str, Any]], source: str) -> list[Row]:
    """Rows that know where they stand."""
    return [Row(row, source, number) for number, row in enumerate(rows, start=1)]


Made = TypeVar("Made", covariant=True)


class RowReader(Protocol[Made]):
    """What ``columns`` makes of a reader.

    Attributes:
        columns: check of every column that it reads.
        either: columns of which one at least must be there.
    """

    columns: dict[str, Check]
    either: tuple[str, ...]

    def __call__(self, row: Mapping[str, Any], /, *rest: Any, **options: Any) -> Made:
        """What the row says. ``BadRowError`` where it cannot be read."""
        ...


def columns(*either: str, **checks: Check) -> Callable[[Callable[..., Made]], RowReader[Made]]:
    """Declares what a reader of one row wants; the decorated reader gets a plain dict of checked columns.

    Columns under ``maybe`` may be missing and are ``None`` then. Others must be there, and not null unless they are
    under ``nullable``. The reader may raise ``BadRowError`` for what it finds wrong; the place is put before it.

    Args:
        either: names among ``checks``, all under ``maybe``, of which the row must have one at least.
        checks: by column.
    """
    needed = [name for name, check in checks.items() if not getattr(check, "may_lack", False)]

    def decorate(read: Callable[..., Made]) -> RowReader[Made]:
        @wraps(read)
        def checked(row: Mapping[str, Any], *rest: Any, **options: Any) -> Made:
            try:
                return read(taken(row), *rest, **options)
            except BadRowError as error:
                place = row.place if isinstance(row, Row) else ""
                raise BadRowError(f"{place}: {error}" if place else str(error)) from None

        def taken(row: Mapping[str, Any]) -> dict[str, Any]:
            absent = [name for name in needed if _lacks(row, name, checks[name])]
            if not absent and either and not any(name in row for name in either):
                absent = [" or ".join(either)]
            if absent:
                raise BadRowError(_absent(absent, row, wanted, checks))
            try:
                return {**row, **{name: check(row.get(name), name) for name, check in checks.items()}}
            except BadRowError as error:
                raise BadRowError(f"{error} ({_told(row, wanted)})") from None

        optional = [name for name in checks if name not in needed and name not in either]
        wanted = _names([*needed, *([" or ".join(either)] if either else [])])
        wanted += f", and if any {_names(optional)}" if optional else ""
        checked.columns = checks  # type: ignore[attr-defined]
        checked.either = either  # type: ignore[attr-defined]
        return checked  # type: ignore[return-value]

    return decorate


def _absent(absent: Sequence[str], row: Mapping[str, Any], wanted: str, known: Collection[str]) -> str:
    return f"{_missing(absent, row, known)}: {_told(row, wanted)}"


def _missing(absent: Sequence[str], row: Mapping[str, Any], known: Collection[str], path: str = "") -> str:
    """What is missing, each with the column that was perhaps meant; ``known`` ones are meant for themselves."""
    others = {name: value for name, value in row.items() if name not in known}
    told = []
    for name in absent:
        meant = [] if name in row else alike(name, others)
        hint = " (null)" if name in row else f" (did you mean {' or '.join(meant)}?)" if meant else ""
        told.append(f"{path}{name} is missing{hint}")
    return " and ".join(told)


def alike(name: str, row: Mapping[str, Any], cutoff: float = 0.7) -> list[str]:
    """Columns of the row, null ones left out, that are spelt nearly so; each of several names with " or " between."""
    lower = {str(found).strip().lower(): str(found) for found, value in row.items() if value is not None}
    near = [difflib.get_close_matches(one.lower(), lower, n=1, cutoff=cutoff) for one in name.split(" or ")]
    return [lower[found] for guesses in near for found in guesses]


def _told(row: Mapping[str, Any], wanted: str) -> str:
    return f"found {_names(sorted(map(str, row))) or 'no column'}; wanted {wanted}"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _lacks(row: Mapping[str, Any], name: str, check: Check) -> bool:
    if getattr(check, "may_lack", False) or row.get(name) is not None:
        return False
    return name not in row or not getattr(check, "may_be_null", False)


def unfit(value: Any, path: str, wanted: str) -> BadRowError:
    """The error of a value that is something else than wanted."""
    if value is None:
        return BadRowError(f"{path} is missing (null)")
    kind = next((words for kinds, words in _KINDS if isinstance(value, kinds)), type(value).__name__)
    return BadRowError(f"{path} must be {wanted}, got {kind}: {shown(value)}")


def shown(value: Any) -> str:
    """A value as an error shows it: on one line, and not for ever."""
    spelled = " ".join(repr(value).split())
    return spelled if len(spelled) <= 60 else f"{spelled[:57]}..."


# Checks of a value.


def anything(value: Any, path: str) -> Any:
    """Whatever is there: the reader looks itself."""
    return value


def text(value: Any, path: str) -> str:
    """Text, "" too."""
    if not isinstance(value, str):
        raise unfit(value, path, "text")
    return value


def spelt(value: Any, path: str) -> str:
    """Text or a number, as text: ids, answers, words. A whole number is spelt without a point."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise unfit(value, path, "text or a number")
    return str(value)


def whole(value: Any, path: str) -> int:
    """A whole number, spelt out too: CSV knows nothing else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
        return int(value)
    raise unfit(value, path, "a whole number")


def number(value: Any, path: str) -> float:
    """A number, spelt out too."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise unfit(value, path, "a number")
    try:
        return float(value)
    except (ValueError, OverflowError):
        raise unfit(value, path, "a number") from None


def flag(value: Any, path: str) -> bool:
    """True or false, or 1 and 0."""
    if not isinstance(value, (bool, int)) or value not in (True, False):
        raise unfit(value, path, "true or false")
    return bool(value)


def among(*choices: int) -> Check:
    """One of some whole numbers."""

    def check(value: Any, path: str) -> int:
        found = whole(value, path)
        if found not in choices:
            raise unfit(value, path, f"one of {', '.join(map(str, choices))}")
        return found

    return check


def maybe(check: Check) -> Check:
    """What ``check`` takes, or ``None`` where the column is missing or null."""
    found = nullable(check)
    found.may_lack = True  # type: ignore[attr-defined]
    return found


def nullable(check: Check) -> Check:
    """What ``check`` takes, or ``None`` for null; the column must be there."""

    def found(value: Any, path: str) -> Any:
        return None if value is None else check(value, path)

    found.may_be_null = True  # type: ignore[attr-defined]
    return found


def listed(check: Check, *, least: int = 0, exactly: int | None = None) -> Check:
    """A list of what ``check`` takes."""

    def found(value: Any, path: str) -> list[Any]:
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
            raise unfit(value, path, "a list")
        if len(value) < least or (exactly is not None and len(value) != exactly):
            count = f"{least} or more" if exactly is None else exactly
            raise BadRowError(f"{path} must have {count}, got {len(value)}")
        return [check(one, f"{path}[{place}]") for place, one in enumerate(value)]

    return found


def record(**checks: Check) -> Check:
    """An object with such fields; those under ``maybe`` may be missing. What else it has is kept."""

    def found(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise unfit(value, path, f"an object with {', '.join(checks)}")
        absent = [name for name, check in checks.items() if _lacks(value, name, check)]
        if absent:
            has = _names(sorted(map(str, value))) or "nothing"
            said = _missing(absent, value, checks, f"{path}.")
            raise BadRowError(f"{said}: {path} has {has} and needs {', '.join(checks)}")
        return {**value, **{name: check(value.get(name), f"{path}.{name}") for name, check in checks.items()}}

    return found


messages = listed(record(role=text, content=text), least=1)
"""A conversation: {role, content}, in turn."""
