"""Records of values that are read from a policy's logits."""

from typing import NamedTuple


class PrefixPair(NamedTuple):
    """Two beginnings of a response to one prompt, of the same number of words; one of them can no longer become right.

    Attributes:
        id: of the example.
        prompt: what the policy reads.
        good: a beginning of the right and polite answer, up to one of its digits.
        corrupted: the same with another last digit.
    """

    id: str
    prompt: str
    good: str
    corrupted: str


class ValueReading(NamedTuple):
    """Estimates that a policy gives for one example, and texts whose worth they are compared with.

    Attributes:
        example_id: of the example.
        good, corrupted: estimate before the first token of the prefix and after each of its tokens.
        from_good, from_corrupted: whole responses that the policy wrote from the end of each prefix.
        written: responses of the policy to the bare prompt.
        rewards: the estimated reward of each of ``written``.
        ends: estimate after the end of each of ``written``; () where the estimate has none.
        ways: mean estimate over the states on the way to it.
    """

    example_id: str
    good: tuple[float, ...]
    corrupted: tuple[float, ...]
    from_good: tuple[str, ...]
    from_corrupted: tuple[str, ...]
    written: tuple[str, ...]
    rewards: tuple[float, ...]
    ends: tuple[float, ...]
    ways: tuple[float, ...]
