"""Expressions of LaTeX or plain text, read into exact values by recursive descent.

Numbers, decimals (repeating ones with ``\\overline``), fractions, mixed numbers, roots, powers, factorials, binomial
coefficients, pi, e, i, variables with subscripts, functions, absolute values. Infinity stands alone, with or without a
sign: sums and quotients of it have no value.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import comb, factorial

from data.verifiers.algebra import Ring, TooLargeError, Value, rational
from data.verifiers.spelling import UnreadableError

MAX_DEPTH = 24
MAX_DIGITS = 400
MAX_FACTORIAL = 300

_TOKEN = re.compile(r"\d+\.?\d*|\.\d+|\\[a-zA-Z]+|[a-zA-Z]|\S", re.ASCII)
_REPEATING = re.compile(r"(\d{0,20})\.(\d{0,20})\\overline\{(\d{1,20})\}", re.ASCII)
# 3\frac{1}{2} is 3.5; 3\frac{x}{2} and 3 * \frac{1}{2} are products, and so is what follows a power or an index.
_MIXED = re.compile(
    r"(?<![A-Za-z\d.^_}])(\d{1,30})\s?\\frac\s?"
    r"(?:\{\s?(\d{1,30})\s?\}|(\d))\s?(?:\{\s?(\d{1,30})\s?\}|(\d)(?!\d))",
    re.ASCII,
)
_INFINITY = re.compile(r"([+-]?)\s*\\infty")
FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"}
    | {"log", "ln", "exp", "det", "gcd", "lcm", "max", "min"}
)
_INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
_HAVE_INVERSES = frozenset({"sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh"})
_GREEK = frozenset(
    {"alpha", "beta", "gamma", "delta", "theta", "lambda", "mu", "nu", "omega", "phi", "rho", "sigma", "tau", "epsilon"}
    | {"psi", "zeta", "eta", "xi", "kappa", "chi", "Delta", "Gamma", "Omega", "Phi", "Theta", "Lambda", "Sigma", "ell"}
)
# Two letters in a row may be a product; these are words, whose letters must not change places.
_WORDS = frozenset(
    {"no", "on", "of", "is", "it", "in", "to", "at", "as", "an", "am", "or", "so", "if", "by", "we", "he", "me", "my"}
    | {"up", "us", "go", "do", "be"}
)


def value_of(text: str, ring: Ring) -> Value:
    """The value of an expression.

    Raises:
        UnreadableError: no expression.
        TooLargeError, Undefined: see ``algebra``.
    """
    if infinite := _INFINITY.fullmatch(text):
        endless = ring.unknown("infty")
        return ring.negative(endless) if infinite[1] == "-" else endless
    if "\\infty" in text:
        raise UnreadableError("infinity has no arithmetic")
    return _Reader(_MIXED.sub(_mixed, _REPEATING.sub(_repeating, text)), ring).all()


def _repeating(found: re.Match[str]) -> str:
    """0.1\\overline{6} as the fraction that it is."""
    whole, fixed, period = found[1] or "0", found[2], found[3]
    scale = 10 ** len(fixed)
    value = Fraction(int(whole + fixed), scale) + Fraction(int(period), scale * (10 ** len(period) - 1))
    return f"({value.numerator}/{value.denominator})"


def _mixed(found: re.Match[str]) -> str:
    above, below = int(found[2] or found[3]), int(found[4] or found[5])
    return f"({found[1]}+{above}/{below})" if 0 < above < below else found[0]


class _Reader:
    def __init__(self, text: str, ring: Ring) -> None:
        self.tokens = _TOKEN.findall(text)
        self.place = 0
        self.ring = ring

    def all(self) -> Value:
        value = self.sum(0)
        if self.peek():
            raise UnreadableError(f"{self.peek()!r} cannot stand here")
        return value

    def peek(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek()
        if not token or (wanted and token != wanted):
            raise UnreadableError(f"{wanted or 'more'!r} is wanted, got {token or 'the end'!r}")
        self.place += 1
        return token

    def sum(self, depth: int) -> Value:
        if depth > MAX_DEPTH:
            raise UnreadableError("nested too deep")
        negative = False
        if self.peek() in ("+", "-"):
            negative = self.take() == "-"
        value = self.product(depth)
        value = self.ring.negative(value) if negative else value
        while self.peek() in ("+", "-"):
            sign = self.take()
            right = self.product(depth)
            value = self.ring.add(value, self.ring.negative(right) if sign == "-" else right)
        return value

    def product(self, depth: int) -> Value:
        value = self.factor(depth)
        while True:
            token = self.peek()
            if token in ("*", "/"):
                self.take()
                right = self.signed(depth)
                value = self.ring.multiply(value, right) if token == "*" else self.ring.divide(value, right)
            elif token and (token[0].isalpha() or token in ("(", "{") or (token[0] == "\\" and token[1:].isalpha())):
                value = self.ring.multiply(value, self.factor(depth))
            else:
                return value

    def signed(self, depth: int) -> Value:
        if self.peek() == "-":
            self.take()
            return self.ring.negative(self.factor(depth))
        return self.factor(depth)

    def factor(self, depth: int) -> Value:
        value = self.base(depth)
        while self.peek() in ("!", "\\degree"):
            degrees = self.take() == "\\degree"
            value = self.ring.multiply(value, self.ring.unknown("degree")) if degrees else self.factorial(value)
        if self.peek() == "^":
            self.take()
            value = self.ring.power(value, self.group(depth))
            if self.peek() in ("^", "!"):
                raise UnreadableError("two powers in a row")
        return value

    def factorial(self, value: Value) -> Value:
        number = rational(value)
        if number is None:
            return self.ring.unknown("factorial", self.ring.name(value))
        if number.denominator != 1 or number < 0:
            raise UnreadableError("no factorial")
        if number > MAX_FACTORIAL:
            raise TooLargeError("a large factorial")
        return self.ring.number(factorial(int(number)))

    def group(self, depth: int) -> Value:
        """What stands in braces, or one number, letter or command."""
        if self.peek() == "{":
            self.take()
            value = self.sum(depth + 1)
            self.take("}")
            return value
        return self.signed(depth + 1) if self.peek() == "-" else self.base(depth + 1)

    def argument(self, depth: int) -> Value:
        """An argument of a LaTeX command: in braces, or the next single digit or letter."""
        token = self.peek()
        if token and token[0].isdigit():
            if not token.isdigit():
                raise UnreadableError(f"{token!r} is no argument")
            self.tokens[self.place : self.place + 1] = [token[1:]] if len(token) > 1 else []
            return self.ring.number(int(token[0]))
        return self.group(depth)

    def base(self, depth: int) -> Value:
        if depth > MAX_DEPTH:
            raise UnreadableError("nested too deep")
        token = self.take()
        if token[0].isdigit() or (token[0] == "." and len(token) > 1):
            return self.number(token)
        if token in ("(", "[", "{"):
            value = self.sum(depth + 1)
            self.take({"(": ")", "[": "]", "{": "}"}[token])
            return value
        if token == "|":
            inside = self.sum(depth + 1)
            self.take("|")
            number = rational(inside)
            return self.ring.unknown("abs", self.ring.name(inside)) if number is None else self.ring.number(abs(number))
        if token[0] == "\\":
            return self.command(token[1:], depth)
        if token.isascii() and token.isalpha():
            return self.letters(token, depth)
        raise UnreadableError(f"{token!r} cannot stand here")

    def number(self, token: str) -> Value:
        if len(token) > MAX_DIGITS or token.endswith("."):
            raise UnreadableError(f"{token[:20]!r} is no number")
        value = Fraction(token if token[0] != "." else "0" + token)
        if self.peek() and (self.peek()[0].isdigit() or self.peek()[0] == "."):
            raise UnreadableError("two numbers stand side by side")
        return self.ring.number(value)

    def command(self, name: str, depth: int) -> Value:
        if name == "frac":
            above = self.argument(depth)
            return self.ring.divide(above, self.argument(depth))
        if name == "binom":
            return self.ring.number(self.binomial(rational(self.argument(depth)), rational(self.argument(depth))))
        if name == "sqrt":
            return self.root(depth)
        if name == "text":
            self.take("{")
            run = ""
            while self.peek() != "}":
                run += self.take()
            self.take("}")
            if run in FUNCTIONS:
                return self.function(run, depth)
            if len(run) == 1 and run.isascii() and run.isalpha():
                return self.letter(run)
            raise UnreadableError(f"{run[:20]!r} is a word")
        if name in FUNCTIONS:
            return self.function(name, depth)
        if name == "pi":
            return self.ring.unknown("pi")
        if name in _GREEK:
            return self.subscripted(name, depth)
        raise UnreadableError(f"\\{name} is not known")

    def binomial(self, above: Fraction | None, below: Fraction | None) -> int:
        if above is None or below is None or above.denominator * below.denominator != 1 or min(above, below) < 0:
            raise UnreadableError("no binomial coefficient")
        if above > MAX_FACTORIAL:
            raise TooLargeError("a large binomial coefficient")
        return comb(int(above), int(below))

    def root(self, depth: int) -> Value:
        degree: Fraction | None = Fraction(2)
        if self.peek() == "[":
            self.take()
            degree = rational(self.sum(depth + 1))
            self.take("]")
        if self.peek().isdigit() and len(self.peek()) > 1:
            raise UnreadableError("a root without braces: of one digit, or of all?")
        inside = self.base(depth + 1) if self.peek() == "(" else self.argument(depth)
        if degree is None or degree.denominator != 1 or not 1 <= degree <= 12:
            raise UnreadableError("no degree of a root")
        return self.ring.root(inside, int(degree))

    def function(self, name: str, depth: int) -> Value:
        subscript: Value | None = None
        power: Value | None = None
        if self.peek() == "_":
            self.take()
            subscript = self.argument(depth)
        if self.peek() == "^":
            self.take()
            power = self.group(depth)
            if name in _HAVE_INVERSES and rational(power) == -1:  # the inverse function, not 1 / sin
                name, power = _INVERSE.get(name, f"arc{name}"), None
        argument = self.factor(depth + 1)
        known = self.ring.logarithm(argument, subscript) if name == "log" and subscript is not None else None
        index = None if subscript is None else self.ring.name(subscript)
        value = known or self.ring.unknown("function", name, index, self.ring.name(argument))
        return value if power is None else self.ring.power(value, power)

    def letters(self, token: str, depth: int) -> Value:
        """A run of letters: a name, or a product of variables, the last of which alone takes a subscript or power."""
        start = self.place - 1
        run = token
        while self.peek().isascii() and self.peek().isalpha() and len(run) < 12:
            run += self.take()
        if run == "pi":
            return self.ring.unknown("pi")
        if run in FUNCTIONS:
            return self.function(run, depth)
        if run == "sqrt":
            return self.root(depth)
        if run in _WORDS or len(run) > 3 or (len(run) == 3 and list(run) != sorted(run)):
            raise UnreadableError(f"{run!r} is a word")
        # The rest of the run is read by itself, so that its powers and subscripts belong to single letters.
        self.place = start + 1
        return self.subscripted(token, depth) if self.peek() == "_" else self.letter(token)

    def subscripted(self, name: str, depth: int) -> Value:
        if self.peek() != "_":
            return self.ring.unknown(name)
        self.take()
        return self.ring.unknown("letter", name, self.ring.name(self.group(depth + 1)))

    def letter(self, character: str) -> Value:
        return self.ring.imaginary_unit() if character == "i" else self.ring.unknown("letter", character)
