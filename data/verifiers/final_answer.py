"""Is the final answer of a mathematics problem right? Exactly, in bounded work, and whatever way it is written.

Equal are: values that are the same exactly (1/2 and 0.5, 2\\sqrt{3} and \\sqrt{12}, factored and expanded); tuples and
intervals with the same brackets and parts; sets with the same members, lists with the same members as often; unions,
matrices and ratios part by part; equations up to a factor, inequalities up to a positive one, and the intervals that
they say; choices by their letter; texts without regard to case. A decimal is what it says: 0.33 is not 1/3.

A unit (see ``units``) may be left out on either side, but never differ: 5 cm equals 5, not 5 m. Percent is no unit but
a hundredth: 28% equals 0.28 and 7/25, not 28. The scorer of MATH (Hendrycks et al. 2021) and math-verify drop the sign
instead, by which 28% is 28 and either not 0.28 (MATH) or both (math-verify). Only where a problem asks for a percentage
is the sign like a unit, which may be left out: see ``correct``.
"""

from __future__ import annotations

import re

from data.verifiers.algebra import Ring, TooLargeError, Undefined
from data.verifiers.comparison import same
from data.verifiers.latex import read
from data.verifiers.responses import final_answer
from data.verifiers.spelling import UnreadableError, cleaned, tight

__all__ = ["asks_for_percent", "correct", "equivalent", "final_answer"]

_PUNCTUATION = re.compile(r"[\s.,;:?!'\"$*{}~_`()\[\]|\\-]")
_ASKED = re.compile(
    r"\b(?:what(?:\s+[A-Za-z']+){0,6}?|how many|(?:as|in)(?:\s+an?)?|nearest(?:\s+whole)?)"
    r"\s+percent(?:age)?s?\b",
    re.IGNORECASE,
)


def asks_for_percent(problem: str) -> bool:
    """Whether a problem asks for a percentage ("what percent of ...", "as a percentage")."""
    return bool(_ASKED.search(problem))


def equivalent(gold: str, given: str, *, percent: bool = False) -> bool:
    """Whether two final answers say the same. Symmetric; work is bounded by the limits of ``latex`` and ``algebra``.

    Args:
        gold, given: answers, in LaTeX or plain text.
        percent: the problem asks for a percentage, so that 28 and 28% are the same.
    """
    try:
        spelt, said = cleaned(gold), cleaned(given)
    except UnreadableError:
        return False
    if not (_says_something(spelt) and _says_something(said)):
        return False
    if tight(spelt) == tight(said):
        return True
    ring = Ring()
    try:
        return same(read(gold, ring), read(given, ring), ring, percent=percent)
    except (UnreadableError, TooLargeError, Undefined, RecursionError):
        return False


def _says_something(text: str) -> bool:
    """Whether more than punctuation is left; the empty set is."""
    return bool(_PUNCTUATION.sub("", text)) or text.replace(" ", "") == "\\{\\}"


def correct(gold: str, response: str, *, percent: bool = False) -> bool:
    """Whether the final answer of a response is the gold one; ``percent`` as in ``equivalent``."""
    found = final_answer(response)
    return found is not None and equivalent(gold, found, percent=percent)
