"""Real sets of mathematics problems with checkable answers: GSM8K, SVAMP, MATH and the list of 24-game hands.

GSM8K (Cobbe et al. 2021, arXiv 2110.14168), SVAMP (2103.07191), MATH (2103.03874), the 24-game list of Tree of Thoughts
(2305.10601). Answers are checked by ``verifiers.final_answer``, 24-game formulas by ``verifiers.expressions``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from data.records.episodes import Grade, Problem
from data.records.texts import Demonstration
from data.sources import read_rows
from data.verifiers.expressions import FormulaSyntaxError, IllegalTextError, evaluate
from data.verifiers.final_answer import correct
from data.worlds.environment import SingleTurn, one_turn
from data.worlds.seeding import check_split
from data.worlds.solver import solutions

Row = Mapping[str, Any]


def _solved_problem(task: str, prompt: str, answer: Any, solution: Any) -> tuple[str, str, str, str]:
    return task, str(prompt), str(answer), str(solution or "")


def grade_school_row(row: Row) -> tuple[str, str, str, str]:
    """GSM8K and SVAMP: ``question``, ``answer`` and, where there is one, ``solution``; 2.0 is spelt 2."""
    answer = row["answer"]
    spelt = str(int(answer)) if isinstance(answer, float) and answer.is_integer() else answer
    return _solved_problem(str(row.get("type") or "gsm8k"), row["question"], spelt, row.get("solution"))


def competition_row(row: Row) -> tuple[str, str, str, str]:
    """MATH: ``problem``, ``answer``, ``type`` or ``subject`` and, where there is one, ``solution``."""
    return _solved_problem(str(row.get("type") or row["subject"]), row["problem"], row["answer"], row.get("solution"))


def hand_row(row: Row) -> tuple[str, str, str, str]:
    """The 24 game: ``numbers``; the demonstration is the shortest formula."""
    numbers = tuple(row["numbers"])
    return _solved_problem("24", " ".join(map(str, numbers)), "24", solutions(numbers, 24)[0])


READERS: dict[str, Callable[[Row], tuple[str, str, str, str]]] = {
    "grade_school": grade_school_row,
    "competition": competition_row,
    "hands": hand_row,
}


class ProblemSet:
    """Problems read from files; the protocol of the generated worlds, without random numbers.

    Args:
        name: first part of the problems' ids.
        files: data file by split; see ``sources.locate``.
        reader: row format, a key of ``READERS``.
    """

    def __init__(self, *, name: str, files: Mapping[str, str], reader: str) -> None:
        if reader not in READERS:
            raise ValueError(f"reader must be one of {', '.join(READERS)}, got {reader!r}")
        if not files:
            raise ValueError("files must name at least one split")
        self.name = name
        self.files = dict(files)
        self.reader = reader
        self.splits = tuple(files)
        self._read: dict[str, list[tuple[str, str, str, str]]] = {}

    def size(self, split: str) -> int:
        """Problems of a split."""
        return len(self._rows(split))

    def problem(self, split: str, index: int) -> Problem:
        """The problem of one row; ``ValueError`` past the end."""
        rows = self._rows(split)
        check_split(split, self.splits, index)
        if index >= len(rows):
            raise ValueError(f"{self.name} has {len(rows)} problems in {split}, index {index} is past the end")
        task, prompt, answer, solution = rows[index]
        return Problem(f"{self.name}/{split}/{index}", task, prompt, answer, (solution,))

    def demonstrations(self, problem: Problem) -> tuple[Demonstration, ...]:
        """The worked solution; () where the file has none."""
        (solution,) = problem.hidden
        return one_turn(problem, solution) if solution else ()

    def grade(self, problem: Problem, answer: str) -> Grade:
        """1 for a right final answer, or for a formula that makes 24 of the four numbers; else 0."""
        hands = self.reader == "hands"
        right = _wins(problem.prompt, answer) if hands else correct(problem.answer, answer)
        return Grade(float(right), right, "" if right else "wrong")

    def environment(self) -> SingleTurn:
        """One response, graded 0 or 1."""
        return SingleTurn(self.grade)

    def _rows(self, split: str) -> list[tuple[str, str, str, str]]:
        check_split(split, self.splits)
        if split not in self._read:
            self._read[split] = [READERS[self.reader](row) for row in read_rows(self.files[split])]
        return self._read[split]


def _wins(hand: str, formula: str) -> bool:
    try:
        found = evaluate(formula.partition("=")[0] if len(formula) < 1_000 else formula)
    except (IllegalTextError, FormulaSyntaxError):
        return False
    return found.value == 24 and sorted(found.numbers) == sorted(map(int, hand.split()))
