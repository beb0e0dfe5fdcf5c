"""What training and sampling need of a causal language model, whatever its architecture: ids in, states and logits out.

Shapes: B rows of T tokens, H width of the states, V vocabulary, P prompts, G copies of each, S = rows being written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor


class Decoding(Protocol):
    """Sequences that are being written, with the keys and values of what they hold so far.

    Rows are in the order of the prompts, the copies of a prompt one after the other; ``keep`` preserves that order.

    Attributes:
        logits: (P, V), of the first token after each prompt; the copies of a prompt share them.
    """

    logits: Tensor

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token to every row, (S,); logits (S, V) of the next one."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these, given by ascending position among the present ones, (S',)."""
        ...


class FixedDecoding(Protocol):
    """Buffers for batches of at most P prompts with G copies each, whose steps have no shape that changes.

    A step waits for nothing and reads nothing on the host, so that it can be compiled and captured as a CUDA graph. No
    row leaves. The network is an argument everywhere: what is kept for long does not keep the network alive.
    """

    def read(self, network: Any, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Begin a batch of n <= P prompts; logits (n, V) of the first token after each."""
        ...

    def step(self, network: Any, tokens: Tensor) -> Tensor:
        """Append one token to every row, (P * G,); logits (P * G, V) of the next one."""
        ...

    def rewind(self) -> None:
        """Forget what was written; buffers keep finite values whatever was read."""
        ...

    def nbytes(self) -> int:
        """Size of the buffers."""
        ...


class CausalNetwork(Protocol):
    """An ``nn.Module`` of this form is what ``language_model.LanguageModel`` holds and ``sampler.Sampler`` samples.

    A network may also have ``fixed(*, prompts, copies, places, room)``, which makes a ``FixedDecoding`` for batches of
    at most so many prompts, copies of each, tokens of a prompt and tokens of a response.

    Attributes:
        limit: longest sequence in tokens.
    """

    limit: int

    def hidden(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """States that the head reads.

        Args:
            ids: (B, T), padded on the right where rows differ in length: attention is causal, so padding that comes
                last changes nothing before it.
            positions: (B, T) of each token inside its sequence; ``None``: 0, 1, 2, ...
            segments: (B, T), for rows packed with several sequences: tokens see only tokens of their own number.
            mask: (B, T, T) booleans, in place of ``segments``: which tokens (last axis) each token sees, all of them
                at its own index or before, itself included.

        Returns:
            (B, T, H).
        """
        ...

    def lm_head(self, states: Tensor) -> Tensor:
        """States (..., H) -> logits (..., V)."""
        ...

    def open(self, prompts: Sequence[Sequence[int]], *, copies: int, room: int) -> Decoding:
        """Read each prompt once and start ``copies`` continuations of it, of at most ``room`` tokens."""
        ...


def segment_mask(segments: Tensor) -> Tensor:
    """(B, T) segment numbers -> (B, T, T) booleans: earlier tokens of the same segment, and the token itself."""
    same = segments[:, :, None] == segments[:, None, :]
    return same.tril()


def branch_mask(branches: Tensor) -> Tensor:
    """Mask of a trunk that several branches continue, such as a prompt with its chosen and its rejected response.

    Args:
        branches: (B, T), 0 for the trunk, another number for each branch.

    Returns:
        (B, T, T) booleans: the trunk sees itself, a branch sees the trunk and itself, all of it causally.
    """
    seen = branches[:, None, :]
    return ((seen == branches[:, :, None]) | (seen == 0)).tril()
