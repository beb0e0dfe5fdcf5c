"""Where a response says its final answer."""

from __future__ import annotations

import re

MAX_RESPONSE = 100_000
"""Longer responses hold no final answer: they are refused unread."""

_TAIL = 2_000
_HASHES = "####"
_BOXES = ("\\boxed", "\\fbox", "\\framebox")
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s?(?:\{|(?=[\dA-Za-z\\-]))")
_BARE_BOX = re.compile(r"[^\s$]{1,40}")
_THOUGHT = "</think>"
_SAID = re.compile(
    r"(?<![A-Za-z])answers?(?![A-Za-z])"
    r"(?:[^\n.:=]{0,60}?\b(?:is|are|was|were|equals|must be|would be|will be|should be)\b)?"
    r"(?:[*_#`\s]{0,6}[:=]|\s[-\u2013\u2014](?=\s)|[*_#`]{0,4}[ \t]*(?=\n)"
    r"|(?<=is)|(?<=are)|(?<=was)|(?<=were)|(?<=equals)|(?<=\bbe))",
    re.IGNORECASE,
)
_CHOSEN = re.compile(r"\b(?:correct|right|best) (?:option|choice) is\b:?", re.IGNORECASE)
_SKIPPED = re.compile(r"[\s:=>#]*(?:(?:\*\*|__|\*)(?=[\s:]|$)[\s:]*)*")
_DISPLAYS = (("\\[", "\\]"), ("$$", "$$"), ("\\(", "\\)"), ("$", "$"))
_REASON = re.compile(r",?\s(?:because|since|which|I hope)\b|\s\((?:since|because|as)\b")
_ENDS = {".": re.compile(r"[*_\")]*(?:\s+(?![a-z])|\s*$)"), "!": re.compile(r"[*_\")]*(?:\s+[A-Z]|\s*$)")}
_ENDS["?"] = _ENDS["!"]
_BARE = re.compile(r"[^\n]{1,200}")
_MARKED = re.compile(r"\$.+\$|\\\(.+\\\)|\\\[.+\\\]|\*\*.+\*\*|`.+`|\\text\{.+\}")
_WORD = re.compile(r"(?<![\\A-Za-z])(?!sqrt|pi(?![a-z])|sin|cos|tan|log|ln)[A-Za-z]{2,}")


def final_answer(response: str) -> str | None:
    """The final answer of a response, or ``None``.

    Taken in this order: the last ``\\boxed{...}``, alone, as the golds of MATH are; what follows the last ``####``,
    unless that is a heading; what follows the last "answer is" or "answer:" of the last 2,000 characters; a response of
    one line that is nothing but an answer. There is no falling back on the last number. What stands before ``</think>``
    is no answer.
    """
    if len(response) > MAX_RESPONSE:
        return None
    response = response.rpartition(_THOUGHT)[2]
    if (place := max(map(response.rfind, _BOXES))) >= 0:
        return _boxed(response, place)
    heading = ""
    if _HASHES in response:
        heading = response.rpartition(_HASHES)[2].strip().partition("\n")[0].strip()
        if _is_answer(heading):
            return heading
    return _said(response[-_TAIL:]) or heading or _alone(response) or None


def _boxed(text: str, place: int) -> str | None:
    """What stands in the box at a place: up to the brace that closes it, or one word where it has none."""
    opened = _BOX.match(text, place)
    if not opened:
        return None
    if not opened[0].endswith("{"):
        bare = _BARE_BOX.match(text, opened.end())
        return bare[0].rstrip(".,") or None if bare else None
    depth = 1
    for end in range(opened.end(), min(len(text), opened.end() + _TAIL)):
        depth += (text[end] == "{") - (text[end] == "}")
        if depth == 0:
            return text[opened.end() : end].strip() or None
    return None


def _said(tail: str) -> str:
    """What stands behind the last announcement of an answer that is followed by anything."""
    places = [found.end() for pattern in (_SAID, _CHOSEN) for found in pattern.finditer(tail)]
    for place in sorted(places, reverse=True):
        skipped = _SKIPPED.match(tail, place)
        assert skipped is not None  # it may be empty
        if said := _first_sentence(tail[skipped.end() :]):
            return said
    return ""


def _first_sentence(text: str) -> str:
    """A formula that stands at the front on lines of its own, or else the first line up to the end of its sentence."""
    for opening, closing in _DISPLAYS[:2]:
        if text.startswith(opening) and 0 < (end := text.find(closing, len(opening))) < 600:
            return " ".join(text[: end + len(closing)].split())
    line = text.partition("\n")[0][:300]
    place, inside = 0, ""
    while place < len(line):
        if inside:
            if line.startswith(inside, place):
                place += len(inside)
                inside = ""
                continue
        else:
            opened = next((pair for pair in _DISPLAYS if line.startswith(pair[0], place)), None)
            if opened and line.find(opened[1], place + len(opened[0])) > 0:
                place, inside = place + len(opened[0]), opened[1]
                continue
            if line[place] in _ENDS and _ENDS[line[place]].match(line, place + 1):
                line = line[: place + (line[place] == ".")]
                break
            if _REASON.match(line, place):
                line = line[:place]
                break
        place += 1
    line = line.strip()
    # "**Answer: 5**": what opened before the answer closes behind it.
    return line.removesuffix("**").strip() if line.count("**") % 2 else line


def _alone(response: str) -> str:
    """A response of one line that is nothing but an answer."""
    text = response.strip()
    return text if _BARE.fullmatch(text) and _is_answer(text) else ""


def _is_answer(text: str) -> bool:
    """Whether a line can be an answer, not a sentence: marked as a whole, one word, or no word before a digit."""
    first, digit = _WORD.search(text), re.search(r"\d", text)
    if first is None or first[0] == text.strip(".") or _MARKED.fullmatch(text.rstrip(".")):
        return bool(text)
    return digit is not None and digit.start() < first.start()
