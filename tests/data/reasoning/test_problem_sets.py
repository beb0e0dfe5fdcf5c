import pytest

from data.reasoning.problem_sets import ProblemSet, competition_row, grade_school_row, hand_row
from data.worlds.environment import replay

SETS = [
    ("math/gsm8k/dev.jsonl.gz", "grade_school", 474),
    ("math/game24/dev.jsonl.gz", "hands", 150),
    ("math/math/test_open.jsonl.gz", "competition", 266),
]


@pytest.mark.parametrize(("file", "reader", "rows"), SETS)
def test_worked_solutions_are_right(needs_file, file, reader, rows):
    problems = ProblemSet(name="set", files={"test": needs_file(file)}, reader=reader)
    assert problems.size("test") == rows
    for index in range(60):
        problem = problems.problem("test", index)
        (shown,) = problems.demonstrations(problem)
        assert replay(problems.environment(), problem, [shown.response]).solved, problem.id
        assert not problems.grade(problem, "\\boxed{123456789}").solved


def test_rows_by_hand():
    assert grade_school_row({"question": "q", "answer": 2.0, "type": "Sum"}) == ("Sum", "q", "2", "")
    assert competition_row({"problem": "p", "answer": "1", "subject": "Algebra"}) == ("Algebra", "p", "1", "")
    assert hand_row({"numbers": [3, 3, 8, 8]}) == ("24", "3 3 8 8", "24", "8/(3-8/3)")


@pytest.mark.parametrize("formula", ["", "3*8", "8+8+8", "2.4*10*1", "1" * (1 << 20), "24"])
def test_hands_are_won_by_all_four_numbers_alone(formula):
    hands = ProblemSet(name="set", files={"test": "x"}, reader="hands")
    hands._read["test"] = [hand_row({"numbers": [3, 3, 8, 8]})]
    assert not hands.grade(hands.problem("test", 0), formula).solved
    with pytest.raises(ValueError, match="past the end"):
        hands.problem("test", 1)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="reader must be one of"):
        ProblemSet(name="set", files={"test": "x"}, reader="xml")
    with pytest.raises(ValueError, match="at least one split"):
        ProblemSet(name="set", files={}, reader="hands")
