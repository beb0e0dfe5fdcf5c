"""Records of prompts with responses to imitate or to compare. Plain Python, no further imports."""

from __future__ import annotations

from typing import NamedTuple


class Demonstration(NamedTuple):
    """A prompt and a response to be imitated; also a question of a test, whose response is then one right answer.

    Attributes:
        id: unique inside its split.
        prompt: what a model reads.
        response: what it should write, without any end mark.
    """

    id: str
    prompt: str
    response: str


class PreferencePair(NamedTuple):
    """Two different responses to one prompt, of which the first was preferred.

    Attributes:
        id: unique inside its split.
        prompt: what a model reads.
        chosen: the preferred response, without any end mark.
        rejected: the other one.
        chosen_author, rejected_author: who wrote them, such as the name of a model; "" where that is unknown.
    """

    id: str
    prompt: str
    chosen: str
    rejected: str
    chosen_author: str = ""
    rejected_author: str = ""
