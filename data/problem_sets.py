"""Real sets of mathematics problems with checkable answers: GSM8K, SVAMP, MATH and the list of 24-game hands; from the
hub also the training set and the benchmarks of the literature on mixing imitation and reward.

GSM8K (Cobbe et al. 2021, arXiv 2110.14168), SVAMP (2103.07191), MATH (2103.03874), the 24-game list of Tree of Thoughts
(2305.10601). Answers are checked by ``verifiers.final_answer``, 24-game formulas by ``verifiers.expressions``. Hub sets
are read by the field names that their cards give; nobody has run them here, where there is no network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from data.records.episodes import Grade, Problem
from data.records.texts import Demonstration
from data.sources import read_hub, read_rows
from data.verifiers.expressions import FormulaSyntaxError, IllegalTextError, evaluate
from data.verifiers.final_answer import asks_for_percent, correct
from data.worlds.environment import SingleTurn, one_turn
from data.worlds.seeding import check_split, generator
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


def chat_row(row: Row) -> tuple[str, str, str, str]:
    """OpenR1-Math-46k-8192 as LUFFY released it: messages in ``prompt``, ``target``, the answer in ``reward_model``."""
    asked = [message["content"] for message in row["prompt"] if message["role"] == "user"]
    solution = row["target"][0]["content"] if row.get("target") else ""
    return _solved_problem(
        str(row.get("data_source") or "mathematics"), asked[-1], _gold(row["reward_model"]), solution
    )


def olympiad_row(row: Row) -> tuple[str, str, str, str]:
    """OlympiadBench: ``question``, and ``final_answer``, a list of one text, perhaps between dollars."""
    (answer, *_) = row["final_answer"]
    return _solved_problem(str(row.get("subfield") or "olympiad"), row["question"], str(answer).strip("$"), "")


def choice_row(row: Row) -> tuple[str, str, str, str]:
    """ARC: ``question``, ``choices`` with ``text`` and ``label``, ``answerKey``."""
    choices = row["choices"]
    return _choice("choice", row["question"], choices["text"], list(choices["label"]).index(row["answerKey"]))


def options_row(row: Row) -> tuple[str, str, str, str]:
    """MMLU-Pro: ``question``, ``options``, ``answer_index``, ``category``."""
    return _choice(str(row.get("category") or "choice"), row["question"], row["options"], int(row["answer_index"]))


def diamond_row(row: Row) -> tuple[str, str, str, str]:
    """GPQA: ``Question``, the right answer and three wrong ones; its place follows from the question."""
    options = [str(row[f"Incorrect Answer {number}"]).strip() for number in (1, 2, 3)]
    place = generator("gpqa", str(row["Question"])).randrange(4)
    options.insert(place, str(row["Correct Answer"]).strip())
    return _choice("gpqa", str(row["Question"]), options, place)


def _choice(task: str, question: Any, options: Any, place: int) -> tuple[str, str, str, str]:
    letters = "ABCDEFGHIJKLMNOP"
    told = "\n".join(f"{letter}) {option}" for letter, option in zip(letters, options, strict=False))
    return _solved_problem(task, f"{question}\n\n{told}", letters[place], "")


def _gold(told: Any) -> Any:
    return told["ground_truth"] if isinstance(told, Mapping) else told


READERS: dict[str, Callable[[Row], tuple[str, str, str, str]]] = {
    "grade_school": grade_school_row,
    "competition": competition_row,
    "hands": hand_row,
    "chat": chat_row,
    "olympiad": olympiad_row,
    "choice": choice_row,
    "options": options_row,
    "diamond": diamond_row,
}


class ProblemSet:
    """Problems read from files; the protocol of the generated worlds, without random numbers.

    Args:
        name: first part of the problems' ids.
        files: data file by split; see ``sources.locate``.
        hub: by split, in place of files: {id, split, config, revision}, see ``sources.read_hub``.
        reader: row format, a key of ``READERS``.
    """

    def __init__(
        self,
        *,
        name: str,
        reader: str,
        files: Mapping[str, str] | None = None,
        hub: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        if reader not in READERS:
            raise ValueError(f"reader must be one of {', '.join(READERS)}, got {reader!r}")
        if bool(files) == bool(hub):
            raise ValueError(f"{name} must name at least one split in files or in hub, not in both")
        self.name = name
        self.files = dict(files or {})
        self.hub = dict(hub or {})
        self.reader = reader
        self.splits = tuple(files or hub or {})
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
        """1 for a right final answer, or for a formula that makes 24 of the four numbers; else 0.

        Where a problem asks for a percentage, 28 and 28% are the same: sets of problems write either.
        """
        hands = self.reader == "hands"
        if hands:
            right = _wins(problem.prompt, answer)
        else:
            right = correct(problem.answer, answer, percent=asks_for_percent(problem.prompt))
        return Grade(float(right), right, "" if right else "wrong")

    def environment(self) -> SingleTurn:
        """One response, graded 0 or 1."""
        return SingleTurn(self.grade)

    @staticmethod
    def _from_hub(id: str, split: str, config: str | None = None, revision: str | None = None) -> list[dict[str, Any]]:
        return read_hub(id, split=split, config=config, revision=revision)

    def _rows(self, split: str) -> list[tuple[str, str, str, str]]:
        check_split(split, self.splits)
        if split not in self._read:
            rows = self._from_hub(**self.hub[split]) if self.hub else read_rows(self.files[split])
            self._read[split] = [READERS[self.reader](row) for row in rows]
        return self._read[split]


def _wins(hand: str, formula: str) -> bool:
    try:
        found = evaluate(formula.partition("=")[0] if len(formula) < 1_000 else formula)
    except (IllegalTextError, FormulaSyntaxError):
        return False
    return found.value == 24 and sorted(found.numbers) == sorted(map(int, hand.split()))
