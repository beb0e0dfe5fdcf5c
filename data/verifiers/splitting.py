"""Brackets, the commas and marks between them, and the commas of thousands."""

from __future__ import annotations

import re

_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d|,\d)", re.ASCII)


def joined_thousands(text: str) -> str:
    """A text with the commas of 1,234 taken out where they stand in no bracket."""
    if "," not in text:
        return text
    depths, depth = [], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        depths.append(depth)
    return _THOUSANDS.sub(lambda found: found[0] if depths[found.start()] else _bare(found), text)


def without_commas(text: str) -> str:
    """A text with the commas of every 1,234 taken out."""
    return _THOUSANDS.sub(_bare, text)


def _bare(found: re.Match[str]) -> str:
    return found[0].replace(",", "")


def closed_by_last(text: str) -> bool:
    """Whether the first bracket is closed by the last character."""
    depth = 0
    for place, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return place == len(text) - 1
    return False


def split(text: str, marks: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Parts between marks that stand in no bracket, and the marks."""
    parts: list[str] = []
    found: list[str] = []
    depth = start = place = 0
    while place < len(text):
        character = text[place]
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif text.startswith("\\begin", place):
            depth += 1
        elif text.startswith("\\end", place):
            depth -= 1
        mark = next((mark for mark in marks if depth == 0 and text.startswith(mark, place)), None)
        if mark and not (mark[0] == "\\" and text[place + len(mark) : place + len(mark) + 1].isalpha()):
            parts.append(text[start:place].strip())
            found.append(mark)
            place += len(mark)
            start = place
            continue
        place += 1
    return [*parts, text[start:].strip()], found
