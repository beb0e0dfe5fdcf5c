"""Records of questions and the passages that answer them. Plain Python, no further imports."""

from __future__ import annotations

from typing import NamedTuple


class Passage(NamedTuple):
    """A piece of text that can be retrieved and read.

    Attributes:
        id: unique in its corpus.
        title: what the piece is taken from; "" where it has none.
        text: the piece itself, never empty.
    """

    id: str
    title: str
    text: str


class RagExample(NamedTuple):
    """A question, its accepted answers and what is known of the passages that hold them.

    Attributes:
        id: unique inside its source; train, dev and test ids do not overlap.
        question: as asked.
        answers: accepted answers, at least one; any of them counts as right.
        gold: ids of the passages that hold the answer; () where nobody knows.
        passages: passages that come with the question (gold ones and distractors) in their source's order; () where a
            retriever has to find some.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    gold: tuple[str, ...] = ()
    passages: tuple[Passage, ...] = ()
