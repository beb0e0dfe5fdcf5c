"""Reader of the llama2.c checkpoint format (version 0, fp32) and of its tokenizer files. numpy only.

A checkpoint is seven little-endian int32 (width, hidden width, layers, heads, key-value heads, vocabulary, positions)
and then raw fp32 arrays. A negative vocabulary says that the output layer is stored; otherwise it is the embedding.
A tokenizer is the longest piece's length and then, per piece, a fp32 score, an int32 length and the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.files.sources import digest

UNKNOWN, BOS, EOS = 0, 1, 2
"""Ids that the format fixes."""

_FIRST_BYTE = 3


class Sizes(NamedTuple):
    """Sizes of a checkpoint's network."""

    width: int
    hidden_width: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int
    positions: int

    @property
    def head_width(self) -> int:
        """Width of one head."""
        return self.width // self.heads


class Checkpoint(NamedTuple):
    """A network's sizes and its arrays by name: matrices are (layers, out, in), norms (layers, width).

    Names: embedding, attention_norm, query, key, value, output, feed_forward_norm, gate, down, up, final_norm,
    cosines and sines (positions, head_width / 2), head.
    """

    sizes: Sizes
    arrays: dict[str, np.ndarray]
    sha256: str


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read a checkpoint; ``ValueError`` for a file whose length or sizes do not fit the format."""
    path = Path(path)
    content = path.read_bytes()
    if len(content) < 28:
        raise ValueError(f"{path.name} has {len(content)} bytes, a checkpoint has at least a header of 28")
    width, hidden, layers, heads, shared, vocabulary, positions = struct.unpack("<7i", content[:28])
    sizes = Sizes(width, hidden, layers, heads, shared, abs(vocabulary), positions)
    if min(sizes) < 1 or sizes.width % sizes.heads or sizes.heads % sizes.key_value_heads or sizes.head_width % 2:
        raise ValueError(f"{path.name} is no llama2.c checkpoint of version 0: its header says {sizes._asdict()}")
    shapes = _shapes(sizes, own_head=vocabulary < 0)
    wanted = 28 + 4 * sum(int(np.prod(shape)) for shape in shapes.values())
    if len(content) != wanted:
        raise ValueError(f"{path.name} has {len(content)} bytes where its header asks for {wanted}: it is cut or other")
    arrays, place = {}, 28
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(content, dtype="<f4", count=count, offset=place).reshape(shape)
        place += 4 * count
    arrays.setdefault("head", arrays["embedding"])
    return Checkpoint(sizes, arrays, digest(path))


def _shapes(sizes: Sizes, *, own_head: bool) -> dict[str, tuple[int, ...]]:
    """Arrays in the order of the file."""
    layers, width, hidden = sizes.layers, sizes.width, sizes.hidden_width
    narrow, turns = sizes.key_value_heads * sizes.head_width, (sizes.positions, sizes.head_width // 2)
    shapes: dict[str, tuple[int, ...]] = {
        "embedding": (sizes.vocabulary, width),
        "attention_norm": (layers, width),
        "query": (layers, width, width),
        "key": (layers, narrow, width),
        "value": (layers, narrow, width),
        "output": (layers, width, width),
        "feed_forward_norm": (layers, width),
        "gate": (layers, hidden, width),
        "down": (layers, width, hidden),
        "up": (layers, hidden, width),
        "final_norm": (width,),
        "cosines": turns,
        "sines": turns,
    }
    return {**shapes, "head": (sizes.vocabulary, width)} if own_head else shapes


class PieceTokenizer:
    """Byte-pair pieces with scores: of all neighbours that form a piece, the pair with the best score joins first.

    Characters without a piece become bytes, so every text can be encoded.

    Args:
        pieces: by id, as the file has them: three reserved ones, 256 bytes written <0xNN>, then text.
        scores: by id; higher joins earlier.
        sha256: of the file.
    """

    bos, eos = BOS, EOS
    prefix = b" "
    """What ``encode`` puts before a text that begins a document."""

    def __init__(self, pieces: Sequence[bytes], scores: Sequence[float], *, sha256: str) -> None:
        if len(pieces) != len(scores) or len(pieces) < _FIRST_BYTE + 256:
            raise ValueError(f"got {len(pieces)} pieces and {len(scores)} scores: give one score each, at least 259")
        self.sha256 = sha256
        self._scores = list(scores)
        self._bytes = [bytes([number]) for number in range(256)]
        self._pieces = [b"", b"", b"", *self._bytes, *pieces[_FIRST_BYTE + 256 :]]
        self._ids = {piece: index for index, piece in enumerate(pieces) if index >= _FIRST_BYTE + 256}

    def __len__(self) -> int:
        return len(self._pieces)

    def encode(self, text: str, *, start: bool = True) -> list[int]:
        """Ids of a text, without BOS and EOS; with ``start`` as the beginning of a document, which has the prefix."""
        if not text:
            return []
        content = text if not start else self.prefix.decode() + text
        ids: list[int] = []
        for character in content:
            piece = character.encode()
            known = self._ids.get(piece)
            ids += [known] if known is not None else [byte + _FIRST_BYTE for byte in piece]
        while True:
            best: tuple[float, int, int] | None = None
            for place in range(len(ids) - 1):
                joined = self._ids.get(self._spelt(ids[place]) + self._spelt(ids[place + 1]))
                if joined is not None and (best is None or self._scores[joined] > best[0]):
                    best = (self._scores[joined], place, joined)
            if best is None:
                return ids
            ids[best[1] : best[1] + 2] = [best[2]]

    def _spelt(self, index: int) -> bytes:
        # A fallback byte is spelt <0xNN> in the format's vocabulary and so never joins a neighbour.
        return self._pieces[index] if index >= _FIRST_BYTE + 256 else b"\xff"

    def pieces(self, ids: Sequence[int]) -> list[bytes]:
        """Bytes of every id; none for BOS and EOS."""
        return [self._pieces[index] for index in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, prefix included; bytes that are no UTF-8 come as U+FFFD."""
        return b"".join(self.pieces(ids)).decode(errors="replace")


def read_tokenizer(path: Path | str, *, vocabulary: int) -> PieceTokenizer:
    """Read a tokenizer of so many pieces; ``ValueError`` for a file that has another number or is cut."""
    path = Path(path)
    content, place = path.read_bytes(), 4
    pieces: list[bytes] = []
    scores: list[float] = []
    while place + 8 <= len(content):
        score, length = struct.unpack_from("<fi", content, place)
        place += 8
        if length < 0 or place + length > len(content):
            raise ValueError(f"{path.name} ends inside its piece number {len(pieces)}: it is cut, or no tokenizer")
        pieces.append(content[place : place + length])
        scores.append(score)
        place += length
    if len(pieces) != vocabulary or place != len(content):
        raise ValueError(
            f"{path.name} has {len(pieces)} pieces where the checkpoint has {vocabulary}: give the checkpoint's own"
        )
    return PieceTokenizer(pieces, scores, sha256=digest(path))
