"""Long texts cut into passages of a fixed number of tokens that overlap by a fixed number of tokens."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from data.files.sources import locate_weights, weights_digest

WORDS = "words"
_WORD = re.compile(r"\S+")


class Span(NamedTuple):
    """Characters ``start`` to ``end`` (exclusive) of a text."""

    start: int
    end: int


def spans(count: int, size: int, overlap: int) -> list[Span]:
    """Windows over ``count`` tokens: each ``size`` long (the last may be shorter), each beginning ``overlap`` tokens
    before the end of the one before it.

    Every token is in a window; no window lies inside another. No tokens, no windows.
    """
    if size < 1 or not 0 <= overlap < size:
        raise ValueError(f"chunks want size >= 1 and 0 <= overlap < size, got size={size}, overlap={overlap}")
    windows = []
    start = 0
    while start < count:
        end = min(start + size, count)
        windows.append(Span(start, end))
        if end == count:
            break
        start = end - overlap
    return windows


class Chunker:
    """Cuts texts at token boundaries; a chunk is a verbatim slice of its text.

    Args:
        size: tokens in a chunk.
        overlap: tokens that a chunk shares with the one before it.
        tokenizer: "words" (runs of characters that are not white space), or the weights whose fast tokenizer counts
            (see ``sources.locate_weights``); special tokens are not counted.
        revision: revision of a hub id.
    """

    def __init__(
        self, *, size: int = 100, overlap: int = 0, tokenizer: str = WORDS, revision: str | None = None
    ) -> None:
        spans(0, size, overlap)
        self.size = int(size)
        self.overlap = int(overlap)
        self.tokenizer = tokenizer
        self.revision = revision
        self._loaded: Any = None

    def key(self) -> dict[str, Any]:
        """Plain settings that decide where texts are cut."""
        weights = None if self.tokenizer == WORDS else weights_digest(locate_weights(self.tokenizer, self.revision))
        return {"size": self.size, "overlap": self.overlap, "tokenizer": weights or WORDS}

    def tokens(self, text: str) -> list[Span]:
        """Where the tokens of a text stand; tokens without characters of their own are left out."""
        if self.tokenizer == WORDS:
            return [Span(*found.span()) for found in _WORD.finditer(text)]
        if self._loaded is None:
            from transformers import AutoTokenizer

            folder = locate_weights(self.tokenizer, self.revision)
            self._loaded = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
            # Texts longer than the model are what chunking is for: the tokenizer's warning would be noise.
            self._loaded.model_max_length = int(1e12)
        # What looks like a special token is text here.
        plain = {"add_special_tokens": False, "split_special_tokens": True}
        offsets = self._loaded(text, **plain, return_offsets_mapping=True)["offset_mapping"]
        return [Span(start, end) for start, end in offsets if end > start]

    def cut(self, text: str) -> list[Span]:
        """Character spans of the chunks, in order; [] for a text without a token."""
        tokens = self.tokens(text)
        return [
            Span(tokens[first].start, tokens[last - 1].end)
            for first, last in spans(len(tokens), self.size, self.overlap)
        ]
