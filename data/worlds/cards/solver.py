"""All ways to make a target from numbers with + - * / and brackets, every number used once, in exact fractions.

Formulas that differ only by the order of a sum or a product, or by brackets that change nothing, are one solution: sums
are kept flat as (terms added, terms subtracted), products as (factors, divisors). ``x*1`` and ``x/1`` stay two
solutions.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from typing import Any

Node = Any
"""An int, or ("+", added, subtracted), or ("*", factors, divisors), each a sorted tuple of nodes."""

MAX_NUMBERS = 4
"""Five numbers have some hundred thousand formulas: too many to list for every draw."""


@lru_cache(maxsize=4096)
def values_of(numbers: tuple[int, ...]) -> frozenset[Fraction]:
    """Every value that a formula over all of these (sorted) numbers can have."""
    if len(numbers) == 1:
        return frozenset({Fraction(numbers[0])})
    found: set[Fraction] = set()
    for left, right in _partitions(numbers):
        for a in values_of(left):
            for b in values_of(right):
                found |= {a + b, a - b, b - a, a * b}
                if b:
                    found.add(a / b)
                if a:
                    found.add(b / a)
    return frozenset(found)


@lru_cache(maxsize=16384)
def solvable(numbers: tuple[int, ...], target: int) -> bool:
    """Whether some formula over all of these (sorted) numbers has the target as its value."""
    goal = Fraction(target)
    if len(numbers) == 1:
        return goal == numbers[0]
    for left, right in _partitions(numbers):
        rest = values_of(right)
        # The last operation is undone, so that the larger side is looked up and not crossed with the smaller one.
        for a in values_of(left):
            if goal - a in rest or a - goal in rest or a + goal in rest:
                return True
            if a and goal and (goal / a in rest or a / goal in rest or a * goal in rest):
                return True
            if not goal and (not a or 0 in rest):
                return True
    return False


@lru_cache(maxsize=4096)
def solutions(numbers: tuple[int, ...], target: int) -> tuple[str, ...]:
    """Different formulas over all of these numbers with the target as value, shortest first, then alphabetically.

    Raises:
        ValueError: no number, or more than ``MAX_NUMBERS``.
    """
    if not 1 <= len(numbers) <= MAX_NUMBERS:
        raise ValueError(f"between 1 and {MAX_NUMBERS} numbers can be solved for, got {len(numbers)}")
    numbers = tuple(sorted(numbers))
    if not solvable(numbers, target):
        return ()
    nodes = _formulas(numbers, Fraction(target))
    return tuple(sorted((written(node) for node, _ in nodes), key=lambda text: (len(text), text)))


def written(node: Node) -> str:
    """A formula as text, with the fewest brackets."""
    if isinstance(node, int):
        return str(node)
    sign, first, second = node
    if sign == "+":
        return "+".join(map(written, first)) + "".join(f"-{written(term)}" for term in second)
    return "*".join(map(_factor, first)) + "".join(f"/{_factor(factor)}" for factor in second)


def _factor(node: Node) -> str:
    text = written(node)
    return f"({text})" if not isinstance(node, int) and node[0] == "+" else text


@lru_cache(maxsize=4096)
def _formulas(numbers: tuple[int, ...], goal: Fraction | None = None) -> tuple[tuple[Node, Fraction], ...]:
    """Different formulas with their values; with a goal only those that have it, the others not being built at all."""
    if len(numbers) == 1:
        only = Fraction(numbers[0])
        return ((numbers[0], only),) if goal is None or goal == only else ()
    found: dict[Node, Fraction] = {}
    for left, right in _partitions(numbers):
        for a, x in _formulas(left):
            for b, y in _formulas(right):
                for combine, sign, first, second, value in (
                    (_join, "+", a, b, x + y),
                    (_join, "*", a, b, x * y),
                    (_part, "+", a, b, x - y),
                    (_part, "+", b, a, y - x),
                    (_part, "*", a, b, x / y if y else None),
                    (_part, "*", b, a, y / x if x else None),
                ):
                    if value is not None and (goal is None or value == goal):
                        found[combine(sign, first, second)] = value
    return tuple(found.items())


def _partitions(numbers: tuple[int, ...]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Splits into two parts that are not empty, each unordered pair once."""
    positions = range(len(numbers))
    found = set()
    for size in range(1, len(numbers) // 2 + 1):
        for chosen in combinations(positions, size):
            left = tuple(numbers[index] for index in chosen)
            right = tuple(numbers[index] for index in positions if index not in chosen)
            found.add((left, right) if len(left) < len(right) or left <= right else (right, left))
    return sorted(found)


def _join(sign: str, a: Node, b: Node) -> Node:
    first_a, second_a = _flat(sign, a)
    first_b, second_b = _flat(sign, b)
    return sign, _ordered(first_a + first_b), _ordered(second_a + second_b)


def _part(sign: str, a: Node, b: Node) -> Node:
    first_a, second_a = _flat(sign, a)
    first_b, second_b = _flat(sign, b)
    return sign, _ordered(first_a + second_b), _ordered(second_a + first_b)


def _flat(sign: str, node: Node) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    if not isinstance(node, int) and node[0] == sign:
        return node[1], node[2]
    return (node,), ()


def _ordered(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    return tuple(sorted(nodes, key=repr))
