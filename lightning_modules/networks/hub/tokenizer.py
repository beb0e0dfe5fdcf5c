"""Fast tokenizers of the transformers library that tell what a format writes from what data say.

``</s>`` in a passage is four letters; behind a response it is the end. A format's own control tokens are therefore
written as marks that no text has, and a copy of the tokenizer knows control tokens by these marks alone. All else is
cut as the library cuts it: text and format are encoded in one piece, so that tokens may span both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from tokenizers import Tokenizer

SPACE = "\u2581"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_MARK, _VEIL = "\u283f\u28fe\u283f", "\u283f\u28f7\u283f"
"""Braille that opens a mark (a control token) and a veil (a text that only looks like one); two characters follow."""
RESERVED = "\u283f\u283e"
"""Opens what stands in place of a text while a format is looked at."""
_ANCHORS = ("\n", "a", ".")


@cache
def byte_of_character() -> dict[str, int]:
    """The table of byte-level BPE: printable bytes stand for themselves, the others for characters from 256 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


class HubTokenizer:
    """Ids of texts in which control tokens are marks.

    Args:
        tokenizer: of the transformers library.
        literals: what a format writes itself. Control tokens are the special ones, and added ones that stand in here;
            not white space, and not pairs of tags (``<think>``, ``</think>``), which mark content.

    Attributes:
        spelt: the tokenizer in full, as JSON.

    Raises:
        ValueError: a tokenizer that is not fast.
    """

    def __init__(self, tokenizer: Any, *, literals: str = "") -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise ValueError(
                f"the tokenizer {type(tokenizer).__name__} is no fast one: give weights with a tokenizer.json, or one "
                "that the transformers library converts"
            )
        self._tokenizer = tokenizer
        self.spelt: str = backend.to_str()
        copy = json.loads(self.spelt)
        self._decoder = _types(copy["decoder"])
        control = _control(backend, copy["added_tokens"], tokenizer.all_special_tokens, literals)
        self._codes = {text: chr(0x2801 + at // 255) + chr(0x2801 + at % 255) for at, text in enumerate(control)}
        self._spelling = {code: text for text, code in self._codes.items()}
        added = copy["added_tokens"]
        self._eats_before, self._eats_behind = (
            {self._codes[token["content"]] for token in added if token[side] and token["content"] in self._codes}
            for side in ("lstrip", "rstrip")
        )
        self._looks = re.compile("|".join(map(re.escape, sorted(control, key=len, reverse=True))) or "(?!)")
        _rename(copy, {text: _MARK + code for text, code in self._codes.items()})
        self._plain = Tokenizer.from_str(json.dumps(copy))
        moved = [text for text in control if self.mark_id(self.mark(text)) != backend.token_to_id(text)]
        if moved:
            raise ValueError(
                f"the tokenizer {type(tokenizer).__name__} has {moved[0]!r} at two places: give another one"
            )
        # Some put a space before every text that begins a document.
        begun = self.ids(["x", "\n", "\nx"])
        self._prefixes = begun[2][len(begun[1]) :] != begun[0]

    def mark(self, text: str) -> str:
        """The mark of a control token; "" for a token that is none."""
        return _MARK + self._codes[text] if text in self._codes else ""

    def mark_id(self, mark: str) -> int:
        """Id of a mark."""
        found = self._plain.token_to_id(mark)
        assert found is not None, "a mark comes from ``mark``"
        return int(found)

    def marks(self, written: str) -> list[tuple[int, str]]:
        """Place and mark of all control tokens in what ``written`` gives."""
        return [(one.start(), one[0]) for one in re.finditer(f"{_MARK}..", written)]

    def veiled(self, text: str) -> str:
        """A text as a format may set it: what looks like a control token is hidden from ``written``."""
        if _MARK in text or _VEIL in text or RESERVED in text:
            raise ValueError(f"{text[:40]!r} holds U+283F before U+283E, U+28F7 or U+28FE, which is kept for marks")
        return self._looks.sub(lambda found: _VEIL + self._codes[found[0]], text)

    def written(self, rendered: str) -> str:
        """What a format wrote around veiled texts: its control tokens become marks, the texts what they were."""
        marked = self._looks.sub(lambda found: self.mark(found[0]), rendered)
        return re.sub(f"{_VEIL}(..)", lambda found: self._spelling[found[1]], marked)

    def spelling(self, written: str) -> str:
        """What ``written`` gave, with control tokens as they are spelt and without white space that they swallow."""
        written = re.sub(f"\\s+(?={_MARK}(..))", lambda one: "" if one[1] in self._eats_before else one[0], written)
        written = re.sub(f"({_MARK}(..))\\s+", lambda one: one[1] if one[2] in self._eats_behind else one[0], written)
        return re.sub(f"{_MARK}(..)", lambda found: self._spelling[found[1]], written)

    def ids(self, written: Sequence[str]) -> list[list[int]]:
        """Ids of texts that begin a document, without what the tokenizer would add around them."""
        return [found.ids for found in self._plain.encode_batch(list(written), add_special_tokens=False)]

    def continued(self, written: Sequence[str], *, after: str = "") -> list[list[int]]:
        """Ids of texts that follow ``after``.

        Where a token would span both, and where nothing is known to stand before, a text is cut by itself, as one that
        goes on: without the space that begins a document.
        """
        if not after and not self._prefixes:
            return self.ids(written)
        head, *whole = self.ids([after, *(after + text for text in written)])
        return [
            ids[len(head) :] if after and ids[: len(head)] == head else self._alone(text)
            for text, ids in zip(written, whole, strict=True)
        ]

    def _alone(self, text: str) -> list[int]:
        """Ids of a text that goes on, whatever stands before."""
        if not self._prefixes or not text:
            return self.ids([text])[0]
        for anchor in _ANCHORS:
            head, whole = self.ids([anchor, anchor + text])
            if whole[: len(head)] == head:
                return whole[len(head) :]
        raise ValueError(
            f"the tokenizer joins whatever stands before with {text[:40]!r}: it cannot score continuations"
        )

    def pieces(self, ids: Sequence[int]) -> list[bytes]:
        """Bytes of every id. ``ValueError`` for a tokenizer whose pieces do not spell its texts.

        Two families do: byte-level BPE (GPT-2, Qwen, Llama 3), whose pieces stand for bytes through a fixed table, and
        pieces that write a space as U+2581 with single bytes as ``<0x0A>`` (Llama 2, Mistral, Gemma). A word-piece
        tokenizer lowers and drops.
        """
        if "ByteLevel" not in self._decoder and not self._decoder & {"Metaspace", "ByteFallback"}:
            raise ValueError(
                f"the tokenizer {type(self._tokenizer).__name__} loses text "
                f"({', '.join(sorted(self._decoder)) or 'no decoder'}): a source needs byte-level pieces or pieces "
                "that keep spaces"
            )
        names: list[str] = self._tokenizer.convert_ids_to_tokens(list(ids))
        return [self._bytes(name) for name in names]

    def _bytes(self, piece: str) -> bytes:
        if piece in self._codes:
            return piece.encode()
        if "ByteLevel" in self._decoder:
            table = byte_of_character()
            return bytes(table[character] for character in piece) if set(piece) <= set(table) else piece.encode()
        single = _BYTE.fullmatch(piece)
        return bytes([int(single[1], 16)]) if single else piece.replace(SPACE, " ").encode()


def _control(backend: Tokenizer, added: Sequence[dict[str, Any]], special: Sequence[str], literals: str) -> list[str]:
    """Spellings of the control tokens. One of a single character is a letter like any other."""
    always = {*special, *(token["content"] for token in added if token["special"])}
    names = {token["content"]: token["id"] for token in added}

    def structural(text: str) -> bool:
        pair = {text.replace("<", "</", 1), text.replace("</", "<", 1)} - {text}
        if text not in literals or text.isspace() or (text.startswith("<") and pair & set(names)):
            return False
        # Some are found at the beginning of a text alone: elsewhere they are text to the library as well.
        return names[text] in backend.encode(f"a{text}", add_special_tokens=False).ids

    return [text for text in names if len(text) > 1 and (text in always or structural(text))]


def _rename(copy: dict[str, Any], names: dict[str, str]) -> None:
    """Give tokens other spellings, in place; nothing is added around texts, cut or filled up any more."""
    for token in copy["added_tokens"]:
        if token["content"] in names:
            token |= {"content": names[token["content"]], "single_word": False}
    model = copy["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(text, text): index for text, index in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(text, text), score] for text, score in model["vocab"]]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if "merges" in model:
        model["merges"] = [pair for pair in model["merges"] if not {*pair, "".join(pair)} & set(names)]
    copy |= {"post_processor": None, "truncation": None, "padding": None}


def _types(decoder: Any) -> set[str]:
    """Names of a decoder and of its parts."""
    if not isinstance(decoder, dict):
        return set()
    return {str(decoder.get("type"))}.union(*map(_types, decoder.get("decoders") or []))
