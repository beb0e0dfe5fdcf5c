"""Records of preference pairs that are read, not trained on."""

from typing import NamedTuple


class JudgedPair(NamedTuple):
    """Two responses to a prompt and which of them people preferred, before anything is dropped.

    Attributes:
        prompt: what a model reads.
        first, second: the responses.
        preferred: 1 or 2; 0 where people were undecided.
        subset: part of the set that the pair belongs to.
    """

    prompt: str
    first: str
    second: str
    preferred: int
    subset: str = ""


class PairReading(NamedTuple):
    """What an estimate says of a pair.

    Attributes:
        example_id: of the pair.
        chosen, rejected: estimates of the preferred response and of the other; the higher one is the guess.
    """

    example_id: str
    chosen: float
    rejected: float
