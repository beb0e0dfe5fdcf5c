"""Records of relation extraction. Plain Python, no further imports."""

import re
from typing import NamedTuple

ENTITY_TAG = re.compile(r"</?e[12]>")


class RelationExample(NamedTuple):
    """One sentence with two marked entities and the relation between them.

    Attributes:
        id: unique inside its source; train, dev and test ids do not overlap.
        text: the sentence with <e1>..</e1> around the head and <e2>..</e2> around the tail, in any order.
        head: the words between the <e1> tags.
        tail: the words between the <e2> tags.
        label: one string of the inventory, direction included, such as "Cause-Effect(e2,e1)".
    """

    id: str
    text: str
    head: str
    tail: str
    label: str


class Neighbour(NamedTuple):
    """One retrieved training sentence: its id, and its score (larger is closer; the scale is the retriever's own)."""

    id: str
    score: float


class Prompt(NamedTuple):
    """What a model reads and the string it should write.

    Attributes:
        example_id: id of the RelationExample asked about.
        text: the whole prompt.
        target: the gold label as it is spelt in the inventory.
        neighbours: ids of the retrieved sentences that are really inside ``text``, nearest first.
    """

    example_id: str
    text: str
    target: str
    neighbours: tuple[str, ...]


class Prediction(NamedTuple):
    """What a method answered.

    Attributes:
        example_id: id of the RelationExample asked about.
        gold: gold label.
        prediction: a label of the inventory, or "" when the output names none (counted as wrong).
        output: the raw text that was generated.
        retrieved: ids of the neighbours that the method saw.
    """

    example_id: str
    gold: str
    prediction: str
    output: str
    retrieved: tuple[str, ...]


def without_tags(text: str) -> str:
    """Delete the four entity tags and nothing else: what RAG4RE embeds, and the identity of a sentence."""
    return ENTITY_TAG.sub("", text)
