"""Which commit a branch of a hub data set stands for, and what was read of it.

A branch moves; a run is named by what it reads. So a branch counts as the commit that this machine read last, or was
told of first, until data are loaded anew: a half-made table keeps its data. To go on to a newer one, load it or name
its commit as the revision. Looking a commit up on disk takes no library of the hub.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MEMORY = Path("~/.cache/papergrid/hub.json")
_TRUE = frozenset({"1", "ON", "YES", "TRUE"})
_SECONDS = 5.0

_read: dict[str, str] = {}
_unreachable: list[str] = []


def known_commit(hub: str, revision: str | None = None) -> str | None:
    """Commit of a branch or tag (``None``: main) as far as this machine knows; a commit is its own."""
    revision = revision or "main"
    if _COMMIT.fullmatch(revision):
        return revision
    prepared = _newest_prepared(hub) if revision == "main" else None
    if _offline():  # then the ``datasets`` library reads what it prepared last
        return prepared or _referred(hub, revision) or _remembered().get(f"{hub}@{revision}")
    return _referred(hub, revision) or _remembered().get(f"{hub}@{revision}") or prepared


def asked_commit(hub: str, revision: str | None = None) -> str | None:
    """As ``known_commit``, else what the hub says, which is remembered; ``None`` where it cannot be reached."""
    known = known_commit(hub, revision)
    if known or _offline() or _unreachable:
        return known
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        commit = HfApi().dataset_info(hub, revision=revision, timeout=_SECONDS).sha
    except HfHubHTTPError:  # it answers, and has no such data or keeps them from us
        return None
    except Exception:  # whatever way the network is missing: asking again would wait again
        _unreachable.append(hub)
        return None
    if commit:
        _remember(f"{hub}@{revision or 'main'}", commit)
    return commit


def loaded_commit(loaded: Any) -> str | None:
    """Commit of a data set that the ``datasets`` library has loaded: the name of the folder that it prepared it in."""
    names = {Path(file["filename"]).parent.name for file in getattr(loaded, "cache_files", None) or ()}
    commits = {name for name in names if _COMMIT.fullmatch(name)}
    return commits.pop() if len(commits) == 1 else None


def noting(rows: Iterable[Mapping[str, Any]], what: str) -> Iterator[Mapping[str, Any]]:
    """The rows; when they end, or are no longer asked for, ``read_digests`` has the digest of those that were taken."""
    hasher = hashlib.sha256()
    try:
        for row in rows:
            hasher.update(json.dumps(row, sort_keys=True, default=repr).encode() + b"\n")
            yield row
    finally:
        _read[what] = hasher.hexdigest()


def read_digests() -> dict[str, str]:
    """SHA-256 of the rows that this process has read from hubs, by data set, commit and split."""
    return dict(_read)


def _offline() -> bool:
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in _TRUE for name in names)


def _home() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("HF_HOME", f"{base}/huggingface")).expanduser()


def _referred(hub: str, revision: str) -> str | None:
    """What the hub's own cache has for a branch."""
    cache = Path(os.environ.get("HF_HUB_CACHE", _home() / "hub")).expanduser()
    try:
        commit = (cache / f"datasets--{hub.replace('/', '--')}" / "refs" / revision).read_text().strip()
    except OSError:
        return None
    return commit if _COMMIT.fullmatch(commit) else None


def _newest_prepared(hub: str) -> str | None:
    """Commit that the ``datasets`` library prepared last: below <owner>___<name>/<config>/<version>."""
    *owner, name = hub.split("/")
    snake = re.sub(r"([a-z\d])([A-Z])", r"\1_\2", re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)).lower()
    cache = Path(os.environ.get("HF_DATASETS_CACHE", _home() / "datasets")).expanduser()
    folders = [path for path in (cache / "___".join([*owner, snake])).glob("*/*/*") if _COMMIT.fullmatch(path.name)]
    return max(folders, key=lambda path: path.stat().st_mtime_ns).name if folders else None


def _remembered() -> dict[str, str]:
    try:
        return dict(json.loads(_MEMORY.expanduser().read_text()))
    except (OSError, ValueError):
        return {}


def _remember(key: str, commit: str) -> None:
    path = _MEMORY.expanduser()
    try:  # a lost race or a read-only home costs one more question
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as stream:
            json.dump({**_remembered(), key: commit}, stream)
        os.replace(stream.name, path)
    except OSError:
        return
