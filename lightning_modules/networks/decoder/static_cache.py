"""Incremental decoding of a ``TinyDecoder`` in fixed shapes, for a GPU: see ``causal_network.FixedDecoding``.

As in ``tiny_decoding``, a prompt's keys and values are kept once for all copies. Here all places of prompts and
responses are attended to from the first step on, those not written yet without effect: more arithmetic, of which a GPU
has plenty, for a step that is always the same one, so that it can be compiled and replayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from lightning_modules.networks.answerer.interface import pad
from lightning_modules.networks.decoder.kv_cache import check_prompts, last_states

if TYPE_CHECKING:
    from lightning_modules.networks.decoder.model import Layer, TinyDecoder


class TinyFixed:
    """See the module. Holds buffers, and no weights: they are those of the network that it is called with.

    Args:
        network: gives sizes, device and dtype.
        prompts: P, the most prompts of a batch.
        copies: G, continuations of each.
        places: L, the most tokens of a prompt.
        room: R, the most tokens of a response.
    """

    def __init__(self, network: TinyDecoder, *, prompts: int, copies: int, places: int, room: int) -> None:
        like = network.embedding.weight.detach()
        heads, head_width = network.heads, network.width // network.heads
        layers, rows = range(len(network.layers)), prompts * copies
        self._grid = (prompts, copies)
        self._room = room
        self._prompt_keys = [like.new_zeros(prompts, heads, places, head_width) for _ in layers]
        self._prompt_values = [like.new_zeros(prompts, heads, places, head_width) for _ in layers]
        self._keys = [like.new_zeros(prompts, heads, copies, room, head_width) for _ in layers]
        self._values = [like.new_zeros(prompts, heads, copies, room, head_width) for _ in layers]
        # What the convolution reads next, nearest first.
        kept = max(0, network.convolution - 1)
        self._tails = [like.new_zeros(kept, rows, network.width) for _ in layers] if kept else []
        # Added to scores: 0 where a place is seen.
        self._unseen = like.new_zeros(prompts, 1, 1, places)
        self._unwritten = torch.full((room, room), -torch.inf, dtype=like.dtype, device=like.device).triu_(1)
        self._lengths = torch.zeros(rows, dtype=torch.long, device=like.device)
        self._written = torch.zeros(1, dtype=torch.long, device=like.device)

    def rewind(self) -> None:
        """See ``FixedDecoding``."""
        self._written.zero_()

    def nbytes(self) -> int:
        """See ``FixedDecoding``."""
        kept = (self._prompt_keys, self._prompt_values, self._keys, self._values, self._tails)
        return sum(tensor.nbytes for tensors in kept for tensor in tensors)

    def read(self, network: TinyDecoder, prompts: Sequence[Sequence[int]]) -> Tensor:
        """See ``FixedDecoding``."""
        check_prompts(prompts, room=self._room, limit=network.limit)
        count, copies = len(prompts), self._grid[1]
        device = self._lengths.device
        ids = pad(prompts, value=0).to(device)
        lengths = torch.tensor([len(prompt) for prompt in prompts]).to(device)
        sight = network.sight(ids)
        states = network.embedding(ids)
        width = ids.shape[1]
        for index, layer in enumerate(cast("list[Layer]", list(network.layers))):
            if self._tails:
                tail = last_states(layer.before_attention(states), lengths, network.convolution - 1)  # (K-1, D, n)
                self._tails[index][:, : count * copies] = tail.transpose(1, 2).repeat_interleave(copies, dim=1)
            states, keys, values = layer.read(states, sight)
            self._prompt_keys[index][:count, :, :width] = keys
            self._prompt_values[index][:count, :, :width] = values
        self._unseen.fill_(-torch.inf)
        seen = torch.arange(self._unseen.shape[-1], device=device) < lengths[:, None]
        self._unseen[:count].masked_fill_(seen[:, None, None], 0.0)
        self._lengths[: count * copies] = lengths.repeat_interleave(copies)
        self.rewind()
        return network.lm_head(network.norm(states[torch.arange(count, device=device), lengths - 1]))

    def step(self, network: TinyDecoder, tokens: Tensor) -> Tensor:
        """See ``FixedDecoding``."""
        at = self._lengths + self._written
        cosines, sines = network.cosines[at][:, None], network.sines[at][:, None]  # (S, 1, d/2)
        states = network.embedding(tokens)
        for index, layer in enumerate(cast("list[Layer]", list(network.layers))):
            inputs = layer.before_attention(states)
            if layer.convolution is not None:
                inputs = self._convolve(index, layer.convolution.weight, inputs)
            mixed = self._attend(index, *layer.project(inputs, cosines, sines))
            states = states + layer.output(mixed)
            states = states + layer.feed(states)
        self._written.add_(1)
        return network.lm_head(network.norm(states))

    def _convolve(self, index: int, weight: Tensor, inputs: Tensor) -> Tensor:
        tail = self._tails[index]
        mixed = inputs * (1 + weight[0]) + (tail * weight[1:, None]).sum(0)
        tail.copy_(torch.cat((inputs[None], tail[:-1])))
        return mixed

    def _attend(self, index: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(S, heads, d) three times -> (S, D), over the prompt and what the row wrote itself."""
        asked, key, value = (part.unflatten(0, self._grid).transpose(1, 2) for part in (queries, keys, values))
        own_keys, own_values = self._keys[index], self._values[index]
        own_keys.index_copy_(3, self._written, key[:, :, :, None].to(own_keys.dtype))
        own_values.index_copy_(3, self._written, value[:, :, :, None].to(own_values.dtype))
        asked = asked * queries.shape[-1] ** -0.5  # (P, heads, G, d)
        shared = asked @ self._prompt_keys[index].transpose(-1, -2) + self._unseen
        own = (asked[:, :, :, None] @ own_keys.transpose(-1, -2))[..., 0, :]
        own = own + self._unwritten.index_select(0, self._written)
        chances = torch.cat((shared, own), dim=-1).softmax(-1)
        places = shared.shape[-1]
        mixed = chances[..., :places] @ self._prompt_values[index]
        mixed = mixed + (chances[..., None, places:] @ own_values)[..., 0, :]
        return mixed.transpose(1, 2).flatten(0, 1).flatten(1)
