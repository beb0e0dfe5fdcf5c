"""Stages: costly products that several cells share, built once, named by content, published atomically.

``<root>/<kind>/<key>/`` is a finished stage. While it is built its content lies in ``<key>.partial/``, which survives a
killed builder so that the next one continues (a training goes on from its newest checkpoint, an embedding from its last
shard). ``stage.json`` inside lists every file with its size and SHA-256; it is checked when the stage is read, and a
stage that does not match is set aside and built again.

A builder's own folder ``checkpoints/`` is no part of the stage. It is deleted after the manifest is written and before
the stage is published, never earlier: until the manifest stands, a builder that is killed needs it; from then on the
next process finds the manifest, and publishes what it lists without building anything again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.execution import orders
from sweeps.execution.lease import Lease, LeaseHeld, alive
from sweeps.signatures.closure import Closures
from sweeps.signatures.signature import canonical, hash_of

MANIFEST = "stage.json"

SCRATCH = "checkpoints"
"""Folder of a stage that only its builder needs. The store deletes it; builders leave it alone."""

_POLL = 0.2


@dataclass(frozen=True)
class StageState:
    """One stage on disk, in ``folder``: ``state`` is done, building, partial or corrupt."""

    kind: str
    key: str
    state: str
    bytes: int
    seconds: float | None
    used: float
    folder: Path


def sha256(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Writes a small text file so that a reader, or a crash, sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def flush_folder(path: Path) -> None:
    """Asks the system to put a folder's entries on the disk: what follows may then rely on them after a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _content(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file of a stage by its name, once all of them are on the disk."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] != SCRATCH:
            with path.open("rb+") as file:
                os.fsync(file.fileno())
            files[name.as_posix()] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    return files


class StageStore:
    """All stages below one folder. Satisfies ``data.files.stages.Stages``.

    Args:
        root: the folder, made when the first stage is built.
        say: called with one line whenever a stage is built, awaited or found corrupt.
    """

    def __init__(self, root: Path, say: Callable[[str], None] = lambda line: None) -> None:
        self.root = root
        self._say = say
        self._closures = Closures()
        self._verified: set[tuple[str, str]] = set()
        self.used: list[str] = []
        """ "kind/key" of every stage that this store gave out, in order, each once."""

    def key(self, kind: str, key: Mapping[str, Any]) -> str:
        """Name of the stage that ``key`` describes."""
        return hash_of({"kind": kind, "key": canonical(key, kind)})

    def path(self, kind: str, key: Mapping[str, Any] | str) -> Path:
        """Folder of a stage, built or not."""
        return self.root / kind / (key if isinstance(key, str) else self.key(kind, key))

    def has(self, kind: str, key: Mapping[str, Any] | str) -> bool:
        """Whether a stage is finished (its content is not verified)."""
        return (self.path(kind, key) / MANIFEST).is_file()

    def get(self, kind: str, key: Mapping[str, Any] | str, build: Callable[[Path], None]) -> Path:
        """Folder of the finished stage; builds it, or waits for whoever builds it, first.

        Args:
            kind: sort of stage, a folder name.
            key: everything that the content depends on, or a signature that stands for it.
            build: fills the folder that it is given; may find there what a killed builder left and go on from it. Its
                code is part of the name, and so is that of its ``makers`` (``data.records.builders``).
        """
        if not isinstance(key, str):
            key = self._with_code(key, build)
        final = self.path(kind, key)
        if (name := f"{kind}/{final.name}") not in self.used:
            self.used.append(name)
        awaited = False
        while True:
            if self._sound(kind, final) is None:
                return final
            try:
                with Lease(final.with_name(f"{final.name}.lease")):
                    # Another builder may have published, or mended, between the check and the lease.
                    fault = self._sound(kind, final)
                    if fault is not None:
                        if final.is_dir():
                            self._set_aside(kind, final, fault)
                        self._build(kind, key, final, build)
                # An order that came as a training ended waited for what it made to be published.
                orders.obey()
                return final
            except LeaseHeld:
                if not awaited:
                    self._say(f"waiting for the {kind} stage {final.name}, which another process builds")
                awaited = True
                time.sleep(_POLL)

    def _with_code(self, key: Mapping[str, Any], build: Callable[[Path], None]) -> dict[str, Any]:
        builder = getattr(build, "build", build).__module__
        makers = self._closures.behind(*getattr(build, "makers", ()))
        return {**key, "code": self._closures.digest(sorted({builder, *makers}))}

    def _build(self, kind: str, key: Mapping[str, Any] | str, final: Path, build: Callable[[Path], None]) -> None:
        partial = final.with_name(f"{final.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        # A builder that was killed just before it published left a whole stage, which lacks nothing but its name.
        if damage(partial) is not None:
            # What it left of a manifest otherwise must not be listed by the new one.
            for left in (partial / MANIFEST, *partial.glob(f".{MANIFEST}.*")):
                left.unlink(missing_ok=True)
            begun = time.monotonic()
            build(partial)
            manifest = {
                "kind": kind,
                "key": canonical(key, kind) if not isinstance(key, str) else key,
                "files": _content(partial),
                "seconds": round(time.monotonic() - begun, 3),
                "built": time.time(),
            }
            write_atomically(partial / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True))
        flush_folder(partial)
        shutil.rmtree(partial / SCRATCH, ignore_errors=True)
        os.rename(partial, final)
        flush_folder(final.parent)
        self._verified.add((kind, final.name))

    def _sound(self, kind: str, final: Path) -> str | None:
        """None when the stage is finished and its files are what was published, else what is wrong with it."""
        if not final.is_dir():
            return "it is not there"
        if (kind, final.name) in self._verified and (final / MANIFEST).is_file():
            return None
        fault = damage(final)
        if fault is None:
            self._verified.add((kind, final.name))
            # The time of last use; another user's stage is as good without it.
            with contextlib.suppress(OSError):
                os.utime(final)
        return fault

    def _set_aside(self, kind: str, final: Path, fault: str) -> None:
        """Renames a damaged stage. Called under its lease: two readers that find the damage must not both do it."""
        os.rename(final, final.with_name(f"{final.name}.corrupt-{time.time_ns()}"))
        self._say(f"the {kind} stage {final.name} is damaged ({fault}): set aside and built again")

    def states(self) -> Iterator[StageState]:
        """Every stage on disk, finished or not, sorted by kind and key."""
        for folder in sorted(self.root.glob("*/*")):
            if not folder.is_dir():
                continue
            key, _, suffix = folder.name.partition(".")
            manifest = read_manifest(folder)
            building = alive(folder.with_name(f"{key}.lease"))
            state = (
                "corrupt"
                if suffix.startswith("corrupt")
                else "done"
                if manifest and not suffix
                else ("building" if building else "partial")
            )
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            yield StageState(
                folder.parent.name, key, state, size, (manifest or {}).get("seconds"), folder.stat().st_mtime, folder
            )

    def prune(self, *, keep: Callable[[StageState], bool]) -> list[StageState]:
        """Deletes the stages that ``keep`` declines and nobody builds; returns them."""
        gone = []
        for state in list(self.states()):
            if state.state == "building" or keep(state):
                continue
            try:
                with Lease(self.root / state.kind / f"{state.key}.lease"):
                    shutil.rmtree(state.folder, ignore_errors=True)
            except LeaseHeld:
                continue
            gone.append(state)
        return gone


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Content of a stage's manifest; None where there is none or it is torn."""
    try:
        return dict(json.loads((folder / MANIFEST).read_text()))
    except (OSError, ValueError):
        return None


def damage(folder: Path) -> str | None:
    """What is wrong with a published stage: a file that is missing, changed or of another size; None if nothing is."""
    manifest = read_manifest(folder)
    if manifest is None:
        return f"{MANIFEST} is unreadable"
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != expected["bytes"]:
            return f"{name} has {path.stat().st_size} bytes, not {expected['bytes']}"
        if sha256(path) != expected["sha256"]:
            return f"{name} has changed"
    return None
