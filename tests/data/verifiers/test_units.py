from fractions import Fraction

import pytest

from data.verifiers.units import UNITS, measured, spelled, unit_of


@pytest.mark.parametrize(
    ("text", "number", "unit", "factor"),
    [
        ("5 cm", "5", "cm", 1),
        ("5cm", "5", "cm", 1),
        ("5\\text{ centimeters}^2", "5", "cm2", 1),
        ("5 sq. ft.", "5", "foot2", 1),
        ("5 km/h", "5", "km/hour", 1),
        ("5\\text{ m/s}^2", "5", "meter/second2", 1),
        ("$5 per hour", "5", "dollar/hour", 1),
        ("-\\$5.00", "-5.00", "dollar", 1),
        ("28% of the students", "28", "%", Fraction(1, 100)),
        ("28\\text{ per cent}", "28", "%", Fraction(1, 100)),
        ("5 million dollars", "5", "dollar", 10**6),
        ("5 hundred thousand", "(500000/1)", "", 1),
        ("5 quarters", "(5/4)", "", 1),
        ("5 dozen eggs", "5", "egg", 12),
        ("90\\degree C", "90", "degreec", 1),
        ("12 years old", "12", "year", 1),
        ("3 right triangles", "3", "triangle", 1),
    ],
)
def test_what_stands_behind_a_number(text, number, unit, factor):
    assert measured(text) == (number, unit, factor)


@pytest.mark.parametrize(
    "text",
    """5 m, 5m, 5 wibbles, 5 pairs, 5 squared, 5 times, 5 cups of seven, \\sin 30\\degree, 5 per, 5 square, 5 cm cm,
    5 cm^1, 5 cm^4, 5 of, x cm, 5 not, 5 cm or, 5 m m, 5 over, 5 score""".replace("\n   ", "").split(", "),
)
def test_other_words_are_no_units(text):
    assert measured(text) == (text, "", 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("twenty-five", 25),
        ("one hundred and five", 105),
        ("minus three", -3),
        ("half", Fraction(1, 2)),
        ("a third", Fraction(1, 3)),
        ("three quarters", Fraction(3, 4)),
        ("two and a half", Fraction(5, 2)),
        ("2 and three quarters", Fraction(11, 4)),
        ("half a million", 500_000),
        ("two and a half thousand", 2500),
        ("a dozen", 12),
        ("five hundred thousand", 500_000),
        ("zero", 0),
        ("one thousand two hundred and five", 1205),
        ("two million five thousand", 2_005_000),
    ],
)
def test_numbers_in_words(text, value):
    assert spelled(text) == value


@pytest.mark.parametrize(
    "text",
    """third, fifth, five twenty, twenty eleven, five five, and five, five and, half of five,
    five million six million, two thousand three thousand, 12, a,
    eleventy, five six hundred, hundred hundred, thirds""".replace("\n   ", "").split(", "),
)
def test_words_that_are_no_number(text):
    assert spelled(text) is None


def test_words_that_change_a_value_are_never_units():
    words = "million dozen half hundred thousand billion pair pairs percent quarter quarters third thirds times score"
    words += " gross squared cubed factorial minus negative not or less more over tenth double twice"
    assert not UNITS.keys() & set(words.split())
    assert not any(unit_of(word, marked=True) for word in words.split())
