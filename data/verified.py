"""Problems of a generated world with an exact verifier, as the data of every method that mixes imitation and reward.

Training shows every method the same problems in the same order: the one reads their prompts and writes its own answers,
the other imitates their demonstrations. Held-out problems (validation, test, out of distribution) are the world's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, overload

import pandas as pd

from data.artifacts import Stages
from data.batches import StepLoader
from data.item_data import ItemData
from data.records.episodes import Answers, Problem
from data.records.texts import Demonstration
from data.worlds.seeding import generator
from data.worlds.vocabulary import Vocabulary

Lessons = Literal["pretraining", "warmup", "problems"]


class VerifiedProblems(ItemData):
    """See the module.

    Args:
        world: such as ``data.worlds.countdown.Countdown``. Its own seed fixes all problems and their demonstrations.
        seed: of the order in which they are met.
        name: what the data are called in tables.
        lessons: what is trained on. "pretraining": the world's lessons, which solve nothing; "warmup": demonstrations
            mixed with facts; "problems": problems with a demonstration each, for rollouts, imitation or both.
        demonstrations: problems of the train split that there are.
        fact_share: of "warmup", share of the items that are facts, so that what is shown stays known.
        lesson_items: of "pretraining" and "warmup", items that there are.
        validation: held-out problems for utilities.
        test, ood: problems that scores are made of, in and out of distribution.
        batch_size: items of a step.
        steps: of one pass in the sense of ``trainer.max_epochs``: a unit of training time that rows of a sweep share.
    """

    def __init__(
        self,
        *,
        world: Any,
        seed: int,
        name: str = "countdown",
        lessons: Lessons = "problems",
        demonstrations: int = 2000,
        fact_share: float = 0.3,
        lesson_items: int = 51_200,
        validation: int = 1024,
        test: int = 1024,
        ood: int = 1024,
        batch_size: int = 64,
        steps: int = 250,
    ) -> None:
        if lessons not in ("pretraining", "warmup", "problems"):
            raise ValueError(f"data.lessons must be pretraining, warmup or problems, got {lessons!r}")
        if not 0 <= fact_share < 1:
            raise ValueError(f"data.fact_share must be at least 0 and below 1, got {fact_share}")
        for key, value in (
            ("demonstrations", demonstrations), ("lesson_items", lesson_items), ("validation", validation),
            ("test", test), ("ood", ood), ("batch_size", batch_size), ("steps", steps),
        ):  # fmt: skip
            if value < 1:
                raise ValueError(f"data.{key} must be at least 1, got {value}")
        self.world = world
        self.seed = seed
        self.name = name
        self.lessons = lessons
        self.demonstrations = demonstrations
        self.fact_share = fact_share
        self.lesson_items = lesson_items
        self.sizes = {"train": demonstrations, "validation": validation, "test": test, "ood": ood}
        self.batch_size = batch_size
        self._steps = steps
        self.vocabulary = Vocabulary(world.vocabulary())
        self._problems: dict[str, Problem] = {}
        self._shown: dict[str, Demonstration] = {}

    def prepare(self, stages: Stages, progress: Callable[[int, int], None] | None = None) -> None:
        """Nothing: problems are made when they are asked for."""

    def items(self, split: str, limit: int | None = None) -> Sequence[Demonstration]:
        """Prompts with a right answer each. "dev" is the world's validation split, "test" its test and ood splits; of
        both, ``limit`` takes as large a share of either. ``ValueError`` for another split."""
        if split == "train":
            everything = _Lazy(self.lesson_items if self.lessons != "problems" else self.demonstrations, self._lesson)
            return everything if limit is None else [everything[index] for index in range(min(limit, len(everything)))]
        if split not in ("dev", "test"):
            raise ValueError(f"the splits are train, dev and test, got {split!r}")
        parts = ("validation",) if split == "dev" else ("test", "ood")
        whole = sum(self.sizes[part] for part in parts)
        found: list[Demonstration] = []
        for part in parts:
            size = self.sizes[part]
            count = size if limit is None else min(size, max(1, round(limit * size / whole)))
            found += [self._demonstrated(part, index) for index in range(count)]
        return found

    def held_out(self, step: int, count: int) -> list[Demonstration]:
        """``count`` validation problems, others at every step until all have been seen; follows from (seed, step)."""
        size = self.sizes["validation"]
        if count > size:
            raise ValueError(f"{count} validation problems are wanted, there are {size}: raise data.validation")
        loader = StepLoader(range(size), batch_size=count, seed=self.seed + 1_000_003, collate=list)
        chosen = loader.at(step % (1 << 40))
        return [self._demonstrated("validation", index) for index in chosen]

    def solved(self, example_id: str, response: str) -> bool:
        """Whether a response to a problem that was handed out is right."""
        return self.world.grade(self._problem(example_id), response).solved

    @property
    def steps_per_epoch(self) -> int:
        """The unit of training time that rows of a sweep share, whatever the number of items."""
        return self._steps

    def frame(self, answers: Sequence[Answers]) -> pd.DataFrame:
        """One row per problem.

        Columns: example_id; task; success, the share of sampled answers that are right, and greedy and pass_at_k, each
        with the prefixes id_ and ood_ as well (no value outside that part); response_tokens; what training the policy
        cost (``rollout_tokens``, ``validation_tokens``, ``megatokens``), which is the same in every row.
        """
        rows = []
        for one in answers:
            problem = self._problem(one.example_id)
            right = [self.world.grade(problem, text).solved for text in one.samples]
            scores = {
                "success": sum(right) / len(right),
                "greedy": float(self.world.grade(problem, one.greedy).solved),
                "pass_at_k": float(any(right)),
            }
            part = "ood" if one.example_id.split("/")[1] == "ood" else "id"
            for name in list(scores):
                for prefix in ("id", "ood"):
                    scores[f"{prefix}_{name}"] = scores[name] if prefix == part else float("nan")
            cost = {
                "response_tokens": one.tokens,
                "rollout_tokens": float(one.rollout_tokens),
                "validation_tokens": float(one.validation_tokens),
                "megatokens": one.compute / 1e6,
            }
            rows.append({"example_id": one.example_id, "task": problem.task, **scores, **cost})
        return pd.DataFrame(rows)

    def _lesson(self, index: int) -> Demonstration:
        if self.lessons == "pretraining":
            return self.world.pretraining(index)
        if self.lessons == "problems":
            return self._demonstrated("train", index)
        rng = generator(self.world.seed, self.name, "warmup", index)
        if rng.random() < self.fact_share:
            return self.world.fact(index)
        return self._demonstrated("train", rng.randrange(self.demonstrations))

    def _demonstrated(self, split: str, index: int) -> Demonstration:
        identifier = f"{self.name}/{split}/{index}"
        if identifier not in self._shown:
            problem = self._problem(identifier)
            (shown,) = self.world.demonstrations(problem)
            self._shown[identifier] = shown
        return self._shown[identifier]

    def _problem(self, identifier: str) -> Problem:
        if identifier not in self._problems:
            _, split, index = identifier.split("/")
            self._problems[identifier] = self.world.problem(split, int(index))
        return self._problems[identifier]


class _Lazy(Sequence[Demonstration]):
    """Items that are made when they are asked for."""

    def __init__(self, size: int, make: Callable[[int], Demonstration]) -> None:
        self._size = size
        self._make = make

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> Demonstration: ...

    @overload
    def __getitem__(self, index: slice) -> list[Demonstration]: ...

    def __getitem__(self, index: int | slice) -> Demonstration | list[Demonstration]:
        if isinstance(index, slice):
            return [self._make(place) for place in range(*index.indices(self._size))]
        return self._make(int(index))
