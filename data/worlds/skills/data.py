"""The world of skills as a data object: demonstrations to train on, questions to answer, exact scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from data.files.stages import Stages
from data.loading.item_data import ItemData
from data.loading.seeding import generator
from data.records.episodes import Problem
from data.records.texts import Completion, Demonstration
from data.worlds.skills.world import EVEN, SKILLS, SkillWorld


class SkillData(ItemData):
    """Problems of ``SkillWorld`` with the answers that were drawn with them.

    Args:
        seed: order of the training batches.
        name: what the data are called in tables.
        batch_size: items per training step.
        train_size: training problems.
        test_size: test problems, the skills in turn, the same for every mix.
        mix: share of each skill among the training problems; a skill that is left out has none.
        careless: share of the training items that carry the answer to another problem of their skill. Who learns from
            such texts knows more than a sample of theirs shows, as a pretrained model does, and better texts or
            preferences can bring it out.
        facts, lexicon, arithmetic, world_seed: see ``SkillWorld``.

    Attributes:
        collate, start_step, count_tokens: set by whoever trains; see ``ItemData``.
    """

    scored_by: tuple[str, ...] = ("data.scoring.columns", "data.scoring.skills")

    def __init__(
        self,
        *,
        seed: int,
        batch_size: int,
        train_size: int,
        test_size: int,
        name: str = "skills",
        mix: Mapping[str, float] = EVEN,
        careless: float = 0.0,
        facts: int = 200,
        lexicon: int = 120,
        arithmetic: Mapping[str, float] | None = None,
        world_seed: int = 0,
    ) -> None:
        for key, value in (("batch_size", batch_size), ("train_size", train_size), ("test_size", test_size)):
            if value < 1:
                raise ValueError(f"data.{key} must be at least 1, got {value}")
        if not 0 <= careless < 1:
            raise ValueError(f"data.careless must be at least 0 and below 1, got {careless}")
        self.name = name
        self.seed = int(seed)
        self.careless = float(careless)
        self.batch_size = int(batch_size)
        self.train_size = int(train_size)
        self.test_size = int(test_size)
        self.world = SkillWorld(seed=world_seed, facts=facts, lexicon=lexicon, mix=mix, arithmetic=arithmetic or {})
        self._problems: dict[str, list[Problem]] = {}

    def prepare(self, stages: Stages, progress: Callable[[int, int], None] | None = None) -> None:
        """Nothing: problems are drawn when they are asked for."""

    def problems(self, split: str) -> list[Problem]:
        """Problems of train (drawn from ``mix``), or of another split (the skills in turn)."""
        if split not in self._problems:
            if split == "train":
                found = [self.world.problem("train", index) for index in range(self.train_size)]
            else:
                wanted = {"dev": "validation"}.get(split, split)
                found = [
                    self.world.problem(wanted, index, skill=SKILLS[index % len(SKILLS)])
                    for index in range(self.test_size)
                ]
            self._problems[split] = found
        return self._problems[split]

    def items(self, split: str, limit: int | None = None) -> Sequence[Any]:
        """Demonstrations of a split; with ``limit`` the first so many, which hold the skills in equal parts."""
        problems = self.problems(split)
        answers = [one.answer for one in problems]
        if split == "train" and self.careless:
            answers = self._careless(problems)
        return [
            Demonstration(one.id, one.prompt, answer)
            for one, answer in zip(problems[:limit], answers[:limit], strict=True)
        ]

    def _careless(self, problems: Sequence[Problem]) -> list[str]:
        rng = generator(self.world.seed, "skills", "careless")
        others: dict[str, list[str]] = {}
        for one in problems:
            others.setdefault(one.task, []).append(one.answer)
        return [rng.choice(others[one.task]) if rng.random() < self.careless else one.answer for one in problems]

    def item_length(self) -> Callable[[Any], int] | None:
        """Characters of the prompt."""
        return lambda item: len(item.prompt)

    def examples(self, split: str, limit: int | None = None) -> tuple[str, ...]:
        """Ids of a split."""
        return tuple(problem.id for problem in self.problems(split)[:limit])

    def frame(self, completions: Sequence[Completion]) -> pd.DataFrame:
        """One row for each prompt: means over its responses, exactly graded.

        Columns: example_id, skill, response (the first one), success, reward, response_tokens, finished, and one per
        skill (``arithmetic_success``, ...) without a value in the rows of the others.
        """
        known = {one.id: one for split in ("test", "dev") for one in self.problems(split)}
        rows: dict[str, list[tuple[Completion, float, float]]] = {}
        for one in completions:
            grade = self.world.grade(known[one.example_id], one.response)
            rows.setdefault(one.example_id, []).append((one, float(grade.solved), grade.reward))
        found = []
        for identifier, graded in rows.items():
            count, skill = len(graded), known[identifier].task
            success = sum(solved for _, solved, _ in graded) / count
            found.append(
                {
                    "example_id": identifier,
                    "skill": skill,
                    "response": graded[0][0].response,
                    "success": success,
                    "reward": sum(reward for *_, reward in graded) / count,
                    "response_tokens": sum(one.tokens for one, *_ in graded) / count,
                    "finished": sum(one.finished for one, *_ in graded) / count,
                    **{f"{name}_success": success if name == skill else float("nan") for name in SKILLS},
                }
            )
        return pd.DataFrame(found)
