"""Errors that people see: one line that says what came, what was wanted and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input from a person. The command line prints its message as one line and exits with status 2."""


def nearest(word: str, choices: Iterable[str], limit: int = 3) -> str:
    """Phrase that names the choices nearest to ``word``, or all of them where none is near.

    Args:
        word: what was given.
        choices: the valid names.
        limit: how many near names to give at most.
    """
    names = sorted({str(choice) for choice in choices})
    if not names:
        return "there is nothing to choose from"
    near = difflib.get_close_matches(word, names, n=limit, cutoff=0.5)
    near += [name for name in names if word and name not in near and (word in name or name in word)]
    if near:
        return f"did you mean {' or '.join(near[:limit])}?"
    shown = ", ".join(names[:12])
    return f"valid: {shown}{', ...' if len(names) > 12 else ''}"
