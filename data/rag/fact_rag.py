"""Questions with passages of a fact world, for readers: base training, fine-tuning and the contexts that are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, overload

import pandas as pd

from data.files.stages import Stages, TemporaryStages
from data.loading.item_data import ItemData
from data.rag.fact_contexts import QUESTION, ContextPlan, asked, prompt_of
from data.rag.showing import Context
from data.records.readings import ReadingItem, Turn
from data.records.texts import Completion
from data.relations.formats import subset
from data.retrieval.base import Progress
from data.scoring.rag import judged
from data.worlds.facts.lessons import lesson
from data.worlds.facts.world import EASY, KINDS, FactWorld
from data.worlds.vocabulary import Vocabulary

RELEVANT, ANSWER, NONE = "relevant", "answer", "nothing"
"""Words of the reasoning: what is relevant comes first, then the answer."""

SPLITS = {"train": "tune", "test": "test"}
"""Splits of the world by those of the data; lessons are of ``base``."""


class Lessons:
    """Base training: contexts of facts told anew, several questions about each.

    Args:
        count: lessons.
        k: most passages of a lesson.
        k_least: fewest; lessons have ``k_least``, ..., ``k`` passages in turn. A lesson of few passages teaches little:
            it has few questions, and what must be told apart is in the others.
        questions: at most so many of a lesson.
        negatives: shares of the kinds of the other passages, see ``data.worlds.facts.world``. Where none shares a name
            or an attribute with what is asked, one word of the question tells its passage: readers learn no more than
        that.
    """

    def __init__(
        self,
        *,
        count: int,
        k: int = 5,
        k_least: int = 1,
        questions: int = 8,
        negatives: Mapping[str, float] = EASY,
    ) -> None:
        if count < 1 or k < 1 or questions < 1:
            raise ValueError(f"lessons want count, k and questions of 1 or more, got {count}, {k}, {questions}")
        if set(negatives) - set(KINDS) or abs(sum(negatives.values()) - 1) > 1e-9:
            raise ValueError(f"negatives must be shares of {', '.join(KINDS)} that add up to 1, got {dict(negatives)}")
        if not 1 <= k_least <= k:
            raise ValueError(f"k_least of lessons must lie in 1..k, got {k_least} with k={k}")
        self.count, self.k, self.k_least = int(count), int(k), int(k_least)
        self.questions, self.negatives = int(questions), dict(negatives)


class _LessonItems(Sequence[ReadingItem]):
    """Lessons made when they are asked for."""

    def __init__(self, world: FactWorld, lessons: Lessons, seed: int) -> None:
        self._world, self._lessons, self._seed = world, lessons, seed

    def __len__(self) -> int:
        return self._lessons.count

    @overload
    def __getitem__(self, index: int) -> ReadingItem: ...

    @overload
    def __getitem__(self, index: slice) -> list[ReadingItem]: ...

    def __getitem__(self, index: int | slice) -> ReadingItem | list[ReadingItem]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(f"lesson {index} of {len(self)}")
        plan = self._lessons
        # Another seed, other lessons; k cycles, so that every length is equally frequent.
        number = int(index) + self._seed * 100_000_007
        k = plan.k_least + number % (plan.k - plan.k_least + 1)
        told = lesson(self._world, number, k=k, questions=plan.questions, negatives=plan.negatives)
        (question, answer), *others = told.turns
        further = tuple(Turn(asked(each), said) for each, said in others)
        return ReadingItem(told.id, prompt_of(question, told.passages), answer, further)


class FactRag(ItemData):
    """A fact world's questions with passages. Nothing is retrieved before it is asked for.

    Args:
        name: of the data in tables.
        world: people and facts; the same for every seed of a cell.
        train: what a method trains on: lessons about base people, or questions of tune with their contexts.
        test: contexts of the questions that are judged.
        batch_size: rows of a training step.
        seed: order of the training rows.
        response: "answer", or "reasoning": the relevant passage is quoted first, by rule from the gold ids.

    Attributes:
        vocabulary: of the world and the reasoning.
        collate, start_step: see ``ItemData``; ``count_tokens`` is for budgets.
    """

    scored_by: tuple[str, ...] = ("data.scoring.columns", "data.scoring.rag")

    def __init__(
        self,
        *,
        name: str,
        world: FactWorld,
        train: Lessons | ContextPlan,
        test: ContextPlan,
        batch_size: int,
        seed: int,
        response: Literal["answer", "reasoning"] = "answer",
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"data.batch_size must be at least 1, got {batch_size}")
        if response not in ("answer", "reasoning"):
            raise ValueError(f"data.response must be answer or reasoning, got {response!r}")
        if response == "reasoning" and isinstance(train, Lessons):
            raise ValueError("data.response=reasoning needs contexts to reason about: give data.train a ContextPlan")
        self.name = name
        self.world = world
        self.plans: dict[str, Lessons | ContextPlan] = {"train": train, "test": test}
        self.batch_size, self.seed = int(batch_size), int(seed)
        self.response = response
        self.vocabulary = Vocabulary(sorted({*world.vocabulary(), QUESTION, RELEVANT, ANSWER, NONE}))
        self._stages: Stages | None = None
        self._contexts: dict[str, list[Context]] = {}

    def prepare(self, stages: Stages, progress: Progress | None = None) -> None:
        """Remember where shared products live."""
        self._stages = stages

    def contexts(self, split: str) -> list[Context]:
        """Contexts of a split's questions; ``ValueError`` for a split without any."""
        if split not in SPLITS or isinstance(self.plans[split], Lessons):
            raise ValueError(f"{self.name} has no contexts for the split {split!r}: use test")
        if split not in self._contexts:
            plan = self.plans[split]
            assert isinstance(plan, ContextPlan)
            if self._stages is None:
                self._stages = TemporaryStages()
            self._contexts[split] = plan.contexts(self.world, SPLITS[split], self._stages, tokens=self.count_tokens)
        return self._contexts[split]

    def items(self, split: str, limit: int | None = None) -> Sequence[ReadingItem]:
        """Rows of a split in their order; with ``limit`` a fixed choice of so many."""
        plan = self.plans.get(split)
        if isinstance(plan, Lessons):
            return _LessonItems(self.world, plan, self.seed)
        found = self.contexts(split)
        if split == "train" and plan is not None and plan.absent == "drop":
            found = [one for one in found if set(one.example.gold) <= _shown(one)]
        if not found:
            raise ValueError(f"no {split} question has its gold passage in its context: raise k, or set absent=keep")
        chosen = {one.id for one in subset([one.example for one in found], limit)}
        return [self._item(one) for one in found if one.example.id in chosen]

    def _item(self, context: Context) -> ReadingItem:
        example = context.example
        response = example.answers[0]
        if self.response == "reasoning":
            gold = [passage.text for passage in example.passages if passage.id in example.gold]
            response = " ".join([RELEVANT, *(gold or [NONE]), ANSWER, response])
        return ReadingItem(example.id, prompt_of(example.question, example.passages), response)

    def frame(self, completions: Sequence[Completion]) -> pd.DataFrame:
        """Judged responses, one row per question; see ``data.scoring.rag.judged``."""
        contexts = {one.example.id: one for one in self.contexts("test")}
        rows = [
            judged(completion.response, contexts[completion.example_id], self.world.values, marks=(RELEVANT, ANSWER))
            for completion in completions
        ]
        for row, completion in zip(rows, completions, strict=True):
            row["response_tokens"] = completion.tokens
        return pd.DataFrame(rows)


def _shown(context: Context) -> set[str]:
    return {passage.id for passage in context.example.passages}
