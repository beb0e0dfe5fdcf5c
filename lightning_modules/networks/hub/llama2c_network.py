"""The network of llama2.c checkpoints (``data.files.llama2c``): a small Llama with tied or own output layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EPSILON = 1e-5


class Sizes(Protocol):
    """What the network needs to know of ``data.files.llama2c.Sizes``."""

    @property
    def width(self) -> int:
        """Width of a position's state."""

    @property
    def layers(self) -> int:
        """Number of layers."""

    @property
    def heads(self) -> int:
        """Query heads of a layer."""

    @property
    def key_value_heads(self) -> int:
        """Key and value heads of a layer."""

    @property
    def vocabulary(self) -> int:
        """Number of pieces."""

    @property
    def positions(self) -> int:
        """Longest text in tokens."""


class Llama2c(nn.Module):
    """Pre-normalised transformer with rotary positions (neighbouring channels turn together), grouped key-value heads
    and a gated SiLU feed-forward part. All arithmetic in the dtype of the weights.

    Args:
        sizes: of the checkpoint.
        arrays: of the checkpoint, by the names in ``data.files.llama2c.Checkpoint``; copied.
    """

    cosines: Tensor
    sines: Tensor

    def __init__(self, sizes: Sizes, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.sizes = sizes
        turning = ("cosines", "sines")
        self.weights = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor(array)) for name, array in arrays.items() if name not in turning}
        )
        if arrays["head"] is arrays["embedding"]:
            self.weights["head"] = self.weights["embedding"]
        for name in turning:
            self.register_buffer(name, torch.tensor(arrays[name]), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids (B, T), padded on the right with any id -> logits (B, T, V). ``ValueError`` for too long a text."""
        if ids.shape[1] > self.sizes.positions:
            raise ValueError(f"a text has {ids.shape[1]} tokens, the network reads at most {self.sizes.positions}")
        states = self.weights["embedding"][ids]
        for layer in range(self.sizes.layers):
            states = states + self._attend(_normed(states, self.weights["attention_norm"][layer]), layer)
            states = states + self._feed(_normed(states, self.weights["feed_forward_norm"][layer]), layer)
        return _normed(states, self.weights["final_norm"]) @ self.weights["head"].T

    def _attend(self, states: Tensor, layer: int) -> Tensor:
        batch, length, width = states.shape

        def heads(name: str, count: int) -> Tensor:
            projected = states @ self.weights[name][layer].T
            return projected.view(batch, length, count, -1).transpose(1, 2)

        query = self._turned(heads("query", self.sizes.heads))
        key = self._turned(heads("key", self.sizes.key_value_heads))
        value = heads("value", self.sizes.key_value_heads)
        group = self.sizes.heads // self.sizes.key_value_heads
        mixed = F.scaled_dot_product_attention(
            query, key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1), is_causal=True
        )
        return mixed.transpose(1, 2).reshape(batch, length, width) @ self.weights["output"][layer].T

    def _turned(self, heads: Tensor) -> Tensor:
        even, odd = heads[..., 0::2], heads[..., 1::2]
        cosines, sines = (table[: heads.shape[2]] for table in (self.cosines, self.sines))
        return torch.stack([even * cosines - odd * sines, even * sines + odd * cosines], dim=-1).flatten(-2)

    def _feed(self, states: Tensor, layer: int) -> Tensor:
        gate = F.silu(states @ self.weights["gate"][layer].T)
        return (gate * (states @ self.weights["up"][layer].T)) @ self.weights["down"][layer].T


def _normed(states: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(states, weight.shape, weight, _EPSILON)
