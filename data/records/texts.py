"""Records of language modelling: demonstrations, preferences, and what a model wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Conversation(str):
    """A prompt of several messages: a text like any other, and the messages for models that have turns for them.

    Attributes:
        messages: (role, content), as the data give them.
    """

    messages: tuple[tuple[str, str], ...]

    def __new__(cls, text: str, messages: Sequence[tuple[str, str]]) -> Conversation:
        """A text and what it was made of."""
        made = super().__new__(cls, text)
        made.messages = tuple(messages)
        return made

    def __getnewargs__(self) -> Any:
        return str(self), self.messages


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


class Completion(NamedTuple):
    """What a model wrote after a prompt. What it is worth is for the data to say, which knows the example.

    Attributes:
        example_id: id of the example whose prompt was read.
        sample: number of this response among those to the same prompt, from 0.
        response: the text, without the end mark.
        tokens: how many the model wrote, the end mark included.
        finished: whether it ended by itself, not for want of room.
        logp: log-probability of the whole response at the sampling temperature (1 for greedy decoding), in nats.
    """

    example_id: str
    sample: int
    response: str
    tokens: int
    finished: bool
    logp: float
