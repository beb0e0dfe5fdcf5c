"""Hostile answers: refused, and for no more work than an answer of ordinary length may cost.

Work is counted, not timed: lines of Python executed (by a trace function) and the peak of memory allocated. Both are
bounded by the length limits of the verifiers, so that an answer of a million characters costs less than one of a
hundred.
"""

import sys
import tracemalloc

import pytest

from data.verifiers.expressions import FormulaSyntaxError, IllegalTextError, evaluate
from data.verifiers.final_answer import correct, equivalent
from data.worlds.cards.countdown import Countdown
from data.worlds.cards.general_points import GeneralPoints

MEGABYTE = 1 << 20
HOSTILE = {
    "decimals": "2.4*10*1",
    "powers": "5**2-1**8",
    "tower": "9**9**9**9",
    "unicode digits": "٢٤",
    "fullwidth digits": "２４",
    "superscript": "24²",
    "huge exponent": "1e999999999",
    "huge number": "9" * 5000,
    "megabyte of digits": "9" * MEGABYTE,
    "megabyte of brackets": "(" * MEGABYTE,
    "megabyte of closed brackets": "(" * (MEGABYTE // 2) + ")" * (MEGABYTE // 2),
    "megabyte of spaces": " " * MEGABYTE,
    "megabyte of operators": "1+" * (MEGABYTE // 2),
    "nesting": "(" * 120 + "24" + ")" * 120,
    "lists": "[" * 4000,
    "objects": '{"formula":' * 300,
    "null byte": "24\x00",
    "import": "__import__('os').system('true')",
    "lambda": "(lambda: 24)()",
    "surrogate": "\ud80024",
    "newline": "2\n4",
    "semicolons": ";" * 4000,
    "equals": "=" * 4000,
}
MAX_LINES = 6_000
MAX_LINES_OF_ALGEBRA = 400_000
MAX_BYTES = 1 << 19


def work(call, limit=MAX_LINES):
    """Lines of Python executed by a call, and the peak of memory that it allocated."""
    lines = 0

    def trace(frame, event, argument):
        nonlocal lines
        lines += event == "line"
        assert lines <= limit, f"more than {limit} lines of Python were executed"
        return trace

    before = sys.gettrace()
    tracemalloc.start()
    sys.settrace(trace)
    try:
        result = call()
    finally:
        sys.settrace(before)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return result, lines, peak


@pytest.mark.parametrize("name", HOSTILE)
def test_formulas(name):
    def refused():
        try:
            evaluate(HOSTILE[name])
        except (IllegalTextError, FormulaSyntaxError):
            return True
        return False

    result, _, peak = work(refused)
    assert result and peak < MAX_BYTES


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("style", ["compact", "json"])
def test_general_points(name, style):
    world = GeneralPoints(seed=0, style=style)
    problem = world.problem("test", 0)
    for reply in (HOSTILE[name], ";" + HOSTILE[name], '{"formula": "' + HOSTILE[name] + '"}'):
        grade, _, peak = work(lambda reply=reply: world.grade(problem, reply))
        assert not grade.solved and grade.reward <= -2 and peak < MAX_BYTES
        assert len(grade.feedback) < 300, "a hostile answer must not be fed back at length"


@pytest.mark.parametrize("name", HOSTILE)
def test_countdown(name):
    world = Countdown(seed=0)
    problem = world.problem("test", 0)
    answer = world.demonstrations(problem)[0].response
    for text in (HOSTILE[name], answer + HOSTILE[name], answer.replace(" + ", HOSTILE[name], 1) + " "):
        grade, _, peak = work(lambda text=text: world.grade(problem, text))
        assert not grade.solved and peak < MAX_BYTES


ALGEBRA = {
    **HOSTILE,
    "tower in braces": "9^{9^{9^{9}}}",
    "many terms": "(a+b+c+d+f+g)^{40}",
    "powers of powers": "(((x+1)^{30}+1)^{30}+1)^{30}",
    "many powers": "*".join(["(x+y)^{20}"] * 40),
    "fractions": "\\frac{" * 200,
    "roots": "\\sqrt{" * 30 + "2" + "}" * 30,
    "large roots": "+".join(f"\\sqrt{{{99999999 - 2 * number}}}" for number in range(25)),
    "list": ",".join(["1"] * 250),
    "boxes": "\\boxed{" * 1000,
    "tower of powers": "9^9^9^9",
    "tower of factorials": "9!!!!",
    "large factorial": "100000!",
    "thousand digits": "7" * 1000,
    "four hundred digits squared": f"({'7' * 240})^2",
    "sines of powers of sines": "(\\sin((\\sin((\\sin((a+b)^{40})+b)^{40})+b)^{40})+b)^{40}",
    "mixed numbers": "3\\frac{" * 40 + "1" + "}{2}" * 40,
    "halves": "\N{VULGAR FRACTION ONE HALF}" * 500,
    "quotients": "1/" * 250,
    "number words": "five hundred " * 38,
    "units": "7 " + "cm per " * 70,
    "dollars": "$7 " * 160,
    "stars": "**7" * 160,
    "indices": "x_{" * 120 + "1" + "}" * 120,
    "signs": "1<" * 250,
    "tuples": "(1," * 160,
    "conjunctions": "1 and " * 80,
    "announcements": "the answer is " * 6000,
    "announcements without end": "answer " * 280,
    "emphasis": "answer:" + " **" * 600,
}


@pytest.mark.parametrize("name", ALGEBRA)
def test_final_answers(name):
    text = ALGEBRA[name]
    for call in (lambda: equivalent("7", text), lambda: correct("7", f"\\boxed{{{text}}}"), lambda: correct("7", text)):
        result, _, peak = work(call, MAX_LINES_OF_ALGEBRA)
        assert not result and peak < 4 * MAX_BYTES


def test_the_bound_would_catch_an_unbounded_reader():
    with pytest.raises(AssertionError, match="lines of Python"):
        work(lambda: [None for _ in HOSTILE["megabyte of digits"]] and sum(1 for _ in HOSTILE["megabyte of digits"]))
