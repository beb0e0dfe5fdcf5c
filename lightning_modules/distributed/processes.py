"""A training on several devices of one machine: one process per device, and what they must agree on.

Somebody else starts the processes (``sweeps.execution.ranks``), each with the same module, the same data and a
``Group`` that says which it is. Lightning's own launchers will not do: one runs the command line again, which inside a
worker is that of the worker's server; the other forks, which a process that has used CUDA cannot.

What a result may depend on: every process takes its share of the same global batch, and the mean below runs over the
whole batch, so that the number of devices changes neither the loss nor the gradient but for the order of sums. Dropout
is drawn from (seed, step, rank): with it, trainings on one and on two devices are equal in distribution, not in
numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor, distributed

STRATEGIES = ("auto", "ddp", "fsdp2")
"""``auto`` is ``ddp``; with one device all three are the same plain training."""

_LOOPBACK = "lo"


class Group(NamedTuple):
    """Which process this is, from 0 up, and the file through which all of them meet: new for every training."""

    rank: int
    meeting: Path


class Share(NamedTuple):
    """One process's part of a batch; ``spare`` when there was no item left for it, so that it repeats another's."""

    batch: Any
    spare: bool


class BatchMean(NamedTuple):
    """What a step gives.

    Attributes:
        loss: whose gradient, averaged over the processes, is that of ``mean``; ().
        mean: mean loss of the whole batch, the same in every process; ().
        tokens: of the whole batch; ().
    """

    loss: Tensor
    mean: Tensor
    tokens: Tensor


def batch_mean(losses: Tensor, tokens: Tensor, *, spare: bool = False) -> BatchMean:
    """Mean of per-example losses over the batch of all processes, whose shares may differ in size.

    Strategies average gradients over the W processes, which for shares of unequal size is not the batch's mean. With N
    losses in all, each process therefore takes W/N times the sum of its own: their average is the sum of all over N.

    Args:
        losses: of this process's share, (B,).
        tokens: of this process's share, ().
        spare: the share repeats another's item: it counts for nothing.
    """
    if not distributed.is_initialized():
        mean = losses.mean()
        return BatchMean(mean, mean.detach(), tokens)
    weight = 0 if spare else 1
    own = losses.sum() * weight
    totals = torch.stack([own.detach().double(), own.new_tensor(len(losses) * weight).double(), tokens * weight])
    distributed.all_reduce(totals)
    loss = own * (distributed.get_world_size() / totals[1]).to(own.dtype)
    return BatchMean(loss, (totals[0] / totals[1]).to(own.dtype), totals[2].long())


class _Started(LightningEnvironment):
    """Tells Lightning that all processes run already, and which one this is."""

    def __init__(self, rank: int, devices: int) -> None:
        super().__init__()
        self._rank = rank
        self.set_world_size(devices)
        self.set_global_rank(rank)

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def local_rank(self) -> int:
        return self._rank


def environment(group: Group | None, devices: int) -> LightningEnvironment:
    """What Lightning is told of its surroundings: nothing of a scheduler's variables, the group where there is one."""
    return _Started(group.rank, devices) if group else LightningEnvironment()


def placement(strategy: str, devices: int) -> Strategy | str:
    """Lightning's strategy for one of ``STRATEGIES``."""
    if devices == 1:
        return "auto"
    if strategy == "fsdp2":
        return ModelParallelStrategy(data_parallel_size=devices, tensor_parallel_size=1)
    return DDPStrategy()


@contextmanager
def joined(group: Group | None, devices: int, accelerator: str) -> Iterator[None]:
    """Connects this process with the others of its group; nothing where there is none."""
    if group is None:
        yield
        return
    options: dict[str, Any] = {"backend": "gloo"}
    if accelerator in ("cuda", "gpu") or (accelerator == "auto" and torch.cuda.is_available()):
        device = torch.device("cuda", group.rank)
        torch.cuda.set_device(device)
        options = {"backend": "nccl", "device_id": device}
    elif Path("/sys/class/net", _LOOPBACK).exists():
        # All processes are on this machine, and its host name may not resolve.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK)
    meeting = f"file://{group.meeting.resolve()}"
    distributed.init_process_group(init_method=meeting, rank=group.rank, world_size=devices, **options)
    try:
        yield
    finally:
        distributed.destroy_process_group()
