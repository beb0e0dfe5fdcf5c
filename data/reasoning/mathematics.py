"""Sets of real problems dealt to the splits that training on rewards asks for; the protocol of a generated world."""

from __future__ import annotations

from collections.abc import Mapping

from data.loading.seeding import check_split, generator
from data.reasoning.problem_sets import ProblemSet
from data.records.episodes import Grade, Problem
from data.records.texts import Demonstration
from data.worlds.environment import SingleTurn

BOXED = "{problem}\nPlease reason step by step, and put your final answer within \\boxed{{}}."


class Mathematics:
    """See the module.

    Args:
        seed: decides which training problems are kept for validation.
        train: set with a split "train"; its worked solutions are the demonstrations.
        test, ood: sets with a split "test" each, by any name; their problems follow each other.
        validation: problems of train that are kept for utilities, and never trained on.
        instruction: around a problem, which stands for ``{problem}``.
    """

    splits = ("train", "validation", "test", "ood")

    def __init__(
        self,
        *,
        seed: int,
        train: ProblemSet,
        test: Mapping[str, ProblemSet],
        ood: Mapping[str, ProblemSet],
        validation: int = 512,
        instruction: str = BOXED,
    ) -> None:
        if not test or not ood:
            raise ValueError("world.test and world.ood must name at least one set each")
        if validation < 1:
            raise ValueError(f"world.validation must be at least 1, got {validation}")
        if "{problem}" not in instruction:
            raise ValueError(f"world.instruction must hold {{problem}}, got {instruction!r}")
        self.seed = seed
        self.train = train
        self.parts = {"test": tuple(test.values()), "ood": tuple(ood.values())}
        self.validation = validation
        self.instruction = instruction
        self._dealt: dict[str, list[int]] = {}

    def size(self, split: str) -> int:
        """Problems of a split. ``ValueError`` where validation would leave nothing to train on."""
        check_split(split, self.splits)
        if split in self.parts:
            return sum(part.size("test") for part in self.parts[split])
        return len(self._order(split))

    def problem(self, split: str, index: int) -> Problem:
        """The problem at a position; its task is its set's name, its hidden part where it came from."""
        check_split(split, self.splits, index)
        if index >= self.size(split):
            raise ValueError(f"there are {self.size(split)} problems in {split}, index {index} is past the end")
        if split not in self.parts:
            return self._asked(split, index, self.train, "train", self._order(split)[index])
        place = index
        for part in self.parts[split]:
            if place < part.size("test"):
                return self._asked(split, index, part, "test", place)
            place -= part.size("test")
        raise AssertionError("sizes do not add up")

    def demonstrations(self, problem: Problem) -> tuple[Demonstration, ...]:
        """The worked solution; () where its set has none."""
        part, own = self._origin(problem)
        return tuple(shown._replace(id=problem.id, prompt=problem.prompt) for shown in part.demonstrations(own))

    def grade(self, problem: Problem, answer: str) -> Grade:
        """See ``ProblemSet.grade``."""
        part, own = self._origin(problem)
        return part.grade(own, answer)

    def environment(self) -> SingleTurn:
        """One response, graded 0 or 1."""
        return SingleTurn(self.grade)

    def _asked(self, split: str, index: int, part: ProblemSet, inner: str, place: int) -> Problem:
        own = part.problem(inner, place)
        prompt = self.instruction.format(problem=own.prompt)
        return Problem(f"mathematics/{split}/{index}", part.name, prompt, own.answer, (part.name, inner, place))

    def _origin(self, problem: Problem) -> tuple[ProblemSet, Problem]:
        name, inner, place = problem.hidden
        everything = (self.train, *self.parts["test"], *self.parts["ood"])
        part = next(part for part in everything if part.name == name and inner in part.splits)
        return part, part.problem(inner, place)

    def _order(self, split: str) -> list[int]:
        """Rows of the training set that belong to train or to validation."""
        if not self._dealt:
            rows = list(range(self.train.size("train")))
            if len(rows) <= self.validation:
                raise ValueError(
                    f"{self.train.name} has {len(rows)} training problems, of which world.validation={self.validation} "
                    "leaves none: lower it"
                )
            generator(self.seed, "mathematics", "validation").shuffle(rows)
            self._dealt = {"validation": rows[: self.validation], "train": rows[self.validation :]}
        return self._dealt[split]
