"""Where a response says its final answer."""

from __future__ import annotations

import re

MAX_RESPONSE = 100_000
"""Longer responses hold no final answer: they are refused unread."""

_TAIL = 2_000
_HASHES = "####"
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s?(?:\{|(?=[\dA-Za-z\\-]))")
_BARE_BOX = re.compile(r"[^\s$]{1,40}")
_BETWEEN = re.compile(
    r"[\s$]{0,6}(?:,|and|or|,\s?and|,\s?or|\\text\{\s?,?\s?(?:and|or)\s?\})[\s$]{0,6}(?:[A-Za-z]\s?=\s?)?"
)
_THOUGHT = "</think>"
_SAID = re.compile(
    r"\banswers?\b(?:[^\n.:=]{0,60}?\b(?:is|are|was|were|equals|must be|would be|will be|should be)\b)?"
    r"(?:[*_#`\s]{0,6}[:=]|[*_#`]{0,4}[ \t]*(?=\n)|(?<=is)|(?<=are)|(?<=was)|(?<=were)|(?<=equals)|(?<=\bbe))",
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

    Taken in this order: the last ``\\boxed{...}``, with those that it is joined to by "and", "or" or a comma; what
    follows the last ``####``, unless that is a heading; what follows the last "answer is" or "answer:" of the last
    2,000 characters; a response of one line that is nothing but an answer. There is no falling back on the last number.
    What stands before ``</think>`` is no answer.
    """
    if len(response) > MAX_RESPONSE:
        return None
    response = response.rpartition(_THOUGHT)[2]
    if _last_box(response) >= 0:
        return _boxed(response)
    heading = ""
    if _HASHES in response:
        heading = response.rpartition(_HASHES)[2].strip().partition("\n")[0].strip()
        if _is_answer(heading):
            return heading
    return _said(response[-_TAIL:]) or heading or _alone(response) or None


def _last_box(text: str) -> int:
    return max(text.rfind(command) for command in ("\\boxed", "\\fbox", "\\framebox"))


def _boxed(response: str) -> str | None:
    """The last box, joined with those right before it: "\\boxed{1} and \\boxed{2}" is "1 and 2"."""
    found: list[str] = []
    while (place := _last_box(response)) >= 0 and len(found) < 8:
        opened = _BOX.match(response, place)
        if not opened:
            break
        inside, after = _braced(response, opened.end()) if opened[0].endswith("{") else _bare(response, opened.end())
        if inside is None:
            break
        if found:
            joint = _BETWEEN.fullmatch(response[after:])
            if not joint:
                break
            found.insert(0, " or " if "or" in joint[0] else " and " if "and" in joint[0] else ", ")
        found.insert(0, inside)
        response = response[:place]
    return "".join(found) or None


def _bare(text: str, start: int) -> tuple[str | None, int]:
    found = _BARE_BOX.match(text, start)
    return (found[0].rstrip(".,"), found.end()) if found else (None, start)


def _braced(text: str, start: int) -> tuple[str | None, int]:
    """What stands before the brace that closes one opened just before ``start``; ``None`` if it is not closed soon."""
    depth = 1
    for place in range(start, min(len(text), start + _TAIL)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return text[start:place].strip() or None, place + 1
    return None, start


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
