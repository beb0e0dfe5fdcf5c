"""Units behind a number, currencies, percent, and words that are numbers or change them.

A unit is one of a closed list: measures, currencies, and things that are counted. No other word may be left out,
because words change values: 5 million, 5 dozen and 5 percent are not 5. Those that are understood are given as a
factor; all others make an answer a text, which equals itself alone.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

_MEASURES = """
mm millimeter millimetre|cm centimeter centimetre|dm decimeter decimetre|km kms kilometer kilometre|meter metre
in inch inches|foot feet ft|yard yd yds|mile mi|lightyear|acre|hectare
micron micrometer micrometre|nm nanometer nanometre
mg milligram|kg kgs kilo kilogram|gram gm gms|tonne|ton|lb lbs pound|oz ounce|ml milliliter millilitre|liter litre
gallon gal gals|quart qt|pint|cup|tablespoon tbsp|teaspoon tsp|floz|bushel|cl centiliter|cc
second sec secs|minute min mins|hour hr hrs|day|week|month|year yr yrs|decade|century centuries|ms millisecond
am|pm|degree deg|degreec|degreef|radian rad rads|kelvin|newton|joule|kj kilojoule|watt|kw kilowatt|volt|amp ampere|ohm
hz hertz|khz|mhz|ghz|pascal pa|kpa|atm|mol mole|calorie cal|kcal|byte|bit|kb|mb|gb|rpm|unit
dollar usd|cent|euro eur|gbp|yen jpy|rupee inr|peso|yuan rmb
"""
_COUNTED = """
acorn adult animal answer ant app apple arrangement baby bag ball balloon banana band bar basket bead bean bear bed
berry bike bird biscuit block boat book bottle bowl box boy bracelet brick brownie bus bush button cake calf camper
can candle candy cap car card carrot cat chair chicken child chip chocolate choice class clown coin color cookie
combination container cow cracker crate crayon cupcake customer diagonal digit dish divisor dog doll donut doughnut
dress drink duck edge egg element email employee envelope episode eraser face factor family fish flavor floor flower
follower friend frog fruit game gift girl glass goal goat group guest handshake hen home horse house integer item jar
jellybean job kid kind kitten lamp lap leaf leg lemon letter log lollipop loop machine man marble match meal member
message mouse movie muffin multiple mushroom nail necklace night nut object onion option orange orchid order outfit
oyster pack package packet page pancake parent part participant party passenger path patient pea peach peanut pear
pebble pen pencil people pepper permutation person pet phone photo picture pie piece pig pill pizza place plane plant
plate player plum point possibility post poster potato present prime problem pupil question rabbit rectangle ride ring
roll room rose round row sandwich scarf seat seed seashell sequence serving sheep sheet shell shelf shirt shoe side
slice snack sock soda solution song spot stamp star step stick sticker stone store story strawberry student subset
sweet table teacher team term ticket tile tire tomato toy tree triangle trip truck turtle value van vegetable vehicle
vertex visitor vote watch way wheel window woman word worker
"""
_IRREGULAR = {
    "children": "child", "people": "person", "persons": "person", "men": "man", "women": "woman", "mice": "mouse",
    "leaves": "leaf", "shelves": "shelf", "calves": "calf", "scarves": "scarf", "vertices": "vertex", "feet": "foot",
    "tomatoes": "tomato", "potatoes": "potato",
}  # fmt: skip
_SINGLE = {"m": "meter", "g": "gram", "s": "second", "h": "hour", "L": "liter", "l": "liter", "N": "newton"} | {
    "J": "joule", "W": "watt", "V": "volt", "K": "kelvin", "C": "degreec", "F": "degreef", "A": "amp",
}  # fmt: skip
SYMBOLS = {name: letter for letter, name in _SINGLE.items() if letter != "L"}
"""The single letters that stand for a unit, by its canonical name: in plain text they may be variables."""

_SIGNS = {"\\$": "dollar", "$": "dollar"} | dict(
    zip("\u20ac\u00a3\u00a5\u20b9\u00a2", ("euro", "gbp", "yen", "rupee", "cent"), strict=True)
)


def _table() -> dict[str, str]:
    spelt: dict[str, str] = {}
    for names in _MEASURES.replace("\n", "|").strip("|").split("|"):
        first, *_ = every = names.split()
        spelt |= dict.fromkeys([*every, *(f"{name}s" for name in every if len(name) > 2)], first)
    for name in _COUNTED.split():
        spelt |= {name: name, f"{name}s": name}
        if re.search(r"[^aeiou]y$|s$|x$|ch$|sh$", name):
            spelt[f"{name[:-1]}ies" if name.endswith("y") else f"{name}es"] = name
    return spelt | _IRREGULAR


_RATES = {"mph": "mile/hour", "kph": "km/hour", "kmh": "km/hour", "mpg": "mile/gallon", "mps": "meter/second"}
UNITS = _table() | _RATES
"""Canonical name of every unit by its spellings, in lower case."""

_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3}
_RAISED = {"squared": 2, "cubed": 3}
_MODIFIERS = frozenset({"different", "distinct", "possible", "right", "additional"})
_TAILS = frozenset({"old", "long", "tall", "high", "wide", "deep", "total"})
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
_UP_TO_19 = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENTHS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINALS = "third fourth fifth sixth seventh eighth ninth tenth"
_COUNTS = {word: value for value, word in enumerate(_UP_TO_19.split())}
_TENS = {word: 10 * value for value, word in enumerate(_TENTHS.split(), start=2)}
_PARTS = {"half": 2, "halves": 2, "quarter": 4, "quarters": 4}
_PARTS |= {spelt: value for value, word in enumerate(_ORDINALS.split(), start=3) for spelt in (word, f"{word}s")}
_NUMBER_WORDS = _COUNTS.keys() | _TENS.keys() | _PARTS.keys() | _SCALES.keys()
_PERCENT = re.compile(r"(?:\\?%|(?<![A-Za-z])(?:percent|per cent|percentage points?|pct\.?))\Z", re.IGNORECASE)
_OF = re.compile(r"(?<=[A-Za-z%}]) of (?:the |a |an |his |her |their |all )?([A-Za-z][A-Za-z ]{0,40})\Z")
_PREFIX = re.compile(r"([+-]?)\s*(?:USD?\s?)?(\\?\$|[\u20ac\u00a3\u00a5\u20b9])\s*([+-]?)\s*(?=[\d.\\({])")
_SUFFIX = re.compile(r"(.*\d)\s?(\\?\$|[\u20ac\u00a3\u00a5\u20b9\u00a2])")
_TEXT = re.compile(r"\\text\s?\{([^{}]*)\}")
_WORD_OR_SIGN = re.compile(r"[A-Za-z]+|\^\s?\{?\s?(-?\d)\s?\}?|\d|[/*]|\\degree|\S")
_START = re.compile(r"\\text\s?\{|\\degree|(?<![A-Za-z\\{])[A-Za-z]+")
_ANGLE_OF = re.compile(r"(?:sin|cos|tan|cot|sec|csc)[^a-z]")
_BEFORE = re.compile(r"[\d)}\]|!]\Z|\\[a-z]+\Z")
_SCALED = re.compile(rf"(.*?[\d}}).])\s?({'|'.join(_SCALES)})", re.IGNORECASE)
_RATE = re.compile(r"(.*?[\d).}])\s?(?:/|per )\s?([A-Za-z ]{1,30})")
_LITERAL = re.compile(r"\d{1,3}(?:,\d{3})+|\d{1,30}(?:\.\d{1,30})?|\.\d{1,30}", re.ASCII)


class Measured(NamedTuple):
    """What is left of a text without its unit.

    Attributes:
        text: the number alone.
        unit: canonical, "" for none, "%" for percent.
        factor: by which the number is to be multiplied, of percent and of words like million.
    """

    text: str
    unit: str
    factor: Fraction


def measured(text: str) -> Measured:
    """Take unit, currency, percent and scale off a number; a text without any is left as it is."""
    unit, factor = "", Fraction(1)
    text = _without_of(text)
    bare = _TEXT.sub(r" \1", text).rstrip() if text.endswith("}") else text
    if prefix := _PREFIX.match(text):
        text, unit = _priced(f"{prefix[1] or prefix[3]}{text[prefix.end() :]}", _SIGNS[prefix[2]])
    elif suffix := _SUFFIX.fullmatch(text):
        text, unit = suffix[1], _SIGNS[suffix[2]]
    elif percent := _PERCENT.search(bare):
        text, unit, factor = bare[: percent.start()].rstrip(), "%", Fraction(1, 100)
    else:
        text, unit = _split_unit(text)
        text, unit = (text, unit) if unit or text == bare else _split_unit(bare)
    for _ in range(3):
        if not (scaled := _SCALED.fullmatch(text)):
            break
        text, factor = scaled[1].strip(), factor * _SCALES[scaled[2].lower()]
    if (number := spelled(text)) is not None:
        text = f"({number.numerator}/{number.denominator})"
    return Measured(text, unit, factor)


def _priced(text: str, currency: str) -> tuple[str, str]:
    """What stands behind a sign of currency, and the unit: "5", "5 dollars", "5 per hour"."""
    if rate := _RATE.fullmatch(text):
        unit = unit_of(f"{currency} per {rate[2]}", marked=False)
        return (rate[1], unit) if unit else (text, currency)
    number, unit = _split_unit(text)
    return (number if unit == currency else text), currency


def spelled(text: str) -> Fraction | None:
    """The value of a number in words, at most 12 of them: "minus twenty-five", "two and a half million", "3 dozen".

    ``None`` for anything else. Ordinals are no numbers: "third" is not 1/3, "one third" is.
    """
    words = _TEXT.sub(r" \1 ", text).casefold().replace("-", " ").split()
    if len(words) > 12 or not _NUMBER_WORDS & set(words) or text.startswith("-"):
        return None
    negative = words[0] in ("minus", "negative")
    words, factor = words[negative:], 1
    while words and words[-1] in _SCALES and (words[-1] == "dozen" or _PARTS.keys() & set(words)):
        factor *= _SCALES[words.pop()]
    if factor > 1 and words and words[-1] in ("a", "an"):  # a dozen, half a million
        words.pop()
    value = _parts(words) if words else Fraction(1)
    return None if value is None else value * factor * (-1 if negative else 1)


def _parts(words: list[str]) -> Fraction | None:
    """ "half", "three quarters", "three and a half", or a count."""
    if words[-1] not in _PARTS:
        return _count(words)
    part, words = Fraction(1, _PARTS[words[-1]]), words[:-1]
    if not words:
        return part if part == Fraction(1, 2) else None
    whole: Fraction | None = Fraction(0)
    if "and" in words and not _SCALES.keys() & set(words):
        place = words.index("and")
        whole, words = _count(words[:place]), words[place + 1 :]
    several = Fraction(1) if words == ["a"] else _count(words)
    return None if whole is None or several is None else whole + several * part


def _count(words: list[str]) -> Fraction | None:
    """A count in words, or one literal number: "one thousand two hundred and five", "2.5"."""
    if len(words) == 1 and _LITERAL.fullmatch(words[0]):
        return Fraction(words[0].replace(",", ""))
    largest = max((word for word in words if word in _SCALES), key=lambda word: _SCALES[word], default="")
    if not largest or largest == "dozen":
        value = _small(words)
        return None if value is None else Fraction(value)
    place = words.index(largest)
    rest = words[place + 1 :]
    rest = rest[1:] if rest[:1] == ["and"] and len(rest) > 1 else rest
    several = Fraction(1) if words[:place] in ([], ["a"], ["an"]) else _count(words[:place])
    more = _count(rest) if rest else Fraction(0)
    if several is None or more is None or not more < _SCALES[largest]:
        return None
    return several * _SCALES[largest] + more


def _small(words: list[str]) -> int | None:
    if len(words) == 1:
        return _COUNTS.get(words[0], _TENS.get(words[0]))
    if len(words) == 2 and words[0] in _TENS and 0 < _COUNTS.get(words[1], 0) < 10:
        return _TENS[words[0]] + _COUNTS[words[1]]
    return None


def _without_of(text: str) -> str:
    """A text without a closing "of the students", unless a word in it is a number."""
    found = _OF.search(text)
    return text if not found or _NUMBER_WORDS & set(found[1].lower().split()) else text[: found.start()]


def _split_unit(text: str) -> tuple[str, str]:
    """Number and unit of a text that ends with a unit; (text, "") where it does not."""
    for start in list(_START.finditer(text))[:16]:
        before = text[: start.start()].rstrip(" -")
        spaced = before != text[: start.start()] or start[0].startswith("\\")
        if _ANGLE_OF.search(before):
            break  # the degrees are those of the angle
        if before and (_BEFORE.search(before) or (spaced and spelled(before) is not None)):
            unit = unit_of(text[start.start() :], marked=start[0].startswith("\\"))
            if unit and (spaced or len(start[0]) > 1):  # 5cm is a length, 5m a product
                return before, unit
    return text, ""


def unit_of(text: str, *, marked: bool) -> str:
    """Canonical form of a unit such as "square feet", "km/h" or "dollars per hour"; "" for anything else.

    Args:
        text: the unit alone.
        marked: it stands in ``\\\\text``: single letters are symbols, not variables.
    """
    text = re.sub(r"\b([ap])\.\s?m\b\.?", r"\1m", _TEXT.sub(r" \1 ", text))
    text = text.replace("light-year", "lightyear").replace("light year", "lightyear")
    text = re.sub(r"fl(?:uid|\.)? (?:ounces?|oz)", "floz", text).replace(".", " ")
    text = re.sub(r"(?<=[A-Za-z])-(?=[A-Za-z])", " ", text)
    above: list[str] = []
    below: list[str] = []
    side, power, pending = above, 0, False
    symbols = marked or "/" in text
    for token in _WORD_OR_SIGN.finditer(text):
        word = token[0].lower()
        if word in _POWERS and not power:
            power, pending = _POWERS[word], True
        elif word[0] == "^" or word.isdigit() or word in _RAISED:
            raised = int(token[1] or 0) if word[0] == "^" else _RAISED.get(word) or int(word)
            if not side or pending or raised not in (2, 3) or side[-1][-1].isdigit() or side[-1].startswith("degree"):
                return ""
            side[-1] += str(raised)
        elif word in ("/", "*", "per"):
            if not above or pending:
                return ""
            side, pending = (side if word == "*" else below), True
        elif (word in _TAILS and above and not pending) or (word in _MODIFIERS and not side):
            continue
        elif word in ("celsius", "fahrenheit", "c", "f") and side[-1:] == ["degree"]:
            side[-1] = f"degree{word[0]}"
        else:
            name = (_SINGLE.get(token[0], "") if symbols else "") if len(word) == 1 else UNITS.get(word, "")
            name = "degree" if word == "\\degree" else name
            if not name or (side and not pending):
                return ""
            side.append(name + (str(power) if power else ""))
            power, pending = 0, False
    if pending or not above:
        return ""
    return "*".join(sorted(above)) + ("/" + "*".join(sorted(below)) if below else "")
