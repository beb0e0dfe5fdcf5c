"""Checkpoints as files: there whole or not at all, checked byte by byte before they are read, the newest two kept.

A checkpoint is one file with its CRC-32 beside it, or, of a sharded training, a folder with a list of theirs. It has
another name until it is whole and on the disk, so that a kill or a full disk costs that checkpoint alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

CHECKPOINTS = "checkpoints"
"""Name of the folder of checkpoints inside a training folder."""

KEPT = 2
"""Checkpoints kept: the newest, and one to fall back on should it be damaged."""

PARTS = "parts.json"
"""Inside a sharded checkpoint, which is a folder: the CRC-32 of every other file in it."""

PLUMBING = ("*",)
"""All here can change no result: a training that goes on from a checkpoint ends as one that never stopped."""


class Checkpoint(NamedTuple):
    """A checkpoint that can be read: its path and the number of steps done."""

    path: Path
    step: int


class OneFile(TorchCheckpointIO):
    """Writes a checkpoint where it is to be.

    Lightning's own way puts it together in memory and then below the system's folder of temporary files, which may be
    small, and where a killed process leaves it.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """See Lightning's ``CheckpointIO``."""
        with Path(path).open("wb") as stream:
            torch.save(checkpoint, stream)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint in a training folder whose bytes are whole; damaged ones are skipped with a warning."""
    for checkpoint in reversed(_all(Path(folder) / CHECKPOINTS)):
        fault = _fault(checkpoint.path)
        if fault is None:
            return checkpoint
        warnings.warn(f"{checkpoint.path.name} is damaged ({fault}) and skipped: an older one is used", stacklevel=2)
    return None


def unfinished(folder: Path, step: int) -> Path:
    """Where to write the checkpoint of a step in a training folder, ``publish`` coming after."""
    return Path(folder) / CHECKPOINTS / f"step-{step:08d}.part"


def clear(folder: Path) -> None:
    """Makes the folder of checkpoints ready for another one: what killed processes left takes room and must not mix."""
    place = Path(folder) / CHECKPOINTS
    place.mkdir(parents=True, exist_ok=True)
    for left in place.glob("*.part"):
        discard(left)


def publish(part: Path) -> None:
    """Gives a checkpoint that is written its name, and deletes those that are no longer kept."""
    path = part.with_suffix(".ckpt")
    if part.is_dir():
        _list_parts(part)
        if path.is_dir():  # a damaged one of the same step: a folder is not replaced
            shutil.rmtree(path)
    else:
        _flush(part)
        note = path.with_suffix(".crc32")
        note.write_text(f"{_checksum(part):08x}\n")
        _flush(note)
    os.replace(part, path)
    _flush(path.parent)
    for old in _all(path.parent)[:-KEPT]:
        discard(old.path)


def discard(path: Path) -> None:
    """Deletes a checkpoint, or what there is of one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
        path.with_suffix(".crc32").unlink(missing_ok=True)


def _all(place: Path) -> list[Checkpoint]:
    found = []
    for path in place.glob("step-*.ckpt"):
        match = re.fullmatch(r"step-(\d+)\.ckpt", path.name)
        if match:
            found.append(Checkpoint(path, int(match[1])))
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def _fault(path: Path) -> str | None:
    """What is wrong with the bytes of a checkpoint; None if nothing is."""
    try:
        if path.is_dir():  # of a sharded training
            wanted = {path / name: int(value) for name, value in json.loads((path / PARTS).read_text()).items()}
        else:
            wanted = {path: int(path.with_suffix(".crc32").read_text(), 16)}
        for part, checksum in wanted.items():
            if not part.is_file():
                return f"{part.name} is missing"
            if _checksum(part) != checksum:
                return f"{part.name} has a wrong checksum"
    except (OSError, ValueError, AttributeError, TypeError) as error:
        return f"its checksums cannot be read, {type(error).__name__}: {error}"
    return None


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            value = zlib.crc32(block, value)
    return value


def _list_parts(folder: Path) -> None:
    """Writes ``PARTS`` for a sharded checkpoint, and flushes all that it lists."""
    parts = sorted(path for path in folder.iterdir() if path.is_file())
    (folder / PARTS).write_text(json.dumps({path.name: _checksum(path) for path in parts}))
    for path in (*parts, folder / PARTS, folder):
        _flush(path)


def _flush(path: Path) -> None:
    """Asks the system to put a file or a folder's entries on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
