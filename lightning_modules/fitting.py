"""Training of one module: the Lightning trainer without its side effects, and checkpoints that survive a kill.

The whole training is one Lightning "epoch" of all its steps: Lightning's counters then cross no epoch boundary, and a
checkpoint may lie between any two steps. Where a training stands in its data follows from the step alone.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import time
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins.environments import LightningEnvironment

from lightning_modules.base import GridModule, Progress

CHECKPOINTS = "checkpoints"
"""Name of the folder of checkpoints inside a training folder."""

KEPT = 2
"""Checkpoints kept: the newest, and one to fall back on should it be damaged."""

Precision = Literal["32-true", "16-mixed", "bf16-mixed", "bf16-true"]


class Checkpoint(NamedTuple):
    """A checkpoint that can be read: its path and the number of steps done."""

    path: Path
    step: int


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint in a training folder whose bytes are whole; damaged ones are skipped with a warning."""
    for checkpoint in reversed(_checkpoints(Path(folder))):
        fault = _fault(checkpoint.path)
        if fault is None:
            return checkpoint
        warnings.warn(f"{checkpoint.path.name} is damaged ({fault}) and skipped: an older one is used", stacklevel=2)
    return None


def _checkpoints(folder: Path) -> list[Checkpoint]:
    found = []
    for path in (folder / CHECKPOINTS).glob("step-*.ckpt"):
        match = re.fullmatch(r"step-(\d+)\.ckpt", path.name)
        if match:
            found.append(Checkpoint(path, int(match[1])))
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def _fault(path: Path) -> str | None:
    if path.is_dir():  # of a sharded strategy, which checks its own parts
        return None if any(path.iterdir()) else "an empty folder"
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        return str(error)
    return f"{broken} has a wrong checksum" if broken else None


def check_options(
    *,
    max_epochs: float | None = None,
    max_steps: int | None = None,
    devices: int = 1,
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
    if devices < 1:
        raise ValueError(f"trainer.devices must be at least 1, got {devices}")
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
) -> None:
    """Train ``module`` on ``data`` to the end, from the newest good checkpoint in ``folder`` where there is one.

    On a CPU with a fixed number of threads, a training that was killed and resumed ends in the same bits as one that
    was not, wherever the checkpoints lay.

    Args:
        module: attached to ``data``.
        data: gives ``steps_per_epoch`` and, from ``start_step`` on, ``train_dataloader()``; gets its ``collate`` here.
        folder: gets ``checkpoints/step-*.ckpt`` on the way and ``model.safetensors`` (trained weights only) at the end.
        max_epochs: passes over the training data, fractions allowed; exactly one of this and ``max_steps``.
        max_steps: optimiser steps.
        precision: Lightning's name. Losses are computed in fp32 in any case.
        accelerator: "cpu", "cuda" or "auto".
        devices: of one machine; each takes its share of every batch.
        strategy: Lightning's name of a strategy.
        gradient_clip: largest norm of the gradient; ``None`` does not clip.
        checkpoint_every: seconds between checkpoints, 0.001 for every step; ``None`` for none.
        log_every: steps between log entries.
        loggers: where the module's metrics go.
        progress: called after every step with (steps done, steps in all).

    Raises:
        ValueError: an option out of range, or a checkpoint of a longer training.
        NonFiniteLossError: the loss became NaN or infinite.
    """
    check_options(
        max_epochs=max_epochs,
        max_steps=max_steps,
        devices=devices,
        gradient_clip=gradient_clip,
        checkpoint_every=checkpoint_every,
        log_every=log_every,
    )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    total = max_steps if max_steps is not None else max(1, round((max_epochs or 0) * data.steps_per_epoch))
    start = newest_checkpoint(folder)
    if start and start.step >= total:
        raise ValueError(f"{start.path} has done {start.step} steps but the training ends at {total}: empty {folder}")
    module.total_steps = total
    with _quiet():
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=devices,
            strategy=strategy,
            precision=precision,
            # Which processors a cell gets is decided by the engine that placed it, not by a scheduler's variables.
            plugins=[LightningEnvironment()] if devices == 1 else None,
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
    if trainer.is_global_zero:
        module.save_weights(folder)


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
    """Collates this process's share of a batch: every ``world_size``-th item."""

    def __init__(self, module: GridModule, trainer: lightning.Trainer) -> None:
        self._module = module
        self._trainer = trainer

    def __call__(self, items: list[Any]) -> Any:
        rank, world = self._trainer.global_rank, self._trainer.world_size
        # The last batch of an epoch may have fewer items than there are processes: those left over repeat one.
        return self._module.collate(items[rank::world] or [items[rank % len(items)]])


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
        self._folder = folder / CHECKPOINTS
        self._every = every
        self._progress = progress
        self._total = total
        self._saved = time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        if step % self._log_every == 0 or step in (1, self._total):
            metrics = {name: float(value) for name, value in module.step_metrics.items()}  # type: ignore[union-attr,operator]
            for logger in self._loggers:
                logger.log_metrics(metrics, step=step)
        if self._progress is not None and trainer.is_global_zero:
            self._progress(trainer.global_step, self._total)
        if self._every is None or trainer.global_step >= self._total:
            return
        due = trainer.strategy.broadcast(time.monotonic() - self._saved >= self._every)
        if due:
            self._save(trainer)
            self._saved = time.monotonic()

    def _save(self, trainer: lightning.Trainer) -> None:
        path = self._folder / f"step-{trainer.global_step:08d}.ckpt"
        temporary = path.with_suffix(".part")
        if trainer.is_global_zero:
            self._folder.mkdir(parents=True, exist_ok=True)
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            _flush(temporary)
            os.replace(temporary, path)
            _flush(self._folder)
            for old in _checkpoints(self._folder.parent)[:-KEPT]:
                shutil.rmtree(old.path) if old.path.is_dir() else old.path.unlink()
        trainer.strategy.barrier("checkpoint")


def _flush(path: Path) -> None:
    """Ask the system to put a file or a folder's entries on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
