"""Answers of mathematics problems, read from LaTeX or plain text into structures that can be compared.

What is understood: numbers and expressions (``terms``) with units (``units``); tuples and intervals, sets, lists,
unions, matrices, ratios; equations, inequalities and chains of them; choices like "(C) 5"; words. Anything else is kept
as its letters (kind ``text``). At most ``MAX_LENGTH`` characters are read, nested at most ``MAX_DEPTH`` deep.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from data.verifiers.algebra import Ring, Undefined, Value
from data.verifiers.spelling import UnreadableError, cleaned
from data.verifiers.splitting import closed_by_last, joined_thousands, split, without_commas
from data.verifiers.terms import FUNCTIONS, MAX_DEPTH, value_of
from data.verifiers.units import measured, spelled

MAX_PARTS = 32

_TEXT = re.compile(r"\\text\s?\{([^{}]*)\}")
_CONJUNCTION = re.compile(r"\\text\s?\{\s*,?\s*(and|or)\s*\}|(?<![a-zA-Z\\{])(and|or)(?![a-zA-Z}])", re.IGNORECASE)
_MIXED = re.compile(r"(-?)\s?(\d{1,20})\s(\d{1,20})\s?/\s?(\d{1,20})", re.ASCII)
_BASE = re.compile(r"(-?\d{1,60})_(?:\{(\d{1,2})\}|(\d{1,2}))", re.ASCII)
_CHOICE = re.compile(r"\(?\s?([A-Za-z])\s?\)")
_LABELLED = re.compile(r"(?:\\text\s?\{\s*)?(?:\(([A-J])\)|([A-J])[).:])(?:\s*\}\s*|\s+)([A-Za-z0-9$\\({-].*)")
_WORDS = re.compile(r"[A-Za-z]{2,30}(?:[ '-][A-Za-z]{1,30}){0,12}")
_PLAIN_WORDS = re.compile(r"[\w\s.,:;'\"!?()&/-]*")
_MATRIX = re.compile(r"\\begin\{([pbvBV]?matrix|smallmatrix|array)\}(?:\{[clr|]*\})?(.*)\\end\{\1\}")
_BUILDER = re.compile(r"[a-z]\s?(?:\\in[^|:]{1,40})?[|:](.+)")
_INFINITE = re.compile(r"(?<![A-Za-z\\])(?:infinity|inf)(?![A-Za-z])", re.IGNORECASE)
_PLAIN_UNION = re.compile(r"(?<=[)\]}])\s?U\s?(?=[(\[\\])")
_NAME = re.compile(
    r"[A-Za-z](?:_\{?\w{1,3}\}?)?'*(?:\s?\([\w, ]{1,12}\))?|\\(?!pi|infty|emptyset|degree)[a-z]{2,7}(?:_\{?\w{1,3}\}?)?"
    r"|[A-Z]{2,4}|(?:m\s?)?\\angle\s?\{?[A-Z]{1,3}\}?|\|[A-Z]{2}\||\\overline\{[A-Z]{2}\}|\((?:\s?[a-z]\s?,){1,4}\s?[a-z]\s?\)"
)
_NAMED = re.compile(r"(?:\\text\s?\{\s*)?(?!not )[A-Za-z]{3,20}(?:[ '-][A-Za-z]{1,20}){0,8}(?:\s*\})?")
_SIGNS = ("\\le", "\\ge", "\\neq", "<", ">", "=")
_FLIPPED = {"\\ge": "\\le", ">": "<"}
_OPEN, _CLOSE = "([", ")]"
_REALS = frozenset({"\\mathbb{r}", "\\mathbb r", "all real numbers", "all reals"})
_EMPTY = frozenset({"\\emptyset", "\\{\\}", "\\{ \\}", "empty set", "the empty set"})
_TOO_FAR = (UnreadableError, Undefined)


class Answer(NamedTuple):
    """One answer.

    Attributes:
        kind: number, list, set, tuple, union, matrix, ratio, relation, name, choice or text.
        detail: unit of a number; both brackets of a tuple or interval; "and", "or" or "" of a list; sign of a relation
            (< and <= alone, sides in that order); kind and rows of a matrix; letter of a choice; the text or name.
        value: of a number; of a name or text that can be read as one.
        parts: of everything made of answers; what is chosen, behind the letter of a choice.
    """

    kind: str
    detail: str = ""
    value: Value | None = None
    parts: tuple[Answer, ...] = ()


def read(text: str, ring: Ring) -> Answer:
    """Read an answer; what is no mathematics becomes ``text``.

    Raises:
        UnreadableError: more than ``MAX_LENGTH`` characters, or nothing is left of them.
        TooLargeError, Undefined: see ``algebra``.
    """
    text = cleaned(text)
    if not text:
        raise UnreadableError("nothing but punctuation")
    text = _PLAIN_UNION.sub(" \\\\cup ", _INFINITE.sub("\\\\infty ", text))
    text = _CONJUNCTION.sub(lambda found: f" \\{(found[1] or found[2]).lower()} ", text)
    try:
        return _read(text.strip(), ring, 0)
    except UnreadableError:
        return Answer("text", plain(text))


def plain(text: str) -> str:
    """A text answer: no ``\\text``, single spaces; lower case where it is words; no spaces where it is a formula."""
    text = " ".join(_TEXT.sub(r" \1 ", text).replace("\\and ", "and ").replace("\\or ", "or ").split()).strip(" .")
    return text.casefold() if _PLAIN_WORDS.fullmatch(text) else text.replace(" ", "")


def _read(text: str, ring: Ring, depth: int) -> Answer:
    if depth > MAX_DEPTH:
        raise UnreadableError("nested too deep")
    if not text:
        raise UnreadableError("empty")
    if whole := _TEXT.fullmatch(text):
        return _read(whole[1].strip(), ring, depth + 1)
    if found := _choice(text, ring, depth):
        return found
    if text.casefold() in _REALS:
        endless = ring.unknown("infty")
        ends = Answer("number", "", ring.negative(endless)), Answer("number", "", endless)
        return Answer("tuple", "()", None, ends)
    if text.casefold() in _EMPTY:
        return Answer("set")
    words = text.replace("\\and ", "and ")
    if spelled(words) is not None:
        return _number(words, ring)
    text = joined_thousands(text)
    member = split(text, ("\\in",))[0]
    if len(member) == 2:
        return Answer("relation", "\\in", None, (_name(member[0], ring), _read(member[1], ring, depth + 1)))
    listed, marks = split(text, ("\\and", "\\or", ",", ";"))
    if len(listed) > 1:
        return _list(text, listed, marks, ring, depth)
    if _WORDS.fullmatch(text) and text not in FUNCTIONS and text not in ("pi", "sqrt"):
        return _words(text, ring)
    united, _ = split(text, ("\\cup",))
    if len(united) > 1 and "=" not in united[0]:
        union = _several("union", "", united, ring, depth)
        if all(part.kind == "set" for part in union.parts):
            return Answer("set", "", None, tuple(member for part in union.parts for member in part.parts))
        return union
    if "\\approx" in text:
        return _about(text, ring, depth)
    sides, signs = split(text, _SIGNS)
    if signs:
        return _chain(sides, signs, ring, depth)
    if text.count("\\pm") == 1:
        return _several("list", "", [text.replace("\\pm", "+"), text.replace("\\pm", "-")], ring, depth)
    return _container(text, ring, depth) or _number(text, ring)


def _choice(text: str, ring: Ring, depth: int) -> Answer | None:
    if (alone := _CHOICE.fullmatch(text)) and (alone[1].isupper() or alone[1] in "abcdefghj"):
        return Answer("choice", alone[1].casefold())
    if labelled := _LABELLED.fullmatch(text):
        rest = labelled[3].strip()
        try:
            chosen = _read(rest, ring, depth + 1)
        except UnreadableError:
            chosen = Answer("text", plain(rest))
        return Answer("choice", (labelled[1] or labelled[2]).casefold(), None, (chosen,))
    return None


def _words(text: str, ring: Ring) -> Answer:
    """Words, which may be a number with a unit ("thirty apples"), or a product of letters ("xy")."""
    quantity = measured(text)
    if quantity.text != text and quantity.unit:
        return _number(text, ring)
    try:
        return Answer("text", plain(text), value_of(text, ring))
    except _TOO_FAR:
        return Answer("text", plain(text))


def _list(text: str, parts: list[str], marks: list[str], ring: Ring, depth: int) -> Answer:
    """A list, or one thing that only looks like it: "two and a half inches"."""
    if "\\and" in marks and measured(text.replace("\\and ", "and ")).text.startswith("("):
        try:
            return _number(text.replace("\\and ", "and "), ring)
        except UnreadableError:
            pass
    parts = [part for part in parts if part]
    words = {mark[1:] for mark in marks if mark[0] == "\\"}
    return _several("list", words.pop() if len(words) == 1 else "", parts, ring, depth)


def _about(text: str, ring: Ring, depth: int) -> Answer:
    """The exact side of an approximation; "x is about 5" says 5."""
    exact, _, rough = text.partition("\\approx")
    exact = exact.strip()
    if _NAME.fullmatch(exact):
        return _chain([exact, rough.strip()], ["="], ring, depth)
    return _read(exact, ring, depth + 1)


def _chain(sides: list[str], signs: list[str], ring: Ring, depth: int) -> Answer:
    """A relation; a chain like 1 < x < 2 as the list of its relations; x = 2 + 3 = 5 as x = 5, and 2 + 3 = 5 as 5."""
    if len(sides) > MAX_PARTS:
        raise UnreadableError(f"more than {MAX_PARTS} sides")
    parts = [_side(side, ring, depth) for side in sides]
    if len(parts) == 2 and parts[1].kind == "name" and parts[0].kind != "name":
        parts.reverse()
        signs = [{"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}.get(sign, sign) for sign in signs]
    if set(signs) == {"="}:
        values = parts if parts[0].kind != "name" else parts[1:]
        alike = all(
            part.kind == "number" and part.value and values[0].value and ring.equal(part.value, values[0].value)
            for part in values
        )
        if values is not parts and (alike or len(values) == 1):
            return Answer("relation", "=", None, (parts[0], values[-1]))
        if alike:
            return values[-1]
        if len(parts) > 2:
            raise UnreadableError("sides that are not equal")
    found = []
    for left, sign, right in zip(parts, signs, parts[1:], strict=False):
        if sign in _FLIPPED:
            sign, left, right = _FLIPPED[sign], right, left
        found.append(Answer("relation", sign, None, (left, right)))
    return found[0] if len(found) == 1 else Answer("list", "and", None, tuple(found))


def _side(text: str, ring: Ring, depth: int) -> Answer:
    return _name(text, ring) if _NAME.fullmatch(text) or _NAMED.fullmatch(text) else _read(text, ring, depth + 1)


def _name(text: str, ring: Ring) -> Answer:
    """What a relation is about: a variable, f(x), a segment, an angle, or words such as "area"."""
    name = plain(text)
    try:
        return Answer("name", name, value_of(text, ring))
    except _TOO_FAR:
        return Answer("name", name)


def _container(text: str, ring: Ring, depth: int) -> Answer | None:
    if matrix := _MATRIX.fullmatch(text):
        rows = [row.split("&") for row in matrix[2].split("\\newrow") if row.strip()]
        parts = [part.strip() for row in rows for part in row]
        bars = matrix[1] if matrix[1] in ("vmatrix", "Vmatrix") else "matrix"
        return _several("matrix", f"{bars} {','.join(str(len(row)) for row in rows)}", parts, ring, depth)
    if text.startswith("\\{") and text.endswith("\\}"):
        if builder := _BUILDER.fullmatch(text[2:-2].strip()):
            return _read(builder[1].strip(), ring, depth + 1)
        return _several("set", "", [part for part in split(text[2:-2], (",", ";"))[0] if part], ring, depth)
    if text[0] == "{" and closed_by_last(text):
        parts = split(text[1:-1], (",",))[0]
        return _several("set", "", parts, ring, depth) if len(parts) > 1 else _read(parts[0], ring, depth + 1)
    if text[0] in _OPEN and text[-1] in _CLOSE and closed_by_last(text):
        parts = split(text[1:-1], (",", ";"))[0]
        if text[1:].lstrip().startswith(("\\begin{array}", "\\begin{matrix}", "\\begin{smallmatrix}")):
            return _container(text[1:-1].strip(), ring, depth)
        if len(parts) > 1:
            return _several("tuple", text[0] + text[-1], parts, ring, depth)
    ratio = split(text, (":",))[0]
    if len(ratio) > 1:
        return _several("ratio", "", ratio, ring, depth)
    return None


def _several(kind: str, detail: str, parts: list[str], ring: Ring, depth: int) -> Answer:
    if len(parts) > MAX_PARTS:
        raise UnreadableError(f"more than {MAX_PARTS} parts")
    return Answer(kind, detail, None, tuple(_part(part.strip(), ring, depth) for part in parts))


def _part(text: str, ring: Ring, depth: int) -> Answer:
    if not text:
        raise UnreadableError("an empty part")
    try:
        return _read(text, ring, depth + 1)
    except UnreadableError:
        return Answer("text", plain(text))


def _number(text: str, ring: Ring) -> Answer:
    """An expression with a unit, which may be "", or "%" for a value that was divided by 100."""
    if based := _BASE.fullmatch(text):
        return Answer("number", f"base {based[2] or based[3]}", ring.number(int(based[1])))
    text, unit, factor = measured(text if "(" in text else without_commas(text))
    if mixed := _MIXED.fullmatch(text):
        part = Fraction(int(mixed[3]), int(mixed[4]) or 1)
        if part >= 1 or not int(mixed[4]):
            raise UnreadableError("no mixed number")
        value = ring.number((-1 if mixed[1] else 1) * (int(mixed[2]) + part))
    else:
        value = value_of(text, ring)
    return Answer("number", unit, ring.multiply(value, ring.number(factor)) if factor != 1 else value)
