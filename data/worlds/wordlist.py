"""Made-up words for names and values: pronounceable, all different, as many as asked for."""

from __future__ import annotations

from collections.abc import Collection

from data.loading.seeding import generator

_ONSETS = ("b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "dr", "kl", "st", "tr")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ou")
_CODAS = ("", "l", "n", "r", "s", "k", "m")


def made_up_words(count: int, *key: str | int, taken: Collection[str] = ()) -> tuple[str, ...]:
    """``count`` different words of two or more syllables, none of them ``taken``; key as in ``seeding.generator``."""
    rng = generator(*key)
    found: dict[str, None] = {}
    syllables = 2
    while len(found) < count:
        for _ in range(4 * count):
            parts = [rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(syllables)]
            word = "".join(parts) + rng.choice(_CODAS)
            if word not in taken:
                found[word] = None
            if len(found) == count:
                break
        syllables += 1
    return tuple(found)
