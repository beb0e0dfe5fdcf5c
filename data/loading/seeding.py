"""Random numbers and splits of the generated worlds: pure functions of what they are for, the same on every machine."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

Item = TypeVar("Item")
_MASK = (1 << 64) - 1


def generator(*key: str | int) -> random.Random:
    """A generator for one purpose: the same key gives the same numbers, any other key unrelated ones.

    Args:
        key: what the numbers are for, such as ``(seed, "countdown", "test", 17)``. 7 and "7" are different.
    """
    spelt = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return random.Random(int.from_bytes(hashlib.sha256(spelt.encode()).digest()[:16], "big"))


def mixed(seed: int, *numbers: int) -> int:
    """A 64-bit number that looks random, from integers: for tables too large, or too short-lived, for ``generator``.

    SplitMix64's finaliser (Steele et al. 2014, doi 10.1145/2714064.2660195) after each number: about 50 times faster.
    """
    state = seed & _MASK
    for number in numbers:
        state = (state + 0x9E3779B97F4A7C15 * (number + 1)) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def carved(items: Iterable[Item], shares: Mapping[str, float], *key: str | int) -> dict[str, frozenset[Item]]:
    """Deal different items into parts that share none; every item goes into exactly one part.

    Args:
        items: all different, in an order that does not depend on the run.
        shares: size of each part as a share of all; must add up to 1.
        key: see ``generator``.

    Returns:
        The parts by name; sizes are the shares rounded at the cumulative borders, so at most one item off.

    Raises:
        ValueError: shares that are not positive or do not add up to 1, or a part that would be empty.
    """
    pool = list(items)
    if any(share <= 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(f"shares must be positive and add up to 1, got {dict(shares)}")
    generator(*key).shuffle(pool)
    parts: dict[str, frozenset[Item]] = {}
    start, total = 0, 0.0
    for name, share in shares.items():
        total += share
        end = round(total * len(pool))
        if end == start:
            raise ValueError(f"share {share} of {len(pool)} items leaves {name!r} empty: raise it or enlarge the world")
        parts[name] = frozenset(pool[start:end])
        start = end
    return parts


def check_split(split: str, splits: Sequence[str], index: int = 0) -> None:
    """``ValueError`` unless ``split`` is one of ``splits`` and ``index`` is not negative."""
    if split not in splits:
        raise ValueError(f"split must be one of {', '.join(splits)}, got {split!r}")
    if index < 0:
        raise ValueError(f"index must be 0 or more, got {index}")
