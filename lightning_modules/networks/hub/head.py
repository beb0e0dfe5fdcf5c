"""The head of a causal model of the transformers library as the model itself computes it.

Between states and logits lie scales and caps that every family has its own names for (Granite divides, Cohere
multiplies, Gemma 2 caps). None is repeated here: the model's own forward pass runs with the network below its head
taken out, and with the states given in its place.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


def below_head(model: Any) -> Any:
    """The network that a causal model puts its head on. ``ValueError`` where there is none, or several."""
    from transformers import PreTrainedModel

    if model.base_model is not model:
        return model.base_model
    found = [child for child in model.children() if isinstance(child, PreTrainedModel)]
    if len(found) != 1:
        raise ValueError(f"a {type(model).__name__} has {len(found)} networks below its head, not one: choose another")
    return found[0]


def own_logits(model: Any, states: Tensor) -> Tensor:
    """States (..., H) that the network below the head gave -> logits (..., V), as the model makes them.

    Args:
        model: a causal model of the library, without a wrapper of adapters; its layers may hold some.
    """
    below = below_head(model)
    name = next(name for name, child in model.named_children() if child is below)
    headed = copy.copy(model)  # shares all weights; only what it calls is another thing
    rows = states.reshape(1, -1, states.shape[-1])
    headed.__dict__["_modules"] = {**model._modules, name: _Given(rows, below)}
    unread = torch.zeros(rows.shape[:2], dtype=torch.long, device=rows.device)  # some look at its shape
    logits: Tensor = type(model).forward(headed, input_ids=unread, use_cache=False).logits
    return logits.view(*states.shape[:-1], -1)


class _Given:
    """Stands where a network was: called, it returns the states; all else that is asked of it the network answers."""

    def __init__(self, states: Tensor, network: nn.Module) -> None:
        self._states = states
        self._network = network

    def __call__(self, *args: Any, **options: Any) -> _Output:
        return _Output((self._states,))

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._network, name)
        return _Given(self._states, value) if isinstance(value, nn.Module) else value


class _Output(tuple):  # type: ignore[type-arg]
    """What a network gives: its states first, and nothing of all that it might give besides."""

    __slots__ = ()

    @property
    def last_hidden_state(self) -> Tensor:
        """(1, N, H)."""
        states: Tensor = self[0]
        return states

    def __getattr__(self, name: str) -> None:
        return None
