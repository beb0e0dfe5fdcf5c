"""Networks whose weights are spread over several devices (FSDP2, ``torch.distributed.fsdp.fully_shard``).

Only networks that reach their weights through one model of the transformers library can be sharded: what is gathered
for a block is gathered when that block is called, and the rest when the whole is called, or its ``hidden`` states are.
The rest, head included, stays gathered until the gradient is there: the head is asked after that.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def root(network: nn.Module) -> nn.Module:
    """The model that holds all weights of ``network`` and is called as a whole.

    Raises:
        ValueError: there is none, or its weights are quantised.
    """
    from peft import PeftModel
    from transformers import PreTrainedModel

    from lightning_modules.networks.hub.causal_lm import HubCausal

    kinds = (PeftModel, PreTrainedModel, HubCausal)
    models = [part for part in (network, *network.children()) if isinstance(part, kinds)]
    held = {id(weight) for model in models[:1] for weight in model.parameters()}
    if not models or any(id(weight) not in held for weight in network.parameters()):
        raise ValueError(
            f"trainer.strategy=fsdp2 shards a network that is one model of the transformers library, which a "
            f"{type(network).__name__} is not: set trainer.strategy=ddp"
        )
    if not all(weight.is_floating_point() for weight in models[0].parameters()):
        raise ValueError("trainer.strategy=fsdp2 cannot shard quantised weights: set trainer.strategy=ddp")
    return models[0]


def blocks(model: nn.Module) -> list[nn.Module]:
    """The layers of a model, in order: what its authors declare as never to be split.

    Raises:
        ValueError: it declares none.
    """
    names: set[str] = set()
    for part in model.modules():
        names |= set(getattr(part, "_no_split_modules", None) or ())
    found = [part for part in model.modules() if type(part).__name__ in names]
    if not found:
        raise ValueError(f"a {type(model).__name__} names no layers to shard by: set trainer.strategy=ddp")
    return found


def shard(network: nn.Module, mesh: Any) -> None:
    """Spread the weights of ``network`` over a one-dimensional device mesh: one group a layer, one for the rest."""
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    from lightning_modules.networks.hub.causal_lm import HubCausal

    model = root(network)
    for block in blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=False)
    if isinstance(model, HubCausal):
        register_fsdp_forward_method(model, "hidden")


def outline(network: nn.Module) -> nn.Module:
    """A copy of ``network`` whose weights take no memory; tied weights stay tied. Taken before ``shard``."""
    without = {
        id(weight): nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=weight.requires_grad)
        for weight in network.parameters()
    }
    return copy.deepcopy(network, without)


def gather(network: nn.Module, *, keep: bool) -> dict[str, Tensor]:
    """Whole weights of a sharded network on the CPU, one by one: every process must take part, those that ``keep``
    get them.
    """
    found = {}
    for name, weight in network.named_parameters():
        whole = weight.detach()
        whole = whole.full_tensor() if hasattr(whole, "full_tensor") else whole
        if keep:
            found[name] = whole.cpu().clone()
    return found


def fill(outlined: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Put ``weights`` (as of ``gather``) into a network that ``outline`` gave; returns it."""
    by_place = {
        id(weight): nn.Parameter(weights[name], requires_grad=weight.requires_grad)
        for name, weight in outlined.named_parameters()
    }
    for part in outlined.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                part._parameters[name] = by_place[id(weight)]
    return outlined
