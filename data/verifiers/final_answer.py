"""Is the final answer of a mathematics problem right? At least as strict as the package math-verify, in bounded work.

Equal are: values that are the same exactly (1/2 and 0.5, 2\\sqrt{3} and \\sqrt{12}, factored and expanded); tuples and
intervals with the same brackets and parts; sets and lists with the same members in any order; unions, matrices,
equations and inequalities part by part; texts without regard to case. A decimal is what it says: 0.33 is not 1/3. A
unit may be left out on either side, but never differ: 5 cm equals 5, not 5 m. Percent is a hundredth: 75% equals 0.75
and 3/4, not 75.
"""

from __future__ import annotations

import re

from data.verifiers.algebra import Ring, TooLargeError, Undefined
from data.verifiers.latex import Answer, UnreadableError, cleaned, plain, read

MAX_RESPONSE = 100_000
"""Longer responses hold no final answer: they are refused unread."""

_TAIL = 2_000
_SAID = re.compile(r"(?:final answer|answer)\s{0,3}(?:is|:)\s{0,3}:?\s{0,3}([^\n]{1,200})", re.IGNORECASE)
_HASHES = "####"
_BOX = re.compile(r"\\f?boxed\s?\{")


def final_answer(response: str) -> str | None:
    """The final answer of a response, or ``None``.

    Taken in this order: the last ``\\boxed{...}``; what follows the last ``####``; what follows the last "answer is" or
    "answer:" of the last 2,000 characters. There is no falling back on the last number.
    """
    if len(response) > MAX_RESPONSE:
        return None
    boxes = max(response.rfind("\\boxed"), response.rfind("\\fboxed"))
    if boxes >= 0:
        opened = _BOX.match(response, boxes)
        return _braced(response, opened.end()) if opened else None
    if _HASHES in response:
        return response.rpartition(_HASHES)[2].strip().partition("\n")[0].strip() or None
    said = _SAID.findall(response[-_TAIL:])
    return said[-1].strip() if said else None


def equivalent(gold: str, given: str) -> bool:
    """Whether two final answers say the same. Symmetric; work is bounded by the limits of ``latex`` and ``algebra``."""
    if not given.strip() or not gold.strip():
        return False
    try:
        if cleaned(gold) == cleaned(given):
            return True
        ring = Ring()
        return _same(read(gold, ring), read(given, ring), ring)
    except (UnreadableError, TooLargeError, Undefined, RecursionError):
        return False


def correct(gold: str, response: str) -> bool:
    """Whether the final answer of a response is the gold one."""
    found = final_answer(response)
    return found is not None and equivalent(gold, found)


def _same(a: Answer, b: Answer, ring: Ring) -> bool:
    ring.spend(10)
    if a.kind == "relation" != b.kind:
        a = _solved(a)
    elif b.kind == "relation" != a.kind:
        b = _solved(b)
    if {a.kind, b.kind} == {"text", "number"}:
        return _single_letter(a) == _single_letter(b) != ""
    if {a.kind, b.kind} == {"set", "list"} or (a.kind == b.kind and a.kind in ("set", "list", "union")):
        return _same_members(a, b, ring)
    if a.kind != b.kind:
        return False
    if a.kind == "text":
        return a.detail == b.detail
    if a.kind == "number":
        assert a.value is not None and b.value is not None
        units = a.detail == b.detail or not a.detail or not b.detail
        return units and ring.equal(a.value, b.value)
    if a.kind == "relation" and a.detail == b.detail in ("=", "\\neq"):
        return _same_equation(a, b, ring)
    same_form = a.detail == b.detail and len(a.parts) == len(b.parts)
    return same_form and all(_same(x, y, ring) for x, y in zip(a.parts, b.parts, strict=True))


def _same_members(a: Answer, b: Answer, ring: Ring) -> bool:
    """Equal as sets: every member of each is in the other."""
    return all(
        any(_same(x, y, ring) for y in other.parts) for one, other in ((a, b), (b, a)) for x in one.parts
    ) and bool(a.parts)


def _same_equation(a: Answer, b: Answer, ring: Ring) -> bool:
    """The same difference of sides, up to a rational factor; or the same sides where they are no numbers."""
    values = [part.value for part in (*a.parts, *b.parts)]
    if any(value is None for value in values):
        return all(_same(x, y, ring) for x, y in zip(a.parts, b.parts, strict=True))
    left, right, other_left, other_right = (value for value in values if value is not None)
    first = ring.add(left, ring.negative(right))
    second = ring.add(other_left, ring.negative(other_right))
    return ring.proportional(first, second)


def _solved(answer: Answer) -> Answer:
    """The right side of ``x = ...``, where the left side is one letter or a name like f(x); else the relation."""
    left, right = answer.parts
    if answer.detail != "=" or left.kind != "number" or left.value is None or left.detail:
        return answer
    return right if len(left.value.num) == 1 and _is_name(left) else answer


def _is_name(answer: Answer) -> bool:
    assert answer.value is not None
    ((monomial, coefficient),) = answer.value.num.items()
    letters = all(atom[0] == "letter" and exponent == 1 for atom, exponent in monomial)
    return coefficient == 1 and letters and len(monomial) in (1, 2)


def _single_letter(answer: Answer) -> str:
    """A choice like (C): a text of one letter, or the variable C; "" for anything else."""
    if answer.kind == "text":
        return answer.detail if len(plain(answer.detail)) == 1 else ""
    assert answer.value is not None
    if len(answer.value.num) != 1 or answer.detail:
        return ""
    ((monomial, coefficient),) = answer.value.num.items()
    single = coefficient == 1 and len(monomial) == 1 and monomial[0][0][0] == "letter" and monomial[0][1] == 1
    return str(monomial[0][0][1]).casefold() if single else ""


def _braced(text: str, start: int) -> str | None:
    """What stands before the brace that closes one opened just before ``start``; ``None`` if it is not closed soon."""
    depth = 1
    for place in range(start, min(len(text), start + _TAIL)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return text[start:place].strip() or None
    return None
