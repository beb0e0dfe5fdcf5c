"""Tokenizers of the transformers library as ``scoring_sources.Tokenizer``: ids that spell a text byte for byte.

Two families are lossless: byte-level BPE (GPT-2, Qwen, Llama 3), whose pieces stand for bytes through a fixed table of
256 characters, and pieces that write a space as U+2581 with single bytes as ``<0x0A>`` (Llama 2, Mistral, Gemma). A
word-piece tokenizer lowers and drops, so it is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

SPACE = "\u2581"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@cache
def byte_of_character() -> dict[str, int]:
    """The table of byte-level BPE: printable bytes stand for themselves, the others for characters from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


class HubTokenizer:
    """A fast tokenizer, without the special tokens that it would add.

    Args:
        tokenizer: of the transformers library.
        end: id that closes a response.

    Attributes:
        bos: its start token, or ``None`` where it has none; then no text begins with one.
        eos: ``end``.
        prefix: what it puts before a text that begins a document: a space, or nothing.

    Raises:
        ValueError: a tokenizer whose pieces do not spell its texts.
    """

    def __init__(self, tokenizer: Any, *, end: int) -> None:
        self._tokenizer = tokenizer
        self.spelt: str = tokenizer.backend_tokenizer.to_str()
        kinds = _types(json.loads(self.spelt).get("decoder"))
        if "ByteLevel" not in kinds and not kinds & {"Metaspace", "ByteFallback"}:
            raise ValueError(
                f"the tokenizer {type(tokenizer).__name__} loses text ({', '.join(sorted(kinds)) or 'no decoder'}): a "
                "source needs byte-level pieces or pieces that keep spaces"
            )
        self._byte_level = "ByteLevel" in kinds
        self._special = {int(index) for index in tokenizer.all_special_ids}
        self.bos: int | None = tokenizer.bos_token_id
        self.eos = end
        self.prefix = b""
        self.prefix = b"".join(self.pieces(self._ids("x"))).removesuffix(b"x")

    def encode(self, text: str, *, start: bool = True) -> list[int]:
        """Ids without start and end; a text that goes on (``start=False``) gets no prefix."""
        if start or not self.prefix or not text:
            return self._ids(text)
        # The prefix comes with every text: a line break takes it, and goes with it.
        ids = self._ids("\n" + text)
        wanted, covered, place = len(self.prefix) + 1, 0, 0
        while covered < wanted:
            covered += len(self.pieces(ids[place : place + 1])[0])
            place += 1
        if covered != wanted:
            raise ValueError(f"the tokenizer joins a line break with {text[:40]!r}: it cannot score continuations")
        return ids[place:]

    def pieces(self, ids: Sequence[int]) -> list[bytes]:
        """Bytes of every id."""
        return [self._bytes(index, piece) for index, piece in zip(ids, self._named(ids), strict=True)]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _named(self, ids: Sequence[int]) -> list[str]:
        names: list[str] = self._tokenizer.convert_ids_to_tokens(list(ids))
        return names

    def _bytes(self, index: int, piece: str) -> bytes:
        if index in self._special:
            return piece.encode()
        if self._byte_level:
            table = byte_of_character()
            return bytes(table[character] for character in piece) if set(piece) <= set(table) else piece.encode()
        single = _BYTE.fullmatch(piece)
        return bytes([int(single[1], 16)]) if single else piece.replace(SPACE, " ").encode()


def _types(decoder: Any) -> set[str]:
    """Names of a decoder and of its parts."""
    if not isinstance(decoder, dict):
        return set()
    return {str(decoder.get("type"))}.union(*map(_types, decoder.get("decoders") or []))
