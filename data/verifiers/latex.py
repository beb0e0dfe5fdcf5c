"""Answers of mathematics problems, read from LaTeX or plain text into structures that can be compared.

What is understood: integers, decimals, fractions, mixed numbers, roots, powers, pi, e, i, variables, functions,
percent; units behind a number; tuples and intervals, sets, lists, unions, matrices, equations and inequalities; words.
Anything else is kept as its letters (kind ``text``). At most ``MAX_LENGTH`` characters are read, nested at most
``MAX_DEPTH`` deep.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from data.verifiers.algebra import Ring, Value, key, rational

MAX_LENGTH = 512
MAX_DEPTH = 24
MAX_PARTS = 32
MAX_DIGITS = 60

_SPACING = re.compile(r"\\(?:[!,;: ]|quad|qquad|displaystyle|left(?![a-z])|right(?![a-z])|phantom\{[^{}]*\})")
_SAME = (
    ("\\dfrac", "\\frac"), ("\\tfrac", "\\frac"), ("\\cfrac", "\\frac"), ("\\leq", "\\le"), ("\\geq", "\\ge"),
    ("\\mbox", "\\text"), ("\\textnormal", "\\text"), ("\\textbf", "\\text"), ("\\mathrm", "\\text"),
    ("\\mathbf", "\\text"), ("^\\circ", "\\degree"), ("^{\\circ}", "\\degree"), ("\N{DEGREE SIGN}", "\\degree"),
    ("\N{MINUS SIGN}", "-"), ("\\times", "*"), ("\\cdot", "*"), ("\\div", "/"), ("\N{INFINITY}", "\\infty"),
    ("\N{GREEK SMALL LETTER PI}", "\\pi"), ("\N{SQUARE ROOT}", "\\sqrt"), ("\\lbrace", "\\{"), ("\\rbrace", "\\}"),
    ("~", " "), ("{,}", ","), ("\\text {", "\\text{"),
)  # fmt: skip
_TEXT = re.compile(r"\\text\s?\{([^{}]*)\}")
_CONJUNCTION = re.compile(r"\\text\{\s*,?\s*(?:and|or)\s*\}|(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])")
_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+)(?![\d,])")
_MIXED = re.compile(r"(-?)\s?(\d{1,20}) (\d{1,20})/(\d{1,20})")
_BASE = re.compile(r"(\d{1,60})_\{?(\d{1,2})\}?")
_TEXT_UNIT = re.compile(r"(.*[^\s])\s*\\text\{([^{}]*)\}\s*(\^\{?\d\}?)?")
_SHORT_UNITS = "cm|mm|km|kg|mg|ml|ft|in|mi|lb|oz|hr|pm|am"
_WORD_UNIT = re.compile(
    rf"(.*[\d)}}]) ((?:{_SHORT_UNITS}|(?!sin|cos|tan|log|sqrt)[A-Za-z]{{3,20}})"
    r"(?: [A-Za-z]{1,20}){0,4}\.?)(\^\{?\d\}?)?"
)
_WORDS = re.compile(r"[A-Za-z]{2,30}(?:[ '-][A-Za-z]{1,30}){0,12}")
_MATRIX = re.compile(r"\\begin\{([pbvBV]?matrix|array)\}(?:\{[clr|]*\})?(.*)\\end\{\1\}")
_TOKEN = re.compile(r"\d+\.?\d*|\.\d+|\\[a-zA-Z]+|[a-zA-Z]|\S", re.ASCII)
_FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"}
    | {"log", "ln", "exp", "det", "gcd", "lcm", "max", "min", "deg"}
)
_GREEK = frozenset(
    {"alpha", "beta", "gamma", "delta", "theta", "lambda", "mu", "omega", "phi", "rho", "sigma", "tau", "varphi"}
    | {"epsilon", "psi", "zeta", "eta"}
)
_RELATIONS = ("\\le", "\\ge", "\\neq", "<", ">", "=")
_FLIPPED = {"\\le": "\\ge", ">": "<"}
_OPEN, _CLOSE = "([", ")]"


class Answer(NamedTuple):
    """One answer.

    Attributes:
        kind: number, list, set, tuple, union, matrix, relation or text.
        detail: unit of a number; both brackets of a tuple or interval; sign of a relation; rows of a matrix; the text.
        value: of a number.
        parts: of everything made of answers.
    """

    kind: str
    detail: str = ""
    value: Value | None = None
    parts: tuple[Answer, ...] = ()


class UnreadableError(ValueError):
    """The text is too long, too deep or no expression."""


def cleaned(text: str) -> str:
    """One spelling for what LaTeX can say in several ways; ``UnreadableError`` beyond ``MAX_LENGTH``."""
    if len(text) > MAX_LENGTH:
        raise UnreadableError(f"an answer has at most {MAX_LENGTH} characters, got {len(text)}")
    for spelling, ours in _SAME:
        text = text.replace(spelling, ours)
    text = _SPACING.sub(lambda found: "" if found[0] == "\\!" else " ", text.replace("\\\\", "\\newrow "))
    text = " ".join(text.split()).strip()
    for mark in ("$$", "$"):
        if text.startswith(mark) and text.endswith(mark) and len(text) > 2 * len(mark):
            text = text[len(mark) : -len(mark)].strip()
    return text.rstrip(".").strip() if not text.endswith("\\.") else text


def read(text: str, ring: Ring) -> Answer:
    """Read an answer; what is no mathematics becomes ``text``.

    Raises:
        UnreadableError: more than ``MAX_LENGTH`` characters.
        TooLargeError: see ``algebra``.
    """
    text = cleaned(text)
    try:
        return _read(text, ring, 0)
    except UnreadableError:
        return Answer("text", plain(text))


def plain(text: str) -> str:
    """Letters of a text answer: no ``\\text``, no brackets around it, lower case."""
    text = _TEXT.sub(r"\1", text)
    text = " ".join(text.split()).strip(" .")
    if len(text) > 2 and text[0] == "(" and text[-1] == ")" and text[1:-1].isalpha():
        text = text[1:-1]
    return text.casefold()


def _read(text: str, ring: Ring, depth: int) -> Answer:
    if depth > MAX_DEPTH:
        raise UnreadableError("nested too deep")
    if not text:
        raise UnreadableError("empty")
    whole = _TEXT.fullmatch(text)
    if whole and "," in whole[1] and not whole[1].strip(" ,").isdigit():
        named = [f"\\text{{{part.strip()}}}" for part in whole[1].split(",") if part.strip()]
        return _several("list", "", named, ring, depth) if len(named) > 1 else _read(named[0], ring, depth + 1)
    if whole or (_WORDS.fullmatch(text) and text not in _FUNCTIONS and text not in ("pi", "sqrt")):
        return Answer("text", plain(text))
    if text.isascii() and len(text) == 3 and text[0] == "(" and text[2] == ")" and text[1].isupper():
        return Answer("text", text[1].casefold())
    text = _THOUSANDS.sub(lambda found: found[1].replace(",", ""), text) if not _bracketed(text) else text
    united = _split(text, ("\\cup",))
    if len(united) > 1:
        return _several("union", "", united, ring, depth)
    for sign in _RELATIONS:
        sides = _split(text, (sign,))
        if len(sides) == 2:
            left, right = (_read(side, ring, depth + 1) for side in sides)
            if sign in _FLIPPED:
                sign, left, right = _FLIPPED[sign], right, left
            return Answer("relation", sign, None, (left, right))
        if len(sides) > 2:
            raise UnreadableError("more than one relation")
    listed = [part for part in _split(_CONJUNCTION.sub(",", text), (",", ";")) if part]
    if len(listed) > 1:
        return _several("list", "", listed, ring, depth)
    if "\\pm" in text:
        return _several("list", "", [text.replace("\\pm", "+"), text.replace("\\pm", "-")], ring, depth)
    matrix = _MATRIX.fullmatch(text)
    if matrix:
        rows = [row.split("&") for row in matrix[2].split("\\newrow") if row.strip()]
        parts = [part.strip() for row in rows for part in row]
        return _several("matrix", ",".join(str(len(row)) for row in rows), parts, ring, depth)
    if text.startswith("\\{") and text.endswith("\\}"):
        return _several("set", "", [part for part in _split(text[2:-2], (",",)) if part], ring, depth)
    if text[0] in _OPEN and text[-1] in _CLOSE and _bracketed(text):
        parts = _split(text[1:-1], (",",))
        if len(parts) > 1:
            return _several("tuple", text[0] + text[-1], parts, ring, depth)
    return _number(text, ring)


def _several(kind: str, detail: str, parts: list[str], ring: Ring, depth: int) -> Answer:
    if len(parts) > MAX_PARTS:
        raise UnreadableError(f"more than {MAX_PARTS} parts")
    return Answer(kind, detail, None, tuple(_read(part.strip(), ring, depth + 1) for part in parts))


def _number(text: str, ring: Ring) -> Answer:
    """An expression with a unit, which may be "": percent is a factor of 1/100, not a unit."""
    unit = ""
    based = _BASE.fullmatch(text)
    if based:
        return Answer("number", f"base {based[2]}", ring.number(int(based[1])))
    if text.startswith(("\\$", "$")):
        text, unit = text.lstrip("\\").removeprefix("$").strip(), "$"
    percent = text.endswith(("\\%", "%"))
    if percent:
        text = text.removesuffix("%").removesuffix("\\").strip()
    elif text.endswith("\\degree"):
        text, unit = text.removesuffix("\\degree").strip(), "degree"
    else:
        found = _TEXT_UNIT.fullmatch(text) or _WORD_UNIT.fullmatch(text)
        if found and not unit:
            power = re.sub(r"\D", "", found[3] or "")
            text, unit = found[1].strip(), _unit(found[2]) + (power if power != "1" else "")
    sign, mixed = 1, _MIXED.fullmatch(text)
    if mixed:
        whole, part = int(mixed[2]), Fraction(int(mixed[3]), int(mixed[4]) or 1)
        if part >= 1 or not int(mixed[4]):
            raise UnreadableError("no mixed number")
        sign = -1 if mixed[1] else 1
        value = ring.number(sign * (whole + part))
    else:
        value = _Expression(text, ring).all()
    if percent:
        value = ring.divide(value, ring.number(100))
    return Answer("number", unit, value)


def _unit(text: str) -> str:
    """A unit in lower case, without full stop and plural."""
    words = text.casefold().strip(" .").split()
    words = [word for word in words if word not in ("a", "an", "the", "of")]
    known = {"dollars": "$", "dollar": "$", "degrees": "degree", "inches": "inch", "feet": "foot", "centimeters": "cm"}
    joined = " ".join(words)
    return known.get(joined) or (joined[:-1] if len(joined) > 3 and joined.endswith("s") else joined)


def _bracketed(text: str) -> bool:
    """Whether the first bracket is closed by the last character."""
    if not text or text[0] not in _OPEN or text[-1] not in _CLOSE:
        return False
    depth = 0
    for place, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return place == len(text) - 1
    return False


def _split(text: str, marks: tuple[str, ...]) -> list[str]:
    """Parts between marks that stand in no bracket."""
    parts, depth, start, place = [], 0, 0, 0
    while place < len(text):
        character = text[place]
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif text.startswith("\\begin", place):
            depth += 1
        elif text.startswith("\\end", place):
            depth -= 1
        mark = next((mark for mark in marks if depth == 0 and text.startswith(mark, place)), None)
        if mark and not (mark[0] == "\\" and text[place + len(mark) : place + len(mark) + 1].isalpha()):
            parts.append(text[start:place].strip())
            place += len(mark)
            start = place
            continue
        place += 1
    return [*parts, text[start:].strip()]


class _Expression:
    """Recursive descent over the tokens of an expression."""

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
            elif token and (token[0].isalpha() or token[0] == "(" or (token[0] == "\\" and token[1:].isalpha())):
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
        if self.peek() == "^":
            self.take()
            value = self.ring.power(value, self.group(depth))
            if self.peek() == "^":
                raise UnreadableError("two powers in a row")
        return value

    def group(self, depth: int) -> Value:
        """What stands in braces, or one number, letter or command."""
        if self.peek() == "{":
            self.take()
            value = self.sum(depth + 1)
            self.take("}")
            return value
        return self.signed(depth + 1) if self.peek() == "-" else self.base(depth + 1)

    def digit_or_group(self, depth: int) -> Value:
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
            return self.number(token, depth)
        if token in ("(", "[", "{"):
            value = self.sum(depth + 1)
            self.take({"(": ")", "[": "]", "{": "}"}[token])
            return value
        if token == "|":
            inside = self.sum(depth + 1)
            self.take("|")
            number = rational(inside)
            return self.ring.unknown("abs", key(inside)) if number is None else self.ring.number(abs(number))
        if token[0] == "\\":
            return self.command(token[1:], depth)
        if token.isascii() and token.isalpha():
            return self.letter(token)
        raise UnreadableError(f"{token!r} cannot stand here")

    def number(self, token: str, depth: int) -> Value:
        if len(token) > MAX_DIGITS or token.endswith("."):
            raise UnreadableError(f"{token[:20]!r} is no number")
        value = Fraction(token if token[0] != "." else "0" + token)
        if self.peek() == "\\frac" and token.isdigit():  # 3\frac{1}{2} is 3.5, but 3\frac{x}{2} is a product
            start = self.place
            part = rational(self.base(depth))
            plain_numbers = all(
                item.isdigit() or item in ("\\frac", "{", "}") for item in self.tokens[start : self.place]
            )
            if part is not None and 0 < part < 1 and plain_numbers:
                return self.ring.number(value + part)
            self.place = start
        elif self.peek() and (self.peek()[0].isdigit() or self.peek()[0] == "."):
            raise UnreadableError("two numbers stand side by side")
        return self.ring.number(value)

    def command(self, name: str, depth: int) -> Value:
        if name == "frac":
            above = self.digit_or_group(depth)
            return self.ring.divide(above, self.digit_or_group(depth))
        if name == "sqrt":
            degree: Fraction | None = Fraction(2)
            if self.peek() == "[":
                self.take()
                degree = rational(self.sum(depth + 1))
                self.take("]")
            if self.peek() == "(":
                inside = self.base(depth + 1)
            else:
                inside = self.digit_or_group(depth)
            if degree is None or degree.denominator != 1 or not 1 <= degree <= 12:
                raise UnreadableError("no degree of a root")
            return self.ring.root(inside, int(degree))
        if name in _FUNCTIONS:
            return self.function(name, depth)
        if name in ("pi", "infty") or name in _GREEK:
            return self.ring.unknown(name)
        raise UnreadableError(f"\\{name} is not known")

    def function(self, name: str, depth: int) -> Value:
        subscript = power = None
        if self.peek() == "_":
            self.take()
            subscript = key(self.group(depth))
        if self.peek() == "^":
            self.take()
            power = self.group(depth)
        value = self.ring.unknown("function", name, subscript, key(self.factor(depth + 1)))
        return value if power is None else self.ring.power(value, power)

    def letter(self, token: str) -> Value:
        run = token
        while self.peek().isascii() and self.peek().isalpha() and len(run) < 8:
            run += self.take()
        if run == "pi":
            return self.ring.unknown("pi")
        if run in _FUNCTIONS:
            return self.function(run, 1)
        if run == "sqrt":
            return self.command("sqrt", 1)
        value = self.ring.number(1)
        for character in run:
            if character == "i":
                value = self.ring.multiply(value, self.ring.imaginary_unit())
            else:
                value = self.ring.multiply(value, self.ring.unknown("letter", character))
        if self.peek() == "_":
            if len(run) > 1:
                raise UnreadableError("a subscript behind several letters")
            self.take()
            return self.ring.unknown("letter", run, key(self.group(1)))
        if self.peek() == "^" and len(run) > 1:
            # ab^2: the power is the last letter's alone
            first, last = run[:-1], run[-1]
            self.place -= 1
            self.tokens[self.place] = last
            value = self.ring.number(1)
            for character in first:
                value = self.ring.multiply(value, self.letter_value(character))
            return self.ring.multiply(value, self.factor(1))
        return value

    def letter_value(self, character: str) -> Value:
        return self.ring.imaginary_unit() if character == "i" else self.ring.unknown("letter", character)
