"""A published small model as a config names it: its checkpoint and its tokenizer, below the data root."""

from __future__ import annotations

from collections.abc import Mapping

from data.files.llama2c import Checkpoint, PieceTokenizer, read_checkpoint, read_tokenizer
from data.files.sources import locate


class CheckpointFiles:
    """Where a llama2.c model lies. Nothing is read before it is asked for.

    Args:
        files: ``checkpoint`` and ``tokenizer``, paths below the data root.
    """

    def __init__(self, *, files: Mapping[str, str]) -> None:
        if set(files) != {"checkpoint", "tokenizer"}:
            raise ValueError(f"files of a model are checkpoint and tokenizer, got {', '.join(files) or 'none'}")
        self.files = dict(files)

    def read(self) -> tuple[Checkpoint, PieceTokenizer]:
        """The network's arrays and the tokenizer; ``ValueError`` where a file is missing, cut or another's."""
        checkpoint = read_checkpoint(locate(self.files["checkpoint"]))
        tokenizer = read_tokenizer(locate(self.files["tokenizer"]), vocabulary=checkpoint.sizes.vocabulary)
        return checkpoint, tokenizer
