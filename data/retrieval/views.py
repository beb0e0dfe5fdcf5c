"""Text views: what of a tagged sentence a retriever compares. A view is a function from tagged text to plain text."""

from __future__ import annotations

import re
from collections.abc import Callable

from data.records.relations import without_tags

_FIRST_TO_SECOND = re.compile(r"<e[12]>.*</e[12]>", re.DOTALL)
_ENTITY = {"headentity": re.compile(r"<e1>.*?</e1>", re.DOTALL), "tailentity": re.compile(r"<e2>.*?</e2>", re.DOTALL)}


def between(text: str) -> str:
    """From the first entity to the second, both included, tags removed."""
    found = _FIRST_TO_SECOND.search(text)
    if found is None:
        raise ValueError(f"the view 'between' needs <e1> and <e2> tags, got {text[:80]!r}")
    return without_tags(found.group())


def masked(text: str) -> str:
    """The sentence with the entities replaced by the words "headentity" and "tailentity"."""
    for placeholder, pattern in _ENTITY.items():
        text, count = pattern.subn(placeholder, text)
        if not count:
            raise ValueError(f"the view 'masked' needs <e1> and <e2> tags, got {text[:80]!r}")
    return text


VIEWS: dict[str, Callable[[str], str]] = {"sentence": without_tags, "between": between, "masked": masked}
"""Views by name; "sentence" (the tags deleted, nothing else) also serves texts without entities."""


def view_of(name: str) -> Callable[[str], str]:
    """The view called ``name``; ``ValueError`` with the known names otherwise."""
    if name not in VIEWS:
        raise ValueError(f"view must be one of {', '.join(VIEWS)}, got {name!r}")
    return VIEWS[name]
