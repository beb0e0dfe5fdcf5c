"""Parts of the line: what inequalities, memberships and intervals have in common."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from data.verifiers.algebra import Ring, constant
from data.verifiers.latex import Answer


class Region(NamedTuple):
    """An interval (kind ``tuple``) or a union of some, and the variable that lies in it, "" where none is named."""

    name: str
    answer: Answer


def region(answer: Answer, ring: Ring) -> Region | None:
    """The part of the line that an answer says; ``None`` where it says none.

    A bare (1, 2) says none: it may be a point. "x in (1, 2)" and 1 < x < 2 do, and so does an interval with a square
    bracket or an infinite end.
    """
    if answer.kind == "tuple":
        point = answer.detail == "()" and not any(map(_infinite, answer.parts))
        return None if point or len(answer.parts) != 2 else Region("", answer)
    if answer.kind == "union":
        return _union([region(part, ring) for part in answer.parts])
    if answer.kind == "relation" and answer.detail == "\\in":
        name, inside = answer.parts
        return Region(name.detail, inside) if inside.kind in ("tuple", "union") else None
    if answer.kind == "relation":
        return _ray(answer, ring)
    if answer.kind != "list" or any(part.kind not in ("relation", "tuple") for part in answer.parts):
        return None
    parts = [region(part, ring) for part in answer.parts]
    return _between(parts) if answer.detail == "and" else _union(parts)


def _ray(answer: Answer, ring: Ring) -> Region | None:
    """An inequality between a variable and a constant."""
    if answer.detail not in ("<", "\\le"):
        return None
    low, high = answer.parts
    endless = ring.unknown("infty")
    if low.kind == "name" and _is_constant(high):
        ends = (Answer("number", "", ring.negative(endless)), high)
        return Region(low.detail, Answer("tuple", "()" if answer.detail == "<" else "(]", None, ends))
    if high.kind == "name" and _is_constant(low):
        ends = (low, Answer("number", "", endless))
        return Region(high.detail, Answer("tuple", "()" if answer.detail == "<" else "[)", None, ends))
    return None


def _union(parts: Sequence[Region | None]) -> Region | None:
    found = [part for part in parts if part is not None]
    if not found or len(found) < len(parts) or len({part.name for part in found}) > 1:
        return None
    return Region(found[0].name, Answer("union", "", None, tuple(part.answer for part in found)))


def _between(parts: Sequence[Region | None]) -> Region | None:
    """What two rays of one variable have in common, where one is open to the left and one to the right."""
    found = [part for part in parts if part is not None]
    if len(found) != 2 or len(parts) != 2 or found[0].name != found[1].name:
        return None
    rays = [part.answer for part in found]
    if _infinite(rays[0].parts[0]) == _infinite(rays[1].parts[0]):
        return None
    low, high = rays if _infinite(rays[0].parts[1]) else rays[::-1]
    ends = (low.parts[0], high.parts[1])
    return Region(found[0].name, Answer("tuple", low.detail[0] + high.detail[1], None, ends))


def _is_constant(answer: Answer) -> bool:
    return answer.kind == "number" and not answer.detail and answer.value is not None and constant(answer.value)


def _infinite(answer: Answer) -> bool:
    if answer.kind != "number" or answer.value is None or len(answer.value.num) != 1:
        return False
    ((monomial, coefficient),) = answer.value.num.items()
    return abs(coefficient) == 1 and monomial == ((("infty",), Fraction(1)),)
