"""Whether two answers that were read say the same; symmetric. See ``final_answer`` for what is equal."""

from __future__ import annotations

from collections.abc import Callable

from data.verifiers.algebra import Ring, Value
from data.verifiers.latex import Answer
from data.verifiers.regions import region
from data.verifiers.units import SYMBOLS

_EQUATIONS = ("=", "\\neq")


def same(a: Answer, b: Answer, ring: Ring, *, percent: bool) -> bool:
    """Whether two answers say the same.

    Args:
        a, b: read by this ring.
        ring: pays for every comparison.
        percent: 28 and 28% are the same.

    Raises:
        TooLargeError: the budget is used up.
    """
    return _Comparison(ring, percent).same(a, b)


class _Comparison:
    def __init__(self, ring: Ring, percent: bool) -> None:
        self.ring = ring
        self.percent = percent
        self.kinds: dict[str, Callable[[Answer, Answer], bool]] = {
            "number": self.number,
            "relation": self.relation,
            "set": self.set,
            "list": self.list,
            "union": self.paired,
        }

    def same(self, a: Answer, b: Answer) -> bool:
        self.ring.spend(10)
        a, b = _bare(a), _bare(b)
        if "choice" in (a.kind, b.kind):
            return self.choice(a, b)
        if a.kind == b.kind:
            return self.kinds.get(a.kind, self.parts)(a, b)
        if {a.kind, b.kind} == {"set", "list"}:
            return self.paired(a, b)
        if self.region(a, b) or self.point(a, b):
            return True
        if "relation" in (a.kind, b.kind):
            x, y = _solved(a), _solved(b)
            return (x, y) != (a, b) and self.same(x, y)
        if {a.kind, b.kind} == {"text", "number"}:  # "xy" may be a word
            number, text = (a, b) if a.kind == "number" else (b, a)
            return self.equal(number.value, text.value) and not number.detail
        return False

    def equal(self, a: Value | None, b: Value | None) -> bool:
        return a is not None and b is not None and self.ring.equal(a, b)

    def parts(self, a: Answer, b: Answer) -> bool:
        """Texts, tuples, matrices, ratios: the same form, and the same parts in order."""
        form = a.detail == b.detail and len(a.parts) == len(b.parts)
        return form and all(map(self.same, a.parts, b.parts))

    def number(self, a: Answer, b: Answer) -> bool:
        assert a.value is not None and b.value is not None
        units = {a.detail, b.detail}
        if units == {"%", ""}:
            rate, other = (a.value, b.value) if a.detail == "%" else (b.value, a.value)
            hundredfold = self.ring.multiply(rate, self.ring.number(100))
            return self.equal(rate, other) or (self.percent and self.equal(hundredfold, other))
        if len(units) == 2 and ("" not in units or any(unit.startswith("base") for unit in units)):
            return False
        return self.equal(a.value, b.value) or self.unit_as_letter(a, b) or self.unit_as_letter(b, a)

    def unit_as_letter(self, a: Answer, b: Answer) -> bool:
        """Whether "5 m", which is read as a product, is the five metres of the other side."""
        letter = SYMBOLS.get(a.detail)
        if letter is None or b.detail or a.value is None:
            return False
        return self.equal(self.ring.multiply(a.value, self.ring.unknown("letter", letter)), b.value)

    def set(self, a: Answer, b: Answer) -> bool:
        """Every member of each is in the other."""
        both = ((a, b), (b, a))
        return all(any(self.same(x, y) for y in other.parts) for one, other in both for x in one.parts)

    def list(self, a: Answer, b: Answer) -> bool:
        """The same members as often, in any order; "and" is not "or" between inequalities."""
        if {a.detail, b.detail} == {"and", "or"} and any(
            part.kind == "relation" and part.detail != "=" for part in (*a.parts, *b.parts)
        ):
            return False
        named = [_names(answer) for answer in (a, b)]
        if max(map(len, named)) > 1 and not all(named):
            # x = 1, y = 2 against 1, 2: the order alone says which is which.
            return len(a.parts) == len(b.parts) and all(map(self.same, a.parts, b.parts))
        return self.paired(a, b)

    def paired(self, a: Answer, b: Answer) -> bool:
        """Whether each part of one is a part of the other, as often."""
        left = [*b.parts]
        for x in a.parts:
            match = next((place for place, y in enumerate(left) if self.same(x, y)), None)
            if match is None:
                return False
            left.pop(match)
        return not left

    def relation(self, a: Answer, b: Answer) -> bool:
        """The same difference of sides up to a factor; or the same sides, where they are no numbers."""
        if a.detail != b.detail:
            return self.region(a, b)
        values = [part.value for part in (*a.parts, *b.parts)]
        units = {part.detail for part in (*a.parts, *b.parts) if part.kind == "number" and part.detail}
        known = [value for value in values if value is not None]
        if len(known) < 4 or "%" in units:
            crossed = a.detail in _EQUATIONS and all(map(self.same, a.parts, b.parts[::-1]))
            return crossed or all(map(self.same, a.parts, b.parts))
        left, right = (self.ring.add(known[place], self.ring.negative(known[place + 1])) for place in (0, 2))
        ratio = self.ring.ratio(left, right)
        return len(units) < 2 and ratio is not None and (a.detail in _EQUATIONS or ratio > 0)

    def region(self, a: Answer, b: Answer) -> bool:
        """Whether an inequality and an interval are the same part of the line."""
        x, y = region(a, self.ring), region(b, self.ring)
        if x is None or y is None or (x.name and y.name and x.name != y.name) or (x.answer, y.answer) == (a, b):
            return False
        return self.same(x.answer, y.answer)

    def point(self, a: Answer, b: Answer) -> bool:
        """Whether x = 1, y = 2 is said of the point (1, 2): coordinates in the order of the alphabet."""
        if {a.kind, b.kind} != {"list", "tuple"}:
            return False
        listed, point = (a, b) if a.kind == "list" else (b, a)
        names = [
            part.parts[0].detail if part.kind == "relation" and part.detail == "=" else "" for part in listed.parts
        ]
        if listed.detail == "or" or point.detail != "()" or any(len(name) != 1 for name in names):
            return False
        values = [part.parts[1] for _, part in sorted(zip(names, listed.parts, strict=True), key=lambda pair: pair[0])]
        same = len(set(names)) == len(values) == len(point.parts)
        return same and all(map(self.same, values, point.parts))

    def choice(self, a: Answer, b: Answer) -> bool:
        """Choices by letter and, where both say it, by what is chosen; a choice and another answer by either."""
        if a.kind == b.kind:
            return a.detail == b.detail and (not (a.parts and b.parts) or self.same(a.parts[0], b.parts[0]))
        choice, other = (a, b) if a.kind == "choice" else (b, a)
        if letter := _letter(other):
            return letter == choice.detail
        return bool(choice.parts) and self.same(choice.parts[0], other)


def _bare(answer: Answer) -> Answer:
    """The only member of a set; the value of a name that has one."""
    if answer.kind == "set" and len(answer.parts) == 1:
        return answer.parts[0]
    return Answer("number", "", answer.value) if answer.kind == "name" and answer.value else answer


def _solved(answer: Answer) -> Answer:
    """What a name is said to be: the right side of ``x = ...`` and ``x \\in ...``; any other answer as it is."""
    if answer.kind != "relation" or answer.detail not in ("=", "\\in") or answer.parts[0].kind != "name":
        return answer
    return _bare(answer.parts[1])


def _names(answer: Answer) -> set[str]:
    """Names that the equations of a list are about."""
    return {part.parts[0].detail for part in answer.parts if part.kind == "relation" and part.parts[0].kind == "name"}


def _letter(answer: Answer) -> str:
    """The letter, in lower case, of an answer that is one letter; "" for anything else."""
    if answer.kind == "text":
        return answer.detail if len(answer.detail) == 1 and answer.detail.isalpha() else ""
    if answer.kind != "number" or answer.detail or answer.value is None or len(answer.value.num) != 1:
        return ""
    ((monomial, coefficient),) = answer.value.num.items()
    if coefficient != 1 or len(monomial) != 1 or monomial[0][1] != 1 or list(answer.value.den) != [()]:
        return ""
    atom = monomial[0][0]
    return str(atom[1]).casefold() if atom[0] == "letter" and len(atom) == 2 else "i" if atom == ("i",) else ""
