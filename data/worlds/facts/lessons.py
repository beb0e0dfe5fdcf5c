"""Lessons of reading: one context of made-up facts, told anew, and several questions about its passages.

Several questions in a row of tokens cost one context and give the loss several answers to learn from: section 8 of the
long-context RAG sheet found small readers to need it. Contexts are those of base people in ``FactWorld``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from data.loading.seeding import generator
from data.records.passages import Passage
from data.worlds.facts.world import EASY, FactWorld


class Lesson(NamedTuple):
    """A context and questions about it.

    Attributes:
        id: names the lesson.
        passages: in the order in which they are shown.
        turns: (question, answer) pairs, each about another passage.
    """

    id: str
    passages: tuple[Passage, ...]
    turns: tuple[tuple[str, str], ...]


def lesson(world: FactWorld, index: int, *, k: int, questions: int, negatives: Mapping[str, float] = EASY) -> Lesson:
    """The ``index``-th lesson of base people, whose facts have other values in every lesson.

    Args:
        world: names, values and phrasings.
        index: which lesson; it fixes everything about it.
        k: passages of the context.
        questions: at most so many, each about another passage; fewer where there are fewer passages.
        negatives: kinds of the passages besides that of the first question, see ``FactWorld.reading``.
    """
    read = world.reading("base", "lookup", index, k=k, negatives=negatives)
    rng = generator(world.seed, "facts", "lesson", index)
    asked = rng.sample(range(k), min(questions, k))
    turns = []
    for place in asked:
        passage = read.example.passages[place]
        turns.append(world.ask(passage, rng.choice(("lookup", "slot", "dialogue"))))
    return Lesson(f"facts/lesson/{index}", read.example.passages, tuple(turns))
