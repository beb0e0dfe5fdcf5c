"""The closed vocabulary of a generated world: text to token ids and back, exactly. Plain Python.

Two ways to cut a text. With ``separator=" "`` a token is a word, and texts are words with single spaces between them.
With ``separator=""`` a token is a piece of one or more characters and the longest piece that fits is taken; pieces that
are all single characters make a character-level vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

PAD, START, END = 0, 1, 2
"""Ids of the three tokens that no text contains: padding, the beginning of a prompt, the end of a response."""

SPECIAL = ("<pad>", "<start>", "<end>")
"""How they are shown."""


class Vocabulary:
    """Text to ids and back; ``decode(encode(text)) == text`` for every text that ``encode`` accepts.

    Args:
        pieces: what texts are made of, each once, in the order of their ids (from 3 on).
        separator: what stands between two pieces: " " for words, "" for characters and longer pieces.

    Attributes:
        pieces: all tokens by id, the three special ones first.
        pad, start, end: ids of the special tokens.
    """

    pad, start, end = PAD, START, END

    def __init__(self, pieces: Sequence[str], *, separator: str = " ") -> None:
        if separator not in ("", " "):
            raise ValueError(f"separator must be ' ' (words) or '' (characters and longer pieces), got {separator!r}")
        if not pieces:
            raise ValueError("a vocabulary needs at least one piece: list the words or characters of the world")
        seen: set[str] = set()
        for piece in pieces:
            if not piece or piece in SPECIAL or (separator and any(letter.isspace() for letter in piece)):
                raise ValueError(f"{piece!r} cannot be a piece: it is empty, special, or a word with a space in it")
            if piece in seen:
                raise ValueError(f"the piece {piece!r} is listed twice: list every piece once")
            seen.add(piece)
        self.separator = separator
        self.pieces = (*SPECIAL, *pieces)
        self._ids = {piece: index for index, piece in enumerate(self.pieces) if index > END}
        longest_first = sorted(pieces, key=len, reverse=True)
        self._cut = re.compile("|".join(map(re.escape, longest_first)))

    @classmethod
    def of_texts(cls, texts: Iterable[str], *, separator: str = " ") -> Vocabulary:
        """The vocabulary of all words (or characters) of some texts, in alphabetical order."""
        found = {piece for text in texts for piece in (text.split(separator) if separator else text)}
        return cls(sorted(found - {""}), separator=separator)

    def __len__(self) -> int:
        return len(self.pieces)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and (self.pieces, self.separator) == (other.pieces, other.separator)

    def __hash__(self) -> int:
        return hash((self.pieces, self.separator))

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without special tokens; [] for "".

        Raises:
            ValueError: a word or character that is not in the vocabulary.
        """
        if not text:
            return []
        parts = text.split(self.separator) if self.separator else self._pieces_of(text)
        try:
            return [self._ids[part] for part in parts]
        except KeyError as error:
            raise ValueError(self._unknown(str(error.args[0]), text)) from None

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids up to the first end token.

        Any other special token is shown by its name, so that a text which a model spoilt with one is never taken for a
        well-formed text.
        """
        row = list(ids)
        if END in row:
            row = row[: row.index(END)]
        return self.separator.join(self.pieces[index] for index in row)

    def _pieces_of(self, text: str) -> list[str]:
        parts, at = [], 0
        while at < len(text):
            found = self._cut.match(text, at)
            if found is None:
                raise ValueError(self._unknown(text[at], text))
            parts.append(found[0])
            at = found.end()
        return parts

    def _unknown(self, part: str, text: str) -> str:
        if not part:
            return f"{text[:60]!r} has two spaces in a row, or one at an end: words have exactly one between them"
        near = get_close_matches(part, self._ids, n=3) if self.separator else []
        hint = f"did you mean {', '.join(near)}?" if near else "add it to the pieces of the world's vocabulary"
        return f"{part!r} (in {text[:60]!r}) is not in the vocabulary of {len(self)} tokens: {hint}"
