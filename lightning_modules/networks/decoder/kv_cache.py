"""Incremental decoding of a ``TinyDecoder``: what makes sampling groups of responses cheap on a processor.

Every prompt is read once. Its keys and values are kept once for all copies, and one product per prompt and head attends
from all copies at a time. Everything else is held with rows last, (D, S): normalisation, rotary positions, gates and
the attention to what the rows wrote themselves are then sums and products along contiguous memory. Weights of
normalisations and the scale of the attention are multiplied into the matrices once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.networks.answerer.interface import pad

if TYPE_CHECKING:
    from lightning_modules.networks.decoder.model import Layer, TinyDecoder


class _Weights(NamedTuple):
    """A layer's matrices with what is constant multiplied in; ``mix`` (K, D, 1) and ``norm`` (D, 1) to convolve."""

    qkv: Tensor
    output: Tensor
    gate_up: Tensor
    down: Tensor
    norm: Tensor
    mix: Tensor | None

    @classmethod
    def of(cls, layer: Layer) -> _Weights:
        before, after = layer.before_attention.weight, layer.before_feedforward.weight
        width = len(before)
        qkv = layer.qkv.weight.clone()
        qkv[:width] *= math.sqrt(layer.heads / width)  # queries
        mix = None
        if layer.convolution is None:
            qkv *= before
        else:
            mix = layer.convolution.weight.clone()[..., None]
            mix[0] += 1
        gate_up = layer.gate_up.weight * after
        return cls(qkv, layer.output.weight, gate_up, layer.down.weight, before[:, None], mix)


class TinyDecoding:
    """See the module and ``causal_network.Decoding``. Nothing here has a gradient.

    Args:
        network: the weights.
        prompts: P rows of ids, none of them empty.
        copies: G, continuations of each prompt.
        room: most tokens that a row will write.

    Raises:
        ValueError: an empty prompt, or one that leaves no room below the network's limit.
    """

    @torch.inference_mode()
    def __init__(self, network: TinyDecoder, prompts: Sequence[Sequence[int]], *, copies: int, room: int) -> None:
        check_prompts(prompts, room=room, limit=network.limit)
        lengths = [len(prompt) for prompt in prompts]
        self.network = network
        self._room = max(1, room)
        self._epsilon = cast(float, network.norm.eps)
        layers = cast("list[Layer]", list(network.layers))
        self._weights = [_Weights.of(layer) for layer in layers]
        device = network.embedding.weight.device
        ids = pad(prompts, value=0).to(device)
        prompt_lengths = torch.tensor(lengths, device=device)
        sight = network.sight(ids)
        states = network.embedding(ids)
        self._prompt_keys: list[Tensor] = []  # per layer (P, heads, d, L)
        self._prompt_values: list[Tensor] = []  # per layer (P, heads, L, d)
        self._tails: list[Tensor] = []  # per layer (K-1, D, S): what the convolution reads next, nearest first
        for layer in layers:
            if layer.convolution is not None:
                self._tails.append(last_states(layer.before_attention(states), prompt_lengths, network.convolution - 1))
            states, keys, values = layer.read(states, sight)
            self._prompt_keys.append(keys.transpose(-1, -2).contiguous())
            self._prompt_values.append(values.contiguous())
        last = states[torch.arange(len(prompts), device=device), prompt_lengths - 1]
        self.logits = network.lm_head(network.norm(last))
        # Where prompts differ in length, the places behind the shorter ones are not seen.
        self._hidden_places = None
        if min(lengths) < max(lengths):
            places = torch.arange(max(lengths), device=device)
            self._hidden_places = (places >= prompt_lengths[:, None])[:, None, None]  # (P, 1, 1, L)
        self._start_copies(prompt_lengths, copies)

    def _start_copies(self, prompt_lengths: Tensor, copies: int) -> None:
        count = len(prompt_lengths)
        like = self._prompt_values[0]
        self._tails = [tail.repeat_interleave(copies, dim=-1) for tail in self._tails]
        shape = (self._room, like.shape[1], like.shape[3], count * copies)
        self._keys = [like.new_empty(shape) for _ in self._weights]  # (room, heads, d, S)
        self._values = [like.new_empty(shape) for _ in self._weights]
        self._written = 0
        self._positions = prompt_lengths.repeat_interleave(copies)
        self._prompt_of = torch.arange(count, device=like.device).repeat_interleave(copies)
        self._slots: Tensor | None = None  # (S,) place of each row in the (P, G) grid; None: row i is place i
        self._grid = (count, copies)

    @torch.inference_mode()
    def step(self, tokens: Tensor) -> Tensor:
        """See ``Decoding.step``."""
        network = self.network
        at = self._positions + self._written
        cosines, sines = network.cosines[at].t().contiguous(), network.sines[at].t().contiguous()  # (d/2, S)
        states = network.embedding(tokens).t().contiguous()  # (D, S)
        for index, weights in enumerate(self._weights):
            inputs = self._normal(states)
            if weights.mix is not None:
                inputs = self._convolve(index, weights, inputs * weights.norm)
            mixed = self._attend(index, (weights.qkv @ inputs).unflatten(0, (3, network.heads, -1)), cosines, sines)
            states = states + weights.output @ mixed
            gate, up = (weights.gate_up @ self._normal(states)).chunk(2)
            states = states + weights.down @ F.silu(gate).mul_(up)
        self._written += 1
        return network.lm_head(network.norm(states.t()))

    def _normal(self, states: Tensor) -> Tensor:
        """RMS normalisation over the first axis, without its weight."""
        return states * (states.square().mean(0) + self._epsilon).rsqrt_()

    def _convolve(self, index: int, weights: _Weights, inputs: Tensor) -> Tensor:
        mix, tail = cast(Tensor, weights.mix), self._tails[index]
        self._tails[index] = torch.cat((inputs[None], tail[:-1]))
        return inputs * mix[0] + (tail * mix[1:]).sum(0)

    def _attend(self, index: int, qkv: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """Queries, keys and values (3, heads, d, S), not yet rotated -> (D, S), over prompt and own tokens."""
        first, second = qkv[:2].chunk(2, dim=2)
        queries, keys = torch.cat((first * cosines - second * sines, second * cosines + first * sines), dim=2)
        self._keys[index][self._written] = keys
        self._values[index][self._written] = qkv[2]
        own_keys, own_values = self._keys[index][: self._written + 1], self._values[index][: self._written + 1]
        own = (queries * own_keys).sum(2)  # (t, heads, S)
        # (P, heads, G, d) @ (P, heads, d, L)
        shared = self._to_grid(queries).permute(2, 0, 3, 1) @ self._prompt_keys[index]
        if self._hidden_places is not None:
            shared = shared.masked_fill_(self._hidden_places, -torch.inf)
        # One softmax over both parts, whose pieces stay where they are: exponentials below a common top, then sums.
        top = torch.maximum(self._from_grid(shared.amax(3).permute(1, 0, 2)), own.amax(0))  # (heads, S)
        shared = shared.sub_(self._to_grid(top).permute(1, 0, 2)[..., None]).exp_()
        own = own.sub_(top).exp_()
        total = self._from_grid(shared.sum(3).permute(1, 0, 2)) + own.sum(0)
        mixed = (own[:, :, None] * own_values).sum(0)  # (heads, d, S)
        mixed += self._from_grid((shared @ self._prompt_values[index]).permute(1, 3, 0, 2))
        return mixed.div_(total[:, None]).flatten(0, 1)

    def _to_grid(self, rows: Tensor) -> Tensor:
        """(..., S) -> (..., P, G); places of rows that left hold zeros."""
        if self._slots is not None:
            grid = rows.new_zeros(*rows.shape[:-1], self._grid[0] * self._grid[1])
            grid[..., self._slots] = rows
            rows = grid
        return rows.unflatten(-1, self._grid)

    def _from_grid(self, grid: Tensor) -> Tensor:
        """(..., P, G) -> (..., S)."""
        flat = grid.flatten(-2)
        return flat if self._slots is None else flat[..., self._slots]

    @torch.inference_mode()
    def keep(self, rows: Tensor) -> None:
        """See ``Decoding.keep``. Prompts all of whose rows left are dropped too."""
        for kept in (self._keys, self._values):
            for index, tensor in enumerate(kept):
                # Only what was written is copied.
                smaller = tensor.new_empty(*tensor.shape[:-1], len(rows))
                smaller[: self._written] = tensor[: self._written].index_select(-1, rows)
                kept[index] = smaller
        self._tails = [tail.index_select(-1, rows) for tail in self._tails]
        self._positions = self._positions[rows]
        prompts, prompt_of, counts = self._prompt_of[rows].unique_consecutive(return_inverse=True, return_counts=True)
        if len(prompts) < self._grid[0]:
            self._prompt_keys = [keys[prompts] for keys in self._prompt_keys]
            self._prompt_values = [values[prompts] for values in self._prompt_values]
            if self._hidden_places is not None:
                self._hidden_places = self._hidden_places[prompts]
        widest = int(counts.max())
        self._prompt_of = prompt_of
        self._grid = (len(prompts), widest)
        inside = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[prompt_of]
        ragged = len(rows) < len(prompts) * widest
        self._slots = prompt_of * widest + inside if ragged else None


def check_prompts(prompts: Sequence[Sequence[int]], *, room: int, limit: int) -> None:
    """``ValueError`` for no prompt, an empty one, or one that leaves no room below the network's limit."""
    lengths = [len(prompt) for prompt in prompts]
    if not prompts or min(lengths) < 1:
        raise ValueError("a prompt without tokens cannot be continued: begin prompts with the start token")
    if max(lengths) + room > limit:
        raise ValueError(
            f"a prompt of {max(lengths)} tokens and {room} more exceed the network's limit of {limit}: "
            "raise the model's limit, or lower max_tokens"
        )


def last_states(states: Tensor, lengths: Tensor, count: int) -> Tensor:
    """The last states of each row, nearest first: (P, T, D) -> (``count``, D, P), zeros before the beginning."""
    index = lengths[:, None] - 1 - torch.arange(count, device=states.device)
    found = states.gather(1, index.clamp(min=0)[..., None].expand(-1, -1, states.shape[-1]))
    return (found * (index >= 0)[..., None]).permute(1, 2, 0).contiguous()
