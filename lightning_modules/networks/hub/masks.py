"""Rows that hold several sequences, for models of the transformers library: each layer keeps the window that it has.

The library makes the mask of a layer from a function of two places in a row: causal, inside a window, inside a chunk,
whatever the model's own code asks for. Here the same function is asked at positions inside a sequence instead, and what
it lets through is cut down to what the layout lets a token see. So no layer's pattern has to be known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from torch import Tensor

_IMPLEMENTATIONS = ("sdpa", "eager")
"""Kinds of attention of the library that take a mask of every pair of tokens."""


class Layout:
    """What one forward pass reads.

    Args:
        positions: (B, T) of each token inside its sequence.
        seen: (B, T, T) booleans: which tokens (last axis) a token may see.

    Attributes:
        asked: whether the model has asked for a mask, as one that makes its masks itself does not.
    """

    def __init__(self, positions: Tensor, seen: Tensor) -> None:
        self.positions = positions
        self.seen = seen
        self.asked = False

    def over(self, mask: Callable[..., Any]) -> Callable[..., Any]:
        """The library's mask function of (batch, head, query, key) places, inside this layout."""

        def inside(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            own = mask(batch, head, self.positions[batch, query], self.positions[batch, key])
            return own & self.seen[batch, query, key]

        return inside


_present: ContextVar[Layout | None] = ContextVar("layout", default=None)


@contextmanager
def laid_out(positions: Tensor, seen: Tensor) -> Iterator[Layout]:
    """Masks that the library makes meanwhile are those of a layout; see ``Layout`` for the arguments."""
    _install()
    layout = Layout(positions, seen)
    token = _present.set(layout)
    try:
        yield layout
    finally:
        _present.reset(token)


@cache
def _install() -> None:
    """Stand before the library's own makers of masks, once a process; without a layout they do what they did."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

    for name in _IMPLEMENTATIONS:
        AttentionMaskInterface.register(name, _before(ALL_MASK_ATTENTION_FUNCTIONS[name]))


def _before(own: Callable[..., Any]) -> Callable[..., Any]:
    def make(*args: Any, **options: Any) -> Any:
        layout = _present.get()
        if layout is None:
            return own(*args, **options)
        layout.asked = True
        # The mask of padding says nothing here; a skipped mask would be a plain causal one.
        options |= {"mask_function": layout.over(options["mask_function"]), "attention_mask": None}
        return own(*args, **{**options, "allow_is_causal_skip": False})

    return make
