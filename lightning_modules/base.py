"""What every method is, and the plumbing that trained ones share: optimiser, schedule, random numbers, logging."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import LRSchedulerConfigType, OptimizerLRSchedulerConfig
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from data.records.relations import Prediction
from lightning_modules.distributed.fsdp import shard
from lightning_modules.distributed.processes import Share, batch_mean
from lightning_modules.networks.precision import Precision

WEIGHTS_FILE = "model.safetensors"
"""Name of the trained weights inside a folder of a finished training."""

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


def count_words(text: str) -> int:
    """Words of a text: what ``prompt.budget`` counts for methods that have no tokenizer."""
    return len(text.split())


class NonFiniteLossError(FloatingPointError):
    """The training loss became NaN or infinite: the run cannot be saved by starting it again."""


class Method(Protocol):
    """One way to train or prompt a model.

    Attributes:
        trains: whether ``fitting.fit`` has anything to do; without it ``predict`` does all.
    """

    trains: bool

    def attach(self, data: Any) -> None:
        """Learn the inventory from the data object and build what is needed. Called once, before anything else."""
        ...

    def predict(self, data: Any, *, split: str, limit: int | None, progress: Progress | None) -> list[Prediction]:
        """Answer every example of a split in its order, or a fixed choice of ``limit`` of them; deterministic."""
        ...


class Optimiser:
    """AdamW and its learning-rate schedule: warm-up from 0, then a fall to 0 over all steps that are known beforehand.

    Args:
        learning_rate: peak, for weights that come pre-trained.
        new_learning_rate: peak, for weights that start random; ``None``: the same.
        layer_decay: the rate of each layer is that of the layer above it times this (1: all layers alike). Only for
            networks that tell their layers' depths.
        weight_decay: decoupled decay of matrices; vectors (biases, normalisation) have none.
        warmup: share of all steps in which the rate rises.
        schedule: "linear" or "cosine" fall, or "constant" after the warm-up.
        betas: decay of AdamW's two moments.
    """

    def __init__(
        self,
        *,
        learning_rate: float,
        new_learning_rate: float | None = None,
        layer_decay: float = 1.0,
        weight_decay: float = 0.01,
        warmup: float = 0.1,
        schedule: Literal["linear", "cosine", "constant"] = "linear",
        betas: Sequence[float] = (0.9, 0.999),
    ) -> None:
        for name, rate in (("learning_rate", learning_rate), ("new_learning_rate", new_learning_rate)):
            if rate is not None and not 0 < rate < 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {rate}: 1e-5 to 1e-2 are usual")
        if not 0 < layer_decay <= 1:
            raise ValueError(f"layer_decay must be above 0 and at most 1, got {layer_decay}: 1 treats all layers alike")
        if not 0 <= weight_decay < 1:
            raise ValueError(f"weight_decay must be at least 0 and below 1, got {weight_decay}")
        if not 0 <= warmup < 1:
            raise ValueError(f"warmup is a share of all steps, at least 0 and below 1, got {warmup}")
        if schedule not in ("linear", "cosine", "constant"):
            raise ValueError(f"schedule must be linear, cosine or constant, got {schedule!r}")
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be two numbers, at least 0 and below 1, got {list(betas)}")
        self.learning_rate = learning_rate
        self.new_learning_rate = learning_rate if new_learning_rate is None else new_learning_rate
        self.layer_decay = layer_decay
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.schedule = schedule
        self.betas = (float(betas[0]), float(betas[1]))

    def factor(self, step: int, total: int) -> float:
        """Share of the peak rate at ``step`` (counted from 0) of ``total``."""
        rising = math.ceil(self.warmup * total)
        if step < rising:
            return (step + 1) / rising
        rest = (total - step) / max(1, total - rising)
        if self.schedule == "constant":
            return 1.0
        return rest if self.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * (1 - rest)))


class GridModule(lightning.LightningModule):
    """A trained method. Subclasses give ``attach``, ``collate``, ``losses`` and ``predict``, and set ``self.network``.

    Random numbers of a step are a pure function of (seed, step), so that a resumed run needs no stored generator state.
    Only weights that are trained are saved: all others come from where they came from before.

    Args:
        seed: decides initial weights (in ``attach``) and dropout.
        optimiser: how the weights are trained.

    Attributes:
        network: the weights; set in ``attach``.
        total_steps: optimiser steps of the whole training; set by ``fitting.fit``.
        step_metrics: metrics of the newest step by name. ``fitting.fit`` logs them, before any checkpoint of that step.
    """

    trains: bool = True
    network: nn.Module
    tokens_seen: Tensor

    def __init__(self, *, seed: int, optimiser: Optimiser) -> None:
        super().__init__()
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        self.seed = int(seed)
        self.optimiser = optimiser
        self.total_steps: int | None = None
        self.step_metrics: dict[str, Tensor | float] = {}
        self.strict_loading = False
        self._spare = False
        self.register_buffer("tokens_seen", torch.zeros((), dtype=torch.long))

    def compute_in(self, precision: Precision) -> None:
        """Let the networks compute in a ``trainer.precision`` wherever they are asked, in training and outside it."""
        for network in self.children():
            network.precision = precision  # type: ignore[assignment]  # an attribute, no weights

    def collate(self, items: list[Any]) -> Any:
        """Items of one training step -> the batch that ``losses`` takes."""
        raise NotImplementedError

    def losses(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Batch -> per-example losses (B,) in nats, and the number of tokens that the network read and wrote, ()."""
        raise NotImplementedError

    def learning_rate(self, name: str) -> float:
        """Peak rate of a parameter of ``network``, which may know new weights (``is_new``) and depths (``depth``)."""
        if getattr(self.network, "is_new", lambda _: False)(name):
            return self.optimiser.new_learning_rate
        below_top: int = getattr(self.network, "depth", lambda _: 0)(name)
        return self.optimiser.learning_rate * self.optimiser.layer_decay**below_top

    def configure_model(self) -> None:
        """Shard the network where the strategy asks for it (``trainer.strategy=fsdp2``); Lightning calls this."""
        if self.device_mesh is not None:
            shard(self.network, self.device_mesh["data_parallel"])

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Take the batch out of this process's share."""
        if isinstance(batch, Share):
            batch, self._spare = batch
        return batch

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed dropout from (seed, step, rank)."""
        words = np.random.SeedSequence([self.seed, self.global_step, self.global_rank]).generate_state(1, np.uint64)
        torch.manual_seed(int(words[0]) >> 1)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Mean loss of a batch (on several devices: this process's part of it). Raises NonFiniteLossError."""
        losses, tokens = self.losses(batch)
        loss, mean, tokens = batch_mean(losses, tokens, spare=self._spare)
        if not torch.isfinite(mean):  # in every process alike: none is left waiting for one that stopped
            raise NonFiniteLossError(
                f"the loss is {mean.item()} at step {self.global_step}: lower the learning rate, clip gradients or use "
                "a wider precision"
            )
        self.tokens_seen += tokens
        rate = max(group["lr"] for group in self.optimizers(use_pl_optimizer=False).param_groups)  # type: ignore[union-attr]
        self.step_metrics |= {
            "train/loss": mean,
            "train/learning_rate": rate,
            "train/tokens": self.tokens_seen.clone(),
        }
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip, and note the norm of the gradient before it is clipped."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val or math.inf)
        self.step_metrics["train/gradient_norm"] = norm.full_tensor() if isinstance(norm, DTensor) else norm

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW over everything that is trained, grouped by rate and decay; the schedule moves every step."""
        if self.total_steps is None:
            raise ValueError("total_steps is not set: train through fitting.fit, which knows the number of steps")
        total, factor = self.total_steps, self.optimiser.factor
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            if parameter.requires_grad:
                decay = self.optimiser.weight_decay if parameter.dim() > 1 else 0.0
                groups.setdefault((self.learning_rate(name), decay), []).append(parameter)
        if not groups:
            raise ValueError("nothing is trained: every weight of the network is frozen")
        fused = all(parameter.device.type in ("cpu", "cuda") for group in groups.values() for parameter in group)
        optimizer = torch.optim.AdamW(
            [{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()],
            betas=self.optimiser.betas,
            fused=fused,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step, total))
        every_step = LRSchedulerConfigType(scheduler=schedule, interval="step")
        return OptimizerLRSchedulerConfig(optimizer=optimizer, lr_scheduler=every_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave frozen weights out of checkpoints: they are large and come from elsewhere.

        Not out of sharded ones, whose reader asks for every weight of the network.
        """
        if self.device_mesh is not None:
            return
        frozen = {f"network.{name}" for name, value in self.network.named_parameters() if not value.requires_grad}
        checkpoint["state_dict"] = {key: value for key, value in checkpoint["state_dict"].items() if key not in frozen}

    def save_weights(self, folder: Path) -> None:
        """Write the trained weights, and only those, to ``folder``/model.safetensors.

        A network may have parameters that serve training alone (``training_only``): they are not written.
        """
        training_only: Callable[[str], bool] = getattr(self.network, "training_only", lambda _: False)
        tensors = {
            name: value.detach().cpu().contiguous()
            for name, value in self.network.named_parameters()
            if value.requires_grad and not training_only(name)
        }
        save_file(tensors, folder / WEIGHTS_FILE)

    def load_weights(self, folder: Path) -> None:
        """Take over the weights that ``save_weights`` wrote. What they do not hold stays as it is.

        They come in 32 bits, and stay so in a network that was kept in fewer: rounded, a training at a small rate
        would be lost.

        Raises:
            ValueError: no such file, or weights of another network.
        """
        path = Path(folder) / WEIGHTS_FILE
        if not path.is_file():
            raise ValueError(f"{folder} has no {WEIGHTS_FILE}: give the folder of a finished training")
        own = dict(self.network.named_parameters())
        with safe_open(path, framework="pt") as stored, torch.no_grad():
            names = set(stored.keys())
            foreign = sorted(names - set(own)) or sorted(
                name for name in names if tuple(stored.get_slice(name).get_shape()) != tuple(own[name].shape)
            )
            if foreign:
                raise ValueError(
                    f"{path} holds weights of another network: {foreign[0]} (and {len(foreign) - 1} more) do not fit; "
                    "use the model that it was trained with"
                )
            for name in names:
                value, weight = stored.get_tensor(name), own[name]
                if value.dtype.itemsize > weight.dtype.itemsize:
                    weight.data = value.to(weight.device)
                else:
                    weight.copy_(value)
