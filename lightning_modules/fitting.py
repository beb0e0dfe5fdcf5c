"""Training of one module: the Lightning trainer without its side effects, and checkpoints that survive a kill.

The whole training is one Lightning "epoch" of all its steps: Lightning's counters then cross no epoch boundary, and a
checkpoint may lie between any two steps. Where a training stands in its data follows from the step alone.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import time
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from lightning_modules.base import GridModule, Progress
from lightning_modules.precision import Precision, check_precision, keep_trained_in_32_bits, slowdown_on_cpu
from lightning_modules.ranks import STRATEGIES, Group, Share, environment, joined, placement
from lightning_modules.sharding import fill, gather, outline, root

CHECKPOINTS = "checkpoints"
"""Name of the folder of checkpoints inside a training folder."""

KEPT = 2
"""Checkpoints kept: the newest, and one to fall back on should it be damaged."""

PARTS = "parts.json"
"""Inside a sharded checkpoint, which is a folder: the CRC-32 of every other file in it."""


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
    if path.is_dir():  # of a sharded training
        return _sharded_fault(path)
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        return str(error)
    return f"{broken} has a wrong checksum" if broken else None


def _sharded_fault(folder: Path) -> str | None:
    try:
        wanted = json.loads((folder / PARTS).read_text())
    except (OSError, ValueError) as error:
        return f"{PARTS}: {error}"
    for name, checksum in wanted.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if _checksum(folder / name) != checksum:
            return f"{name} has a wrong checksum"
    return None


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            value = zlib.crc32(block, value)
    return value


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
    was not, wherever the checkpoints lay.

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
        checkpoint_every: seconds between checkpoints, 0.001 for every step; ``None`` for none.
        log_every: steps between log entries.
        loggers: where the module's metrics go.
        progress: called after every step with (steps done, steps in all).
        group: for several devices: which of their processes this is. The first writes, logs and reports, and ends with
            the trained network; in the others a sharded network is left as it is.

    Raises:
        ValueError: an option out of range, or a checkpoint of a longer training or of another strategy.
        NonFiniteLossError: the loss became NaN or infinite.
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
    with _quiet(), joined(group, devices, accelerator):
        trainer = lightning.Trainer(
            accelerator=accelerator,
            devices=devices,
            strategy=placement(strategy, devices),
            precision=precision,
            # Which processors a cell gets is decided by the engine that placed it, not by a scheduler's variables.
            plugins=[environment(group, devices)],
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
            if temporary.is_dir():  # of a process that was killed: its parts must not mix with ours
                shutil.rmtree(temporary)
        trainer.strategy.barrier("before checkpoint")
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            if temporary.is_dir():
                _list_parts(temporary)
            _flush(temporary)
            if path.is_dir():  # a damaged one of the same step: a folder is not replaced
                shutil.rmtree(path)
            os.replace(temporary, path)
            _flush(self._folder)
            for old in _checkpoints(self._folder.parent)[:-KEPT]:
                shutil.rmtree(old.path) if old.path.is_dir() else old.path.unlink()
        trainer.strategy.barrier("checkpoint")


def _list_parts(folder: Path) -> None:
    """Write ``PARTS`` for a sharded checkpoint, and flush all that it lists."""
    parts = sorted(path for path in folder.iterdir() if path.is_file())
    (folder / PARTS).write_text(json.dumps({path.name: _checksum(path) for path in parts}))
    for path in (*parts, folder / PARTS):
        _flush(path)


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
