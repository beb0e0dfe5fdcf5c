"""A small decoder-only transformer, trained from scratch: pre-norm RMSNorm, rotary positions, SwiGLU, no biases.

Without its convolution it computes what a Llama of the same sizes computes (``as_llama``). With it, every attention
layer also reads the few tokens before each token directly: small transformers learn to match names instead of copying
any value of the right type (a width of 4 is what made readers of 127 thousand parameters read).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lightning_modules.networks.causal_network import Decoding, FixedDecoding, segment_mask

EPSILON = 1e-6
"""Of all RMS normalisations."""

_MASKED_UP_TO = 2048
"""Rows of packed sequences up to this length use one (T, T) mask; longer ones attend segment by segment, in memory that
grows with T alone."""


class Sight(NamedTuple):
    """What each token sees, worked out once for all layers.

    Attributes:
        cosines, sines: (T or B, T, 1, d/2), the rotary angles of the positions; broadcast over heads.
        mask: (B, 1, T, T) booleans, or ``None`` for all tokens before.
        runs: (row, start, end) of every segment, in place of ``mask`` for long packed rows.
        predecessors: (B, T, K-1) indices of the tokens that the convolution reads besides the token itself, nearest
            first; ``None``: simply the tokens before.
        known: (B, T, K-1) booleans: whether there is such a token.
    """

    cosines: Tensor
    sines: Tensor
    mask: Tensor | None = None
    runs: tuple[tuple[int, int, int], ...] | None = None
    predecessors: Tensor | None = None
    known: Tensor | None = None


def rotate(states: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotary position embedding of (..., heads, d), in the half-split form that Llama uses."""
    first, second = states.chunk(2, dim=-1)
    return torch.cat((first * cosines - second * sines, second * cosines + first * sines), dim=-1)


class Convolution(nn.Module):
    """Adds to every token a learnt mix, per channel, of itself and the ``width`` - 1 tokens before it.

    Args:
        channels: D.
        width: K, tokens that are read, at least 2.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, channels))  # row j: the token j places before
        nn.init.normal_(self.weight, std=1 / math.sqrt(width))

    def forward(self, states: Tensor, sight: Sight) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        mixed = states * (1 + self.weight[0])
        for back in range(1, len(self.weight)):
            if sight.predecessors is None:
                earlier = F.pad(states[:, : max(0, states.shape[1] - back)], (0, 0, min(back, states.shape[1]), 0))
            else:
                index = sight.predecessors[..., back - 1, None].expand_as(states)
                earlier = states.gather(1, index) * cast(Tensor, sight.known)[..., back - 1, None]
            mixed = mixed + earlier * self.weight[back]
        return mixed


class Layer(nn.Module):
    """Attention and a SwiGLU feed-forward, each on normalised states and added to the stream.

    Args:
        width: D.
        heads: each of width D / heads.
        feedforward: inner width.
        convolution: K, or 0 for none.
    """

    def __init__(self, width: int, heads: int, feedforward: int, convolution: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.RMSNorm(width, eps=EPSILON)
        self.convolution = Convolution(width, convolution) if convolution else None
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.before_feedforward = nn.RMSNorm(width, eps=EPSILON)
        self.gate_up = nn.Linear(width, 2 * feedforward, bias=False)
        self.down = nn.Linear(feedforward, width, bias=False)

    def project(self, states: Tensor, cosines: Tensor, sines: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised states (..., D) -> rotated queries and keys, and values, each (..., heads, d)."""
        qkv = self.qkv(states).unflatten(-1, (3 * self.heads, -1))
        rotated = rotate(qkv[..., : 2 * self.heads, :], cosines, sines)
        return rotated[..., : self.heads, :], rotated[..., self.heads :, :], qkv[..., 2 * self.heads :, :]

    def feed(self, states: Tensor) -> Tensor:
        """The feed-forward's contribution."""
        gate, up = self.gate_up(self.before_feedforward(states)).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)

    def read(self, states: Tensor, sight: Sight) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, D) -> new states, and this layer's keys and values (B, heads, T, d)."""
        inputs = self.before_attention(states)
        if self.convolution is not None:
            inputs = self.convolution(inputs, sight)
        projected = self.project(inputs, sight.cosines, sight.sines)
        queries, keys, values = (part.transpose(1, 2) for part in projected)
        mixed = _attend(queries, keys, values, sight)
        states = states + self.output(mixed.transpose(1, 2).flatten(2))
        return states + self.feed(states), keys, values

    def forward(self, states: Tensor, sight: Sight) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.read(states, sight)[0]


def _attend(queries: Tensor, keys: Tensor, values: Tensor, sight: Sight) -> Tensor:
    """(B, heads, T, d) three times -> (B, heads, T, d)."""
    if sight.runs is None:
        causal = sight.mask is None
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=sight.mask, is_causal=causal)
    pieces: list[list[Tensor]] = [[] for _ in queries]
    for row, start, end in sight.runs:
        query, key, value = (tensor[row : row + 1, :, start:end] for tensor in (queries, keys, values))
        pieces[row].append(F.scaled_dot_product_attention(query, key, value, is_causal=True))
    return torch.cat([torch.cat(row, dim=2) for row in pieces])


class TinyDecoder(nn.Module):
    """See the module. A ``causal_network.CausalNetwork``.

    Args:
        vocabulary: V, number of tokens.
        width: D.
        layers: of attention and feed-forward.
        heads: per layer; D / heads must be even.
        feedforward: inner width; ``None``: the multiple of 8 nearest to 8/3 D, which costs what 4 D costs ungated.
        limit: longest sequence in tokens.
        tied: the head shares the embedding's weights.
        convolution: tokens that the convolution before each attention reads, itself included; 0 for none.
        embedding_std: of the initial embeddings. ``None``: 0.02 where they are tied (larger ones start with confident
            logits), 0.5 where they are not.
        rope_base: of the rotary frequencies.
        rope_scaling: positions are divided by this (linear interpolation), so that a network trained up to ``limit``
            / ``rope_scaling`` can be trained on to ``limit``.
        gradient_checkpointing: compute each layer's activations twice instead of keeping them.
    """

    cosines: Tensor
    sines: Tensor

    def __init__(
        self,
        vocabulary: int,
        *,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        feedforward: int | None = None,
        limit: int = 512,
        tied: bool = True,
        convolution: int = 0,
        embedding_std: float | None = None,
        rope_base: float = 10_000.0,
        rope_scaling: float = 1.0,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.check(
            vocabulary,
            width=width,
            layers=layers,
            heads=heads,
            feedforward=feedforward,
            limit=limit,
            convolution=convolution,
            embedding_std=embedding_std,
            rope_base=rope_base,
            rope_scaling=rope_scaling,
        )
        self.width = width
        self.heads = heads
        self.feedforward = round(width / 3) * 8 if feedforward is None else feedforward
        self.limit = limit
        self.rope_base = float(rope_base)
        self.rope_scaling = float(rope_scaling)
        self.gradient_checkpointing = gradient_checkpointing
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList([Layer(width, heads, self.feedforward, convolution) for _ in range(layers)])
        self.norm = nn.RMSNorm(width, eps=EPSILON)
        self.head = None if tied else nn.Linear(width, vocabulary, bias=False)
        self.convolution = convolution
        self._initialise((0.02 if tied else 0.5) if embedding_std is None else embedding_std)
        angles = rope_angles(limit, width // heads, base=self.rope_base, scaling=self.rope_scaling)
        self.register_buffer("cosines", angles.cos().float(), persistent=False)
        self.register_buffer("sines", angles.sin().float(), persistent=False)

    @staticmethod
    def check(
        vocabulary: int,
        *,
        width: int,
        layers: int,
        heads: int,
        feedforward: int | None,
        limit: int,
        convolution: int,
        embedding_std: float | None,
        rope_base: float,
        rope_scaling: float,
        **_: bool,
    ) -> None:
        """Refuse sizes that make no network: ``ValueError``. Draws no weights."""
        sizes = {"vocabulary": vocabulary, "width": width, "layers": layers, "heads": heads, "limit": limit}
        for name, size in {**sizes, "feedforward": 1 if feedforward is None else feedforward}.items():
            if size < 1:
                raise ValueError(f"model.{name} must be at least 1, got {size}")
        if width % (2 * heads):
            raise ValueError(f"model.width must be a multiple of 2 * heads = {2 * heads}, got {width}")
        if convolution < 0 or convolution == 1:
            raise ValueError(f"model.convolution must be 0 (none) or at least 2 tokens, got {convolution}")
        if embedding_std is not None and not embedding_std > 0:
            raise ValueError(f"model.embedding_std must be above 0 or null, got {embedding_std}")
        if not rope_base > 1 or not rope_scaling >= 1:
            raise ValueError(
                f"model.rope_base must be above 1 and rope_scaling at least 1, got {rope_base}, {rope_scaling}"
            )

    def _initialise(self, embedding_std: float) -> None:
        nn.init.normal_(self.embedding.weight, std=embedding_std)
        for layer in self._layers:
            for linear in (layer.qkv, layer.gate_up):
                nn.init.normal_(linear.weight, std=1 / math.sqrt(linear.in_features))
            for linear in (layer.output, layer.down):  # what is added to the stream grows with depth (GPT-2)
                nn.init.normal_(linear.weight, std=1 / math.sqrt(linear.in_features * 2 * len(self.layers)))
        if self.head is not None:
            nn.init.normal_(self.head.weight, std=0.02)

    @property
    def _layers(self) -> Iterable[Layer]:
        return cast(Iterable[Layer], self.layers)

    def forward(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """See ``CausalNetwork.hidden``."""
        sight = self.sight(ids, positions=positions, segments=segments, mask=mask)
        states = self.embedding(ids)
        for layer in self._layers:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                states = checkpoint(layer, states, sight, use_reentrant=False, preserve_rng_state=False)
            else:
                states = layer(states, sight)
        return self.norm(states)

    def hidden(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """See ``CausalNetwork.hidden``."""
        return self(ids, positions=positions, segments=segments, mask=mask)

    def lm_head(self, states: Tensor) -> Tensor:
        """See ``CausalNetwork.lm_head``."""
        return F.linear(states, (self.embedding if self.head is None else self.head).weight)

    def open(self, prompts: Sequence[Sequence[int]], *, copies: int, room: int) -> Decoding:
        """See ``CausalNetwork.open``."""
        from lightning_modules.networks.decoder.kv_cache import TinyDecoding

        return TinyDecoding(self, prompts, copies=copies, room=room)

    def fixed(self, *, prompts: int, copies: int, places: int, room: int) -> FixedDecoding:
        """See ``CausalNetwork``."""
        from lightning_modules.networks.decoder.static_cache import TinyFixed

        return TinyFixed(self, prompts=prompts, copies=copies, places=places, room=room)

    def sight(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Sight:
        """What the tokens of a batch see. ``ValueError`` for rows longer than ``limit`` or both kinds of mask."""
        length = ids.shape[1]
        if segments is not None and mask is not None:
            raise ValueError("give segments (packed sequences) or mask (anything else), not both")
        if positions is None and length > self.limit:
            raise ValueError(f"a row has {length} tokens but the network reads {self.limit}: raise the model's limit")
        if positions is None:
            cosines, sines = self.cosines[:length], self.sines[:length]
        else:
            cosines, sines = self.cosines[positions], self.sines[positions]
        sight = Sight(cosines.unsqueeze(-2), sines.unsqueeze(-2))
        if segments is not None:
            if length > _MASKED_UP_TO:
                sight = sight._replace(runs=_runs(segments))
            else:
                sight = sight._replace(mask=segment_mask(segments)[:, None])
        elif mask is not None:
            sight = sight._replace(mask=mask[:, None])
        if self.convolution and segments is not None:
            sight = _segment_predecessors(sight, segments, self.convolution)
        elif self.convolution and mask is not None:
            where = torch.arange(length, device=ids.device).expand_as(ids) if positions is None else positions
            sight = _mask_predecessors(sight, mask, where, self.convolution)
        return sight


def rope_angles(length: int, head_width: int, *, base: float, scaling: float) -> Tensor:
    """Angles (length, head_width / 2), fp64, of positions 0, 1, ... divided by ``scaling``: RoFormer Eq. 15."""
    frequencies = base ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    return torch.outer(torch.arange(length, dtype=torch.float64) / scaling, frequencies)


def _runs(segments: Tensor) -> tuple[tuple[int, int, int], ...]:
    found = []
    for row, numbers in enumerate(segments.cpu()):
        edges = (torch.nonzero(numbers.diff()).flatten() + 1).tolist()
        found += [(row, start, end) for start, end in zip([0, *edges], [*edges, len(numbers)], strict=True)]
    return tuple(found)


def _segment_predecessors(sight: Sight, segments: Tensor, width: int) -> Sight:
    back = torch.arange(1, width, device=segments.device)
    index = torch.arange(segments.shape[1], device=segments.device)[:, None] - back
    inside = index.clamp(min=0).expand(len(segments), -1, -1)
    same = segments.gather(1, inside.flatten(1)).view_as(inside) == segments[..., None]
    return sight._replace(predecessors=inside, known=same & (index >= 0))


def _mask_predecessors(sight: Sight, mask: Tensor, positions: Tensor, width: int) -> Sight:
    """The token j places before is the visible one whose position is smaller by j: the trunk's end for a branch."""
    wanted = positions[:, :, None] - torch.arange(1, width, device=mask.device)
    indices, known = [], []
    for back in range(width - 1):
        hits = mask & (positions[:, None, :] == wanted[:, :, back, None])
        indices.append(hits.int().argmax(-1))
        known.append(hits.any(-1))
    return sight._replace(predecessors=torch.stack(indices, -1), known=torch.stack(known, -1))
