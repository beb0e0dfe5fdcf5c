"""Letters of multiple choice, and which of them a text chooses.

A letter is no word: "A" is also an article, "I" also a pronoun, and an answer that names every option has chosen none.
"""

from __future__ import annotations

import re

_MARKUP = re.compile(r"\\(?:boxed|fbox|text|textbf|mathrm|mathbf)\s?(?=\{)|[*_`${}\\]")
_ALONE = re.compile(r"[^\w]*([A-Za-z])[^\w]*", re.ASCII)
_SAID_OF = r"(?:is|was|are|and|or|because|since|as)\b"
_ANSWERED = re.compile(
    r"(?i:\b(?:answer|option|choice)\b(?:\s+(?:is|was|must be|would be|should be))?\s*[:=]?\s*(?:option|choice)?)\s*"
    # In brackets any letter; else a capital that is no article or pronoun, or a small letter that ends what is said.
    rf"(?:[(\[]\s*([A-Za-z])\s*[)\]]|([B-HJ-Z])(?![\w'’-])|([AI])(?![\w'’-]|\s+(?!{_SAID_OF})[a-z])"
    r"|([a-z])(?=\s*(?:[).,:;!]|$)))"
)
_LISTED = re.compile(r"\s*(?:[(\[]([A-Za-z])[)\]]|([A-Za-z])[).:])(?=\s|$)")
_MARKED = re.compile(r"(?<![\w'’])([A-Za-z])[)\]]")
_STANDING = re.compile(
    rf"(?<![\w'’.-])(?:([B-HJ-Z])|([AI])(?=\s+{_SAID_OF}|\s*[^\w\s'’]|\s*$))(?![\w'’-]|\.\s*[A-Z]\w)"
)


def letter_of(answer: str) -> str:
    """The letter, in upper case, of an answer that is nothing but one ASCII letter, as in "(B)"; else ""."""
    found = _ALONE.fullmatch(_MARKUP.sub("", answer))
    return found[1].upper() if found else ""


def letters_in(text: str) -> set[str]:
    """Capital letters that stand alone in a text, without articles, pronouns and initials of names."""
    return {found[1] or found[2] for found in _STANDING.finditer(_MARKUP.sub("", text))}


def chosen_letter(text: str) -> str:
    """The letter, in upper case, that a text chooses; "" where it chooses none, or several alike.

    Taken in this order: the text is a letter; the last letter behind "answer", "option" or "choice"; a letter that
    begins the text as in a list, "B) Paris"; the only one with a bracket; the only one that stands alone.
    """
    text = _MARKUP.sub("", text).strip()
    if letter := letter_of(text):
        return letter
    if answered := _answered(text):
        return answered
    marked = {letter.upper() for letter in _MARKED.findall(text)}
    if (listed := _LISTED.match(text)) and len(marked) <= 1:
        return (listed[1] or listed[2]).upper()
    found = marked or letters_in(text)
    return found.pop() if len(found) == 1 else ""


def _answered(text: str) -> str:
    letters = [next(filter(None, found.groups())) for found in _ANSWERED.finditer(text)]
    return letters[-1].upper() if letters else ""
