"""Training of one module: the Lightning trainer without its side effects, and checkpoints that survive a kill.

The whole training is one Lightning "epoch" of all its steps: Lightning's counters then cross no epoch boundary, and a
checkpoint may lie between any two steps. Where a training stands in its data follows from the step alone.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from lightning_modules.base import GridModule, Progress
from lightning_modules.distributed.fsdp import fill, gather, outline, root
from lightning_modules.distributed.processes import STRATEGIES, Group, Share, environment, joined, placement
from lightning_modules.networks.precision import Precision, check_precision, keep_trained_in_32_bits, slowdown_on_cpu
from lightning_modules.training import stopping
from lightning_modules.training.checkpoints import OneFile, clear, discard, newest_checkpoint, publish, unfinished

PLUMBING = ("_Journal", "_quiet", "_advise", "check_options")
"""What here can change no result: it logs, reports progress, advises, or refuses."""


def check_options(
    *,
    max_epochs: float | None = None,
    max_steps: int | None = None,
    precision: str = "32-true",
    devices: int = 1,
    strategy: str = "auto",
    gradient_clip: float | None = None,
    checkpoint_every: float | None = None,
    log_every: int = 10,
    **others: Any,
) -> None:
    """Refuse values of ``fit`` that it cannot work with: ``ValueError`` with one line. Needs no module and no data."""
    if (max_epochs is None) == (max_steps is None):
        raise ValueError(f"trainer.max_epochs is {max_epochs}, trainer.max_steps {max_steps}: give one, null the other")
    if max_epochs is not None and not 0 < max_epochs < 10_000:
        raise ValueError(f"trainer.max_epochs must be above 0 and below 10000, got {max_epochs}")
    if max_steps is not None and max_steps < 1:
        raise ValueError(f"trainer.max_steps must be at least 1, got {max_steps}")
    check_precision(precision)
    if devices < 1:
        raise ValueError(f"trainer.devices must be at least 1, got {devices}")
    if strategy not in STRATEGIES:
        raise ValueError(f"trainer.strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
    if gradient_clip is not None and not gradient_clip > 0:
        raise ValueError(f"trainer.gradient_clip must be above 0 or null, got {gradient_clip}")
    if checkpoint_every is not None and not checkpoint_every > 0:
        raise ValueError(f"trainer.checkpoint_every is seconds above 0, or null for none, got {checkpoint_every}")
    if log_every < 1:
        raise ValueError(f"trainer.log_every must be at least 1 step, got {log_every}")


def fit(
    module: GridModule,
    data: Any,
    *,
    folder: Path,
    max_epochs: float | None = None,
    max_steps: int | None = None,
    precision: Precision = "32-true",
    accelerator: str = "auto",
    devices: int = 1,
    strategy: str = "auto",
    gradient_clip: float | None = 1.0,
    checkpoint_every: float | None = 60.0,
    log_every: int = 10,
    loggers: Sequence[Logger] = (),
    progress: Progress | None = None,
    group: Group | None = None,
) -> None:
    """Train ``module`` on ``data`` to the end, from the newest good checkpoint in ``folder`` where there is one.

    On a CPU with a fixed number of threads, a training that was killed and resumed ends in the same bits as one that
    was not, wherever the checkpoints lay. Asked to stop (``stopping.ask``), it writes one after the step that it is in.

    Args:
        module: attached to ``data``.
        data: gives ``steps_per_epoch`` and, from ``start_step`` on, ``train_dataloader()``; gets its ``collate`` here.
        folder: gets ``checkpoints/step-*.ckpt`` on the way and ``model.safetensors`` (trained weights only) at the end.
        max_epochs: passes over the training data, fractions allowed; exactly one of this and ``max_steps``.
        max_steps: optimiser steps.
        precision: in which numbers products are computed. Weights that are trained, what the optimiser knows of them
            and losses are kept in fp32 in any case.
        accelerator: "cpu", "cuda" or "auto".
        devices: of one machine; each takes its share of every batch, so that the batch stays what it is.
        strategy: "ddp" keeps the whole network on every device, "fsdp2" spreads it over them (networks of the
            transformers library, in training that writes no text); "auto" is "ddp". No matter with one device.
        gradient_clip: largest norm of the gradient; ``None`` does not clip.
        checkpoint_every: seconds between checkpoints, 0.001 for every step; ``None`` for none but that of a stop.
        log_every: steps between log entries.
        loggers: where the module's metrics go.
        progress: called after every step with (steps done, steps in all).
        group: for several devices: which of their processes this is. The first writes, logs and reports, and ends with
            the trained network; in the others a sharded network is left as it is.

    Raises:
        ValueError: an option out of range, or a checkpoint of a longer training or of another strategy.
        NonFiniteLossError: the loss became NaN or infinite.
        Stopped: somebody asked for it, before the last step was done.
    """
    check_options(
        max_epochs=max_epochs,
        max_steps=max_steps,
        precision=precision,
        devices=devices,
        strategy=strategy,
        gradient_clip=gradient_clip,
        checkpoint_every=checkpoint_every,
        log_every=log_every,
    )
    if (group is None) != (devices == 1):
        raise ValueError(f"trainer.devices is {devices} and the group {group}: a group is for two devices or more")
    keep_trained_in_32_bits(module.network)
    module.compute_in(precision)
    _advise(precision, accelerator)
    sharded = strategy == "fsdp2" and devices > 1
    if sharded:
        root(module.network)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    total = max_steps if max_steps is not None else max(1, round((max_epochs or 0) * data.steps_per_epoch))
    start = newest_checkpoint(folder)
    if start and start.step >= total:
        raise ValueError(f"{start.path} has done {start.step} steps but the training ends at {total}: empty {folder}")
    if start and start.path.is_dir() != sharded:
        raise ValueError(
            f"{start.path} was written with {'trainer.strategy=fsdp2' if start.path.is_dir() else 'whole weights'}: go "
            f"on with the same strategy, or delete {start.path.parent} to begin again"
        )
    module.total_steps = total
    whole = outline(module.network) if sharded else None
    with _quiet(), joined(group, devices, accelerator), stopping.heeded():
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=devices,
            strategy=placement(strategy, devices),
            precision=precision,
            # Which processors a cell gets is decided by the engine that placed it, not by a scheduler's variables.
            plugins=[environment(group, devices), OneFile()],
            max_epochs=1,
            gradient_clip_val=gradient_clip,
            logger=False,
            callbacks=[_Journal(folder, checkpoint_every, progress, total, loggers, log_every)],
            default_root_dir=folder,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            limit_val_batches=0,
            num_sanity_val_steps=0,
        )
        data.collate = _Share(module, trainer)
        steps = _Steps(data, start.step if start else 0, total)
        try:
            # A checkpoint is a file of this very training, so its pickled counters may be read.
            trainer.fit(module, train_dataloaders=steps, ckpt_path=start.path if start else None, weights_only=False)
        except SystemExit as error:  # what Lightning makes of Ctrl-C
            if trainer.interrupted:
                raise KeyboardInterrupt from error
            raise
        if module.global_step != total:
            raise RuntimeError(f"the training ended after {module.global_step} of {total} steps")
        if whole is not None:
            weights = gather(module.network, keep=trainer.is_global_zero)
            if trainer.is_global_zero:
                module.network = fill(whole, weights)
    if trainer.is_global_zero:
        module.save_weights(folder)


def _advise(precision: str, accelerator: str) -> None:
    """Warn where half precision is asked for to save time, and costs time."""
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())
    if precision == "bf16-mixed" and on_cpu and (times := slowdown_on_cpu()) > 1.2:
        warnings.warn(
            f"products in bfloat16 take {times:.1f} times as long as in fp32 on this CPU: trainer.precision=32-true is "
            "faster here",
            stacklevel=3,
        )


class _Steps:
    """All training batches from one step on, as a single sequence that knows its whole length."""

    def __init__(self, data: Any, first: int, total: int) -> None:
        self._data = data
        self._next = first
        self._total = total

    def __len__(self) -> int:
        return self._total

    def __iter__(self) -> Iterator[Any]:
        self._data.start_step = self._next
        epochs = self._data.train_dataloader()
        while self._next < self._total:
            for batch in epochs:
                self._next += 1
                yield batch
                if self._next == self._total:
                    return

    # Lightning asks for these two of whatever can resume in the middle.
    def state_dict(self) -> dict[str, int]:
        return {"next": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        if state["next"] != self._next:
            raise RuntimeError(f"a checkpoint of step {self._next} says that the data stand at step {state['next']}")


class _Share:
    """Collates this process's share of a batch: every ``world_size``-th item, from that of its rank on."""

    def __init__(self, module: GridModule, trainer: lightning.Trainer) -> None:
        self._module = module
        self._trainer = trainer

    def __call__(self, items: list[Any]) -> Any:
        rank, world = self._trainer.global_rank, self._trainer.world_size
        if world == 1:
            return self._module.collate(items)
        # The last batch of an epoch may have fewer items than there are processes: those left over repeat one.
        own = items[rank::world]
        return Share(self._module.collate(own or items[:1]), spare=not own)


class _Journal(Callback):
    """Reports progress, logs the newest step's metrics, then writes checkpoints: a resumed log loses no row.

    Lightning itself would log a step only after the callbacks: a checkpoint would lie between a step and its row.
    """

    def __init__(
        self,
        folder: Path,
        every: float | None,
        progress: Progress | None,
        total: int,
        loggers: Sequence[Logger],
        log_every: int,
    ) -> None:
        self._loggers = loggers
        self._log_every = log_every
        self._folder = folder
        self._every = every
        self._progress = progress
        self._total = total
        self._saved = time.monotonic()
        self._sigterm: Any = None

    def setup(self, *_: Any, **__: Any) -> None:
        self._sigterm = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, *_: Any) -> None:
        # Lightning's own handler, set since, breaks a training off that has just done its last step; on several devices
        # it begins a collective operation in whatever the others are doing.
        if self._sigterm is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._sigterm)

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        if step % self._log_every == 0 or step in (1, self._total):
            metrics = {name: float(value) for name, value in module.step_metrics.items()}  # type: ignore[union-attr,operator]
            for logger in self._loggers:
                logger.log_metrics(metrics, step=step)
        if self._progress is not None and trainer.is_global_zero:
            self._progress(trainer.global_step, self._total)
        if step >= self._total:
            return
        due = self._every is not None and time.monotonic() - self._saved >= self._every
        stop, due = trainer.strategy.broadcast((stopping.asked(), due))
        if stop or due:
            self._save(trainer)
            self._saved = time.monotonic()
        if stop:
            raise stopping.Stopped(step, self._total)

    def _save(self, trainer: lightning.Trainer) -> None:
        part = unfinished(self._folder, trainer.global_step)
        if trainer.is_global_zero:
            clear(self._folder)
        trainer.strategy.barrier("before checkpoint")
        try:
            trainer.save_checkpoint(part)
            if trainer.is_global_zero:
                publish(part)
        except BaseException:
            if trainer.is_global_zero:
                discard(part)  # on a full disk it would keep the room that the next attempt needs
            raise
        trainer.strategy.barrier("checkpoint")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's notices on devices and on its way of counting; leave the signal handlers as they were."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)
