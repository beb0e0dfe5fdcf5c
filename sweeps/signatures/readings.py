"""What files of code say, kept on disk by their content: reading one takes milliseconds, and a plan needs hundreds."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from sweeps.signatures import imports, modules, spelling, syntax

_CACHE = Path("~/.cache/papergrid/code.json")
_KEPT = 1000
_READERS = (spelling, imports, syntax, modules)

_memory: dict[str, Any] | None = None
_fresh: dict[str, Any] = {}
_version: list[bytes] = []


def key(name: str, content: bytes, *, package: bool) -> str:
    """Name of a reading: of a module of that name and content, by the readers as they are."""
    if not _version:  # another way of reading must not take over what this one found
        files = [Path(str(reader.__file__)) for reader in _READERS]
        _version.append(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files))
    return hashlib.sha256(b"\0".join([_version[0], name.encode(), str(package).encode(), content])).hexdigest()


def known(key: str) -> dict[str, Any] | None:
    """A reading that was kept, in this process or before."""
    entry: dict[str, Any] | None = _all().get(key)
    return entry


def keep(key: str, entry: dict[str, Any]) -> None:
    """Keeps a reading; on disk with the next ``write``."""
    _all()[key] = _fresh[key] = entry


def write() -> None:
    """Writes what was kept since the last call for other processes to find; a lost race costs one more reading."""
    if not _fresh:
        return
    path = _CACHE.expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = dict(list({**_stored(path), **_fresh}.items())[-_KEPT:])
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as stream:
            json.dump(kept, stream, separators=(",", ":"))
        os.replace(stream.name, path)
    except OSError:
        return
    _fresh.clear()


def _all() -> dict[str, Any]:
    global _memory
    if _memory is None:
        _memory = _stored(_CACHE.expanduser())
    return _memory


def _stored(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return {}
