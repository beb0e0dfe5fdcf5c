"""Real sets of mathematics problems with checkable answers: GSM8K, SVAMP, MATH and the list of 24-game hands; from the
hub also the training set and the benchmarks of the literature on mixing imitation and reward.

GSM8K (Cobbe et al. 2021, arXiv 2110.14168), SVAMP (2103.07191), MATH (2103.03874), the 24-game list of Tree of Thoughts
(2305.10601). Answers are checked by ``verifiers.final_answer``, 24-game formulas by ``verifiers.expressions``. Hub sets
are read by the field names that their cards give; nobody has run them here, where there is no network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from data.files.rows import BadRowError, columns, listed, maybe, messages, placed, record, spelt, text, whole
from data.files.sources import read_hub, read_rows
from data.loading.seeding import check_split, generator
from data.records.episodes import Grade, Problem
from data.records.texts import Demonstration
from data.verifiers.expressions import FormulaSyntaxError, IllegalTextError, evaluate
from data.verifiers.final_answer import asks_for_percent, correct
from data.worlds.cards.solver import solutions
from data.worlds.environment import SingleTurn, one_turn

_LETTERS = "ABCDEFGHIJKLMNOP"


def _solved_problem(task: str, prompt: str, answer: str, solution: str | None) -> tuple[str, str, str, str]:
    return task, prompt, answer, solution or ""


@columns(question=text, answer=spelt, solution=maybe(text), type=maybe(text))
def grade_school_row(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """GSM8K and SVAMP: ``question``, ``answer`` and, where there is one, ``solution``; 2.0 is spelt 2."""
    return _solved_problem(row["type"] or "gsm8k", row["question"], row["answer"], row["solution"])


@columns(problem=text, answer=spelt, solution=maybe(text), type=maybe(text), subject=maybe(text))
def competition_row(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """MATH: ``problem``, ``answer``, and, where there are any, ``type`` or ``subject`` and ``solution``."""
    task = row["type"] or row["subject"] or "mathematics"
    return _solved_problem(task, row["problem"], row["answer"], row["solution"])


@columns(numbers=listed(whole, exactly=4))
def hand_row(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """The 24 game: ``numbers``; the demonstration is the shortest formula."""
    numbers = tuple(row["numbers"])
    found = solutions(numbers, 24)
    if not found:
        raise BadRowError(f"numbers {list(numbers)} make 24 in no way")
    return _solved_problem("24", " ".join(map(str, numbers)), "24", found[0])


def _gold(value: Any, path: str) -> str:
    """An answer, or an object that holds it as ``ground_truth``."""
    if isinstance(value, Mapping):
        return str(record(ground_truth=spelt)(value, path)["ground_truth"])
    return spelt(value, path)


@columns(prompt=messages, reward_model=_gold, target=maybe(listed(record(content=text))), data_source=maybe(text))
def chat_row(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """OpenR1-Math-46k-8192 as LUFFY released it: messages in ``prompt``, ``target``, the answer in ``reward_model``."""
    asked = [message["content"] for message in row["prompt"] if message["role"] == "user"]
    if not asked:
        raise BadRowError("prompt has no message of the user")
    solution = row["target"][0]["content"] if row["target"] else ""
    return _solved_problem(row["data_source"] or "mathematics", asked[-1], row["reward_model"], solution)


@columns(question=text, final_answer=listed(spelt, least=1), subfield=maybe(text))
def olympiad_row(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """OlympiadBench: ``question``, and ``final_answer``, a list of one text, perhaps between dollars."""
    answer = row["final_answer"][0].strip("$")
    return _solved_problem(row["subfield"] or "olympiad", row["question"], answer, "")


@columns(question=text, choices=record(text=listed(spelt), label=listed(spelt)), answerKey=spelt)
def choice_row(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """ARC: ``question``, ``choices`` with ``text`` and ``label``, ``answerKey``."""
    options, labels = row["choices"]["text"], row["choices"]["label"]
    if len(options) != len(labels) or row["answerKey"] not in labels:
        told = f"there are {len(options)} texts"
        raise BadRowError(f"answerKey is {row['answerKey']!r}, the labels are {', '.join(labels)}, {told}")
    return _choice("choice", row["question"], options, labels.index(row["answerKey"]))


@columns(question=text, options=listed(spelt), answer_index=whole, category=maybe(text))
def options_row(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """MMLU-Pro: ``question``, ``options``, ``answer_index``, ``category``."""
    return _choice(row["category"] or "choice", row["question"], row["options"], row["answer_index"])


_WRONG = [f"Incorrect Answer {number}" for number in (1, 2, 3)]


@columns(**dict.fromkeys(["Question", "Correct Answer", *_WRONG], spelt))
def diamond_row(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """GPQA: ``Question``, the right answer and three wrong ones; its place follows from the question."""
    options = [row[name].strip() for name in _WRONG]
    place = generator("gpqa", row["Question"]).randrange(4)
    options.insert(place, row["Correct Answer"].strip())
    return _choice("gpqa", row["Question"], options, place)


def _choice(task: str, question: str, options: list[str], place: int) -> tuple[str, str, str, str]:
    if not 0 <= place < len(options) <= len(_LETTERS):
        raise BadRowError(f"the answer is option {place} of {len(options)}, counted from 0; {len(_LETTERS)} at most")
    told = "\n".join(f"{letter}) {option}" for letter, option in zip(_LETTERS, options, strict=False))
    return _solved_problem(task, f"{question}\n\n{told}", _LETTERS[place], "")


READERS: dict[str, Callable[[Mapping[str, Any]], tuple[str, str, str, str]]] = {
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
            rows: Sequence[Mapping[str, Any]]
            if self.hub:
                source = self.hub[split]
                rows = placed(self._from_hub(**source), f"{source['id']} ({source['split']})")
            else:
                rows = read_rows(self.files[split])
            self._read[split] = [READERS[self.reader](row) for row in rows]
        return self._read[split]


def _wins(hand: str, formula: str) -> bool:
    try:
        found = evaluate(formula.partition("=")[0] if len(formula) < 1_000 else formula)
    except (IllegalTextError, FormulaSyntaxError):
        return False
    return found.value == 24 and sorted(found.numbers) == sorted(map(int, hand.split()))
