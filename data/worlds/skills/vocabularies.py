"""Three ways to cut the texts of the world of skills: what gives its source models tokenizers of their own."""

from __future__ import annotations

import string
from collections.abc import Callable

from data.worlds.vocabulary import Vocabulary

_CHARACTERS = tuple(string.ascii_letters + string.digits + " +-*=?!.,;:")


def _pairs() -> tuple[str, ...]:
    return tuple(f"{number:02d}" for number in range(100))


def _syllables() -> tuple[str, ...]:
    return tuple(consonant + vowel for consonant in "bdfgklmnprst" for vowel in "aeiou")


CUTS: dict[str, Callable[[], tuple[str, ...]]] = {
    "characters": tuple,
    "digit_pairs": _pairs,
    "syllables": _syllables,
}
"""Pieces of more than one character, by the name of the cut."""


def skill_vocabulary(*, cut: str) -> Vocabulary:
    """All characters of the world, and the longer pieces of ``cut``: two digits, or a consonant with its vowel.

    Raises:
        ValueError: an unknown cut.
    """
    if cut not in CUTS:
        raise ValueError(f"vocabulary.cut must be one of {', '.join(CUTS)}, got {cut!r}")
    return Vocabulary((*_CHARACTERS, *CUTS[cut]()), separator="")
