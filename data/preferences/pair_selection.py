"""Preference pairs from what several models wrote: score, drop what is unusable, take the best and the worst.

InfiFPO (arXiv 2505.13878) samples from every source and from the pivot, scores by a reward model and makes the best
and the worst response of a prompt its pair. Here the reward is whatever the world's verifier pays. The paper names no
rule for ties; a prompt whose responses are all paid alike has no pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from data.loading.seeding import generator
from data.records.texts import PreferencePair


class Candidate(NamedTuple):
    """A response to a prompt, who wrote it, and what it is paid."""

    author: str
    response: str
    reward: float


class Choice(NamedTuple):
    """What a prompt's candidates give.

    Attributes:
        pair: best and worst.
        by_source: the best response that a source wrote; ``by_pivot``: the best that the pivot wrote. ``None``: none.
    """

    pair: PreferencePair
    by_source: Candidate | None
    by_pivot: Candidate | None


def distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Each text once, in order; the first of its authors keeps it."""
    found: dict[str, Candidate] = {}
    for one in candidates:
        found.setdefault(one.response, one)
    return list(found.values())


def choose(identifier: str, prompt: str, candidates: Sequence[Candidate], *, pivot: str, seed: int) -> Choice | None:
    """The pair of a prompt; ``None`` where the best is paid no more than the worst.

    Among responses that are paid alike, and among authors of one text, chance decides: otherwise the order in which
    authors are listed would. It depends on seed and prompt alone.
    """
    shuffled = list(candidates)
    generator(seed, "preferences", identifier).shuffle(shuffled)
    texts = distinct(shuffled)
    if not texts:
        return None
    best, worst = max(texts, key=lambda one: one.reward), min(texts, key=lambda one: one.reward)
    if not best.reward > worst.reward:
        return None
    pair = PreferencePair(identifier, prompt, best.response, worst.response, best.author, worst.author)
    # One text may be by a source and by the pivot: each side has it then.
    sides = [
        max((one for one in shuffled if (one.author == pivot) is own), key=lambda one: one.reward, default=None)
        for own in (False, True)
    ]
    return Choice(pair, *sides)


def author_counts(pairs: Sequence[PreferencePair]) -> dict[str, dict[str, int]]:
    """How many chosen and how many rejected responses each author wrote."""
    return {
        "chosen": dict(Counter(pair.chosen_author for pair in pairs)),
        "rejected": dict(Counter(pair.rejected_author for pair in pairs)),
    }
