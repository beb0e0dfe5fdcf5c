"""Causal models of the transformers library as a ``CausalNetwork``."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_modules.networks.answerer.interface import pad
from lightning_modules.networks.causal_network import Decoding, segment_mask
from lightning_modules.networks.hub.head import below_head, own_logits
from lightning_modules.networks.hub.masks import laid_out

WITHOUT = {
    "packed": "set method.packing=null",
    "shared": "set method.share_prompt=false",
    "written": "choose another model, or another engine for its samples",
}
"""How to do without a way of reading that a model has not."""


class HubCausal(nn.Module):
    """A model of the transformers library, whole or with adapters. Masks and head are the model's own.

    Args:
        model: such as ``AutoModelForCausalLM`` makes, or its PEFT wrapper.
        limit: longest sequence in tokens.
        padding: an id that fills rows; its states are never used.

    Attributes:
        refused: ways of reading ("packed" rows, a "shared" prompt, "written" token by token) that this model has not,
            and why; see ``hub_agreement``.
    """

    def __init__(self, model: Any, *, limit: int, padding: int) -> None:
        super().__init__()
        if limit < 1:
            raise ValueError(f"limit must be at least 1 token, got {limit}")
        self.model = model
        self.limit = limit
        self.padding = padding
        self.refused: dict[str, str] = {}

    @property
    def inner(self) -> Any:
        """The model inside its adapters' wrapper; adapters live in its layers."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def hidden(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        segments: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """See ``CausalNetwork.hidden``.

        Raises:
            ValueError: rows longer than ``limit``, both kinds of mask, or a layout that the model cannot read.
        """
        if segments is not None and mask is not None:
            raise ValueError("give segments (packed sequences) or mask (anything else), not both")
        if positions is None and ids.shape[1] > self.limit:
            raise ValueError(f"a row has {ids.shape[1]} tokens but the network reads {self.limit}: raise its limit")
        where = torch.arange(ids.shape[1], device=ids.device).expand_as(ids) if positions is None else positions
        if segments is None and mask is None:
            return self.read(input_ids=ids, position_ids=where, use_cache=False).last_hidden_state
        layout = "packed" if segments is not None else "shared"
        if layout in self.refused:
            raise ValueError(self.refused[layout])
        seen = segment_mask(segments) if segments is not None else mask
        assert seen is not None
        with laid_out(where, seen) as present:
            output = self.read(input_ids=ids, attention_mask=torch.ones_like(ids), position_ids=where, use_cache=False)
        if not present.asked:
            raise ValueError(f"a {type(self.inner).__name__} makes its masks itself: {WITHOUT[layout]}")
        return output.last_hidden_state

    def read(self, **options: Any) -> Any:
        """Call the network below the head; the library's names for the arguments."""
        below = below_head(self.inner)
        if "position_ids" not in inspect.signature(below.forward).parameters:
            options.pop("position_ids", None)
        return below(**options)

    def lm_head(self, states: Tensor) -> Tensor:
        """See ``CausalNetwork.lm_head``."""
        return own_logits(self.inner, states)

    def open(self, prompts: Sequence[Sequence[int]], *, copies: int, room: int) -> Decoding:
        """See ``CausalNetwork.open``. ``ValueError`` for a model that cannot be read token by token."""
        if "written" in self.refused:
            raise ValueError(self.refused["written"])
        return HubDecoding(self, prompts, copies=copies, room=room)


class HubDecoding:
    """See ``causal_network.Decoding``: prompts are padded on the left and read once, then their cache is copied.

    Args:
        network: the weights.
        prompts: P rows of ids, none of them empty.
        copies: G, continuations of each prompt.
        room: most tokens that a row will write.
    """

    @torch.no_grad()
    def __init__(self, network: HubCausal, prompts: Sequence[Sequence[int]], *, copies: int, room: int) -> None:
        lengths = [len(prompt) for prompt in prompts]
        if not prompts or min(lengths) < 1:
            raise ValueError("a prompt without tokens cannot be continued: begin prompts with the start token")
        if max(lengths) + room > network.limit:
            raise ValueError(
                f"a prompt of {max(lengths)} tokens and {room} more exceed the network's limit of {network.limit}: "
                "raise the model's limit, or lower max_tokens"
            )
        self.network = network
        device = next(network.parameters()).device
        self._mask = pad([[1] * length for length in lengths], value=0, left=True).to(device)
        ids = pad(prompts, value=network.padding, left=True).to(device)
        output = network.read(
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=(self._mask.cumsum(-1) - 1).clamp(min=0),
            use_cache=True,
        )
        self.logits = network.lm_head(output.last_hidden_state[:, -1])
        self._cache = output.past_key_values
        if copies > 1:  # by rows: states that run through a sequence (linear attention) can be chosen, not repeated
            self._cache.reorder_cache(torch.arange(len(ids), device=device).repeat_interleave(copies))
        self._mask = self._mask.repeat_interleave(copies, dim=0)
        self._position = self._mask.sum(-1, keepdim=True)

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        """See ``Decoding.step``."""
        self._mask = torch.cat((self._mask, self._mask.new_ones(len(tokens), 1)), dim=1)
        output = self.network.read(
            input_ids=tokens[:, None],
            attention_mask=self._mask,
            position_ids=self._position,
            past_key_values=self._cache,
            use_cache=True,
        )
        self._position = self._position + 1
        return self.network.lm_head(output.last_hidden_state[:, -1])

    @torch.no_grad()
    def keep(self, rows: Tensor) -> None:
        """See ``Decoding.keep``."""
        self._cache.reorder_cache(rows)
        self._mask = self._mask[rows]
        self._position = self._position[rows]
