import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.verifiers.expressions import (
    MAX_DEPTH,
    MAX_DIGITS,
    MAX_LENGTH,
    FormulaSyntaxError,
    IllegalTextError,
    evaluate,
    tokens_of,
    worked,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("1+2*3", 7),
        ("(1+2)*3", 9),
        ("8-3-2", 3),
        ("8-(3-2)", 7),
        ("24/4/2", 3),
        ("24/(4/2)", 12),
        ("8/(3-8/3)", 24),
        (" 1 + 2 ", 3),
        ("1/3", Fraction(1, 3)),
        ("0*5", 0),
        ("1/0", None),
        ("1/(2-2)+5", None),
        ("0*(1/0)", None),
    ],
)
def test_values(text, value):
    assert evaluate(text).value == value


def test_numbers_come_in_the_order_written():
    assert evaluate("(10+4)*2-4").numbers == (10, 4, 2, 4)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("7", []),
        ("1+2*3", ["2*3=6", "1+6=7"]),
        ("8-3-2", ["8-3=5", "5-2=3"]),
        ("(3+2)*(9-3)/5", ["3+2=5", "9-3=6", "5*6=30", "30/5=6"]),
        ("8/(3-8/3)", ["8/3=8/3", "3-8/3=1/3", "8/1/3=24"]),
        ("2-10", ["2-10=-8"]),
        ("5*2/(2-2)+1", ["5*2=10", "2-2=0"]),  # what has no value is left out
    ],
)
def test_operations_are_told_in_their_order(text, lines):
    assert worked(text) == lines


@pytest.mark.parametrize("text", ["1+", "(1", "2(3)"])
def test_operations_of_what_is_no_formula(text):
    with pytest.raises(FormulaSyntaxError):
        worked(text)


@pytest.mark.parametrize(
    "text",
    [
        "2.4*10*1", "5**2-1**8", "5* *2", "7//2", "1 2", "٣+1", "²+1", "1+1\n", "1+1\x00", "x+1", "1_000",
        "1e3", "0x10", "__import__('os')", "007+1", "1,000", "2^3", "!4", "5%3",
        "1" * (MAX_DIGITS + 1), "1+" * MAX_LENGTH + "1",
    ],
)  # fmt: skip
def test_illegal_texts(text):
    with pytest.raises((IllegalTextError, FormulaSyntaxError)):
        evaluate(text)


@pytest.mark.parametrize("text", ["", "+", "1+", "-1", "+1", "(1", "1)", "()", "2(3)", "(2)(3)", "1*/2", ")1("])
def test_syntax_faults(text):
    with pytest.raises(FormulaSyntaxError):
        evaluate(text)


def test_two_stars_with_a_space_are_no_power():
    with pytest.raises((IllegalTextError, FormulaSyntaxError)):
        evaluate("5 * * 2")


def test_nesting_is_bounded():
    assert evaluate("(" * MAX_DEPTH + "1" + ")" * MAX_DEPTH).value == 1
    with pytest.raises(FormulaSyntaxError, match="nested deeper"):
        evaluate("(" * (MAX_DEPTH + 1) + "1" + ")" * (MAX_DEPTH + 1))


@given(
    st.recursive(
        st.integers(0, 99).map(str),
        lambda inner: st.builds("({}{}{})".format, inner, st.sampled_from("+-*/"), inner),
        max_leaves=8,
    )
)
def test_agrees_with_python_on_fractions(text):
    try:
        expected = eval("".join(f"Fraction({token})" if token.isdigit() else token for token in tokens_of(text)))
    except ZeroDivisionError:
        expected = None
    assert evaluate(text).value == expected


@given(st.text(max_size=40))
def test_any_text_is_a_formula_or_refused_by_name(text):
    with contextlib.suppress(IllegalTextError, FormulaSyntaxError):
        assert evaluate(text).numbers
