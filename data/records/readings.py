"""Records of reading with passages: what a reader gets, and what is known of it for scoring."""

from __future__ import annotations

from typing import NamedTuple


class Turn(NamedTuple):
    """A question and the response to it, as texts."""

    prompt: str
    response: str


class ReadingItem(NamedTuple):
    """One row for a reader: a prompt and its response, and perhaps more questions about the same context.

    Attributes:
        id: of the question.
        prompt: passages, if any, and the question.
        response: what it should write; used in training alone.
        turns: further questions that follow the response in the same row; each sees all that stands before it.
    """

    id: str
    prompt: str
    response: str
    turns: tuple[Turn, ...] = ()
