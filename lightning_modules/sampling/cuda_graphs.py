"""The sampler's loop in fixed shapes: on a GPU, one token of all rows is one replay of a CUDA graph.

Launching the small kernels of a step one by one takes longer than running them, many times so for small networks. Here
nobody leaves the batch, and whether all have finished is asked every few tokens only, as each answer waits for the GPU.
Batches are filled up to sizes of which few are enough; buffers and graph of a size are kept with the network.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lightning_modules.networks.causal_network import FixedDecoding

Choose = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Logits (S, V) and uniform numbers (S,) -> tokens and their log-probabilities (S,)."""

_ASKED_EVERY = 8
"""Tokens between two looks whether all rows have finished."""

_PLACES = 32
"""Room for prompts is a multiple of this many tokens."""

_KEPT_BYTES = 2**31
"""Loops of a network are kept as long as their buffers together take no more; the newest is kept in any case."""

_kept: WeakKeyDictionary[Any, OrderedDict[Hashable, Loop]] = WeakKeyDictionary()


def write(
    network: Any,
    prompts: Sequence[Sequence[int]],
    uniforms: Tensor,
    *,
    copies: int,
    end: int,
    ends: Collection[int],
    choose: Choose,
    rules: Hashable,
    compiled: bool,
) -> tuple[Tensor, Tensor]:
    """``copies`` responses to every prompt.

    Args:
        network: a ``CausalNetwork`` that has ``fixed``.
        prompts: ids, P rows.
        uniforms: (P * G, T), of which T is the most tokens of a response.
        copies: G.
        end: id that fills what is not written.
        ends: ids that end a response.
        choose: how tokens are drawn.
        rules: what ``choose`` depends on, to tell loops apart.
        compiled: compile a step before it is captured: seconds for every size, for fewer and larger kernels.

    Returns:
        Tokens (P * G, T) and their log-probabilities; what stands behind what ended a response means nothing.
    """
    room = uniforms.shape[1]
    sizes = (_filled(len(prompts)), copies, -(-max(map(len, prompts)) // _PLACES) * _PLACES, room)
    loops = _kept.setdefault(network, OrderedDict())
    key = (sizes, end, frozenset(ends), rules, compiled, _weights(network), _precision())
    loop = loops.pop(key, None)
    if loop is None:
        _make_room(loops)
        loop = Loop(network, *sizes, end=end, ends=ends, choose=choose, compiled=compiled)
    loops[key] = loop
    return loop.run(network, prompts, uniforms)


def _filled(count: int) -> int:
    """At least ``count``, at most a quarter more: one of four sizes between a power of two and the next."""
    step = max(1, 2 ** (count.bit_length() - 3))
    return -(-count // step) * step


def _make_room(loops: OrderedDict[Hashable, Loop]) -> None:
    """Drop the loops that were not used for longest until the others leave room for one more."""
    while loops and sum(loop.nbytes() for loop in loops.values()) > _KEPT_BYTES:
        loops.popitem(last=False)


def _weights(network: nn.Module) -> tuple[tuple[int, torch.dtype], ...]:
    """Where the weights are: a graph reads them there. Training changes them in place."""
    return tuple((value.data_ptr(), value.dtype) for value in (*network.parameters(), *network.buffers()))


def _precision() -> torch.dtype | None:
    return torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None


class Loop:
    """Buffers of a batch of one size, and how its next token is written.

    Args:
        network: what writes. It is not kept: a graph needs no more than its weights to stay where they are.
        prompts: P, the most prompts.
        copies: G of each.
        places: the most tokens of a prompt.
        room: T, the most tokens of a response.
        end, ends, choose, compiled: see ``write``.
    """

    def __init__(
        self,
        network: Any,
        prompts: int,
        copies: int,
        places: int,
        room: int,
        *,
        end: int,
        ends: Collection[int],
        choose: Choose,
        compiled: bool,
    ) -> None:
        self._decoding: FixedDecoding = network.fixed(prompts=prompts, copies=copies, places=places, room=room)
        device = next(network.parameters()).device
        rows = prompts * copies
        self._choose, self._copies, self._end = choose, copies, end
        self._uniforms = torch.zeros(rows, room, device=device)
        self._tokens = torch.zeros(rows, room, dtype=torch.long, device=device)
        self._logps = torch.zeros(rows, room, device=device)
        self._ends = torch.tensor(sorted(ends), device=device)
        self._done = torch.zeros(rows, dtype=torch.bool, device=device)
        self._time = torch.zeros(1, dtype=torch.long, device=device)
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda" and room > 1:
            self._graph = self._capture(network, device, compiled)

    def nbytes(self) -> int:
        """Bytes of the buffers that grow with the batch."""
        return self._decoding.nbytes()

    @torch.no_grad()
    def run(self, network: Any, prompts: Sequence[Sequence[int]], uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """See ``write``."""
        count, room = uniforms.shape
        logits = self._decoding.read(network, prompts).repeat_interleave(self._copies, dim=0)
        self._uniforms[:count] = uniforms.to(self._uniforms.device)
        self._tokens.fill_(self._end)
        self._time.zero_()
        self._tokens[:count, 0], self._logps[:count, 0] = self._choose(logits, self._uniforms[:count, 0])
        self._done.fill_(True)  # nobody waits for rows that only fill the batch up
        self._done[:count] = self._ended(self._tokens[:count, 0])
        for time in range(1, room):
            if time % _ASKED_EVERY == 0 and bool(self._done.all()):
                break
            if self._graph is None:
                self._advance(network)
            else:
                self._graph.replay()
        return self._tokens[:count].clone(), self._logps[:count].clone()

    def _advance(self, network: Any) -> None:
        """Read the token that was written last, and write the next one."""
        logits = self._decoding.step(network, self._tokens.index_select(1, self._time)[:, 0])
        self._time.add_(1)
        chosen, found = self._choose(logits, self._uniforms.index_select(1, self._time)[:, 0])
        self._tokens.index_copy_(1, self._time, chosen[:, None])
        self._logps.index_copy_(1, self._time, found[:, None])
        self._done.logical_or_(self._ended(chosen))

    def _ended(self, tokens: Tensor) -> Tensor:
        """Which of (S,) tokens end a response."""
        return (tokens[:, None] == self._ends).any(-1)

    @torch.no_grad()
    def _capture(self, network: Any, device: torch.device, compiled: bool) -> torch.cuda.CUDAGraph:
        """One ``_advance`` as a graph; what it does to the buffers before the first ``run`` has no effect."""
        advance = torch.compile(self._advance, dynamic=False) if compiled else self._advance
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device), _uncached_casts():
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):  # libraries set themselves up, and compilation happens, outside the graph
                for _ in range(2):
                    self._decoding.rewind()
                    self._time.zero_()
                    advance(network)
            torch.cuda.current_stream().wait_stream(stream)
            self._decoding.rewind()
            self._time.zero_()
            # cuBLAS keeps its workspace for the next graph, while the memory is the first one's: what came later would
            # write there after the first was dropped. So every graph gets a workspace of its own, and none leaves one.
            torch._C._cuda_clearCublasWorkspaces()
            with torch.cuda.graph(graph):
                advance(network)
            torch._C._cuda_clearCublasWorkspaces()
        return graph


def _uncached_casts() -> AbstractContextManager[Any]:
    """Under autocast, weights are cast anew in every step: a graph must not keep what they were when it was made."""
    dtype = _precision()
    return nullcontext() if dtype is None else torch.autocast("cuda", dtype=dtype, cache_enabled=False)
