"""Arithmetic formulas written by a model, evaluated exactly and in bounded time.

The whitelist is the grammar itself: ``sum = product (("+" | "-") product)*``, ``product = atom (("*" | "/") atom)*``,
``atom = digits | "(" sum ")"``. Powers, decimals, signs, juxtaposition, names, ``//`` and every character outside ASCII
digits, the four operators, round brackets and spaces are refused. A text is measured before it is read, so work is
bounded by ``MAX_LENGTH`` whatever comes; numbers have at most ``MAX_DIGITS`` digits, so the fractions stay small too.
"""

from __future__ import annotations

import operator
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

MAX_LENGTH = 256
MAX_DEPTH = 16
MAX_DIGITS = 6

_DIGITS = frozenset("0123456789")
_SYMBOLS = frozenset("+-*/()")
_OPERATIONS = MappingProxyType({"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv})


class Formula(NamedTuple):
    """An evaluated formula.

    Attributes:
        value: exact; ``None`` when something is divided by zero.
        numbers: the numbers written, in order.
    """

    value: Fraction | None
    numbers: tuple[int, ...]


class IllegalTextError(ValueError):
    """The text is too long, or holds characters or numbers that no formula may hold."""


class FormulaSyntaxError(ValueError):
    """Every character may stand in a formula, but together they are none."""


def tokens_of(text: str) -> list[str]:
    """Numbers, operators and brackets of a text, spaces left out.

    Raises:
        IllegalTextError: longer than ``MAX_LENGTH``, a character outside the whitelist, ``**`` or ``//``, two numbers
            with nothing but space between, a leading zero, or more than ``MAX_DIGITS`` digits.
    """
    if len(text) > MAX_LENGTH:
        raise IllegalTextError(f"a formula has at most {MAX_LENGTH} characters, got {len(text)}")
    tokens: list[str] = []
    spaced = True
    for character in text:
        if character == " ":
            spaced = True
            continue
        if character in _DIGITS:
            if tokens and tokens[-1][0] in _DIGITS:
                if spaced:
                    raise IllegalTextError("two numbers stand side by side")
                tokens[-1] += character
            else:
                tokens.append(character)
            if len(tokens[-1]) > MAX_DIGITS:
                raise IllegalTextError(f"a number has at most {MAX_DIGITS} digits")
            if len(tokens[-1]) > 1 and tokens[-1][0] == "0":
                raise IllegalTextError("a number may not begin with 0")
        elif character in _SYMBOLS:
            if character in "*/" and tokens and tokens[-1] == character:
                raise IllegalTextError(f"{character * 2} is not allowed")
            tokens.append(character)
        else:
            raise IllegalTextError(f"character {character!r} is not allowed")
        spaced = False
    return tokens


def evaluate(text: str) -> Formula:
    """Evaluate a formula.

    Raises:
        IllegalTextError: see ``tokens_of``.
        FormulaSyntaxError: not a formula, nested deeper than ``MAX_DEPTH``, or empty.
    """
    reader = _Reader(tokens_of(text))
    return Formula(reader.whole(), tuple(reader.numbers))


def worked(text: str) -> list[str]:
    """The operations of a formula in the order in which they are done, as ``10-2=8``; what has no value is left out.

    Raises:
        IllegalTextError, FormulaSyntaxError: see ``evaluate``.
    """
    reader = _Recorder(tokens_of(text))
    reader.whole()
    return reader.lines


class _Reader:
    """Recursive descent over the tokens; a value of ``None`` stands for a division by zero somewhere below."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.position = 0
        self.numbers: list[int] = []

    def whole(self) -> Fraction | None:
        value = self.sum(0)
        if self.position != len(self.tokens):
            raise FormulaSyntaxError(f"{self.peek()!r} cannot stand here")
        return value

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.position += 1
        return token

    def sum(self, depth: int) -> Fraction | None:
        value = self.product(depth)
        while self.peek() in ("+", "-"):
            value = self.apply(value, self.take(), self.product(depth))
        return value

    def product(self, depth: int) -> Fraction | None:
        value = self.atom(depth)
        while self.peek() in ("*", "/"):
            value = self.apply(value, self.take(), self.atom(depth))
        return value

    def atom(self, depth: int) -> Fraction | None:
        token = self.take()
        if token == "(":
            if depth >= MAX_DEPTH:
                raise FormulaSyntaxError(f"brackets are nested deeper than {MAX_DEPTH}")
            value = self.sum(depth + 1)
            if self.take() != ")":
                raise FormulaSyntaxError("a bracket is not closed")
            return value
        if not token or token[0] not in _DIGITS:
            raise FormulaSyntaxError(f"a number is wanted, got {token or 'the end'!r}")
        self.numbers.append(int(token))
        return Fraction(int(token))

    def apply(self, left: Fraction | None, symbol: str, right: Fraction | None) -> Fraction | None:
        if left is None or right is None or (symbol == "/" and right == 0):
            return None
        return _OPERATIONS[symbol](left, right)


class _Recorder(_Reader):
    """Keeps every operation."""

    def __init__(self, tokens: list[str]) -> None:
        super().__init__(tokens)
        self.lines: list[str] = []

    def apply(self, left: Fraction | None, symbol: str, right: Fraction | None) -> Fraction | None:
        value = super().apply(left, symbol, right)
        if value is not None:
            self.lines.append(f"{left}{symbol}{right}={value}")
        return value
