"""Receipts: where a run came from. Commit and uncommitted change, package versions, digests, hardware, attempts.

The uncommitted change is a patch of the repository, its new files included, and of all other files of code that the run
counts: those that git is told to ignore, and a person's own package elsewhere.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from sweeps.signatures.signature import ROOT

LARGEST = 1 << 20
"""Bytes of a new file above which it is no source or config: a receipt has its name and size, not its content."""


def _git(root: Path, *arguments: str, index: Path | None = None) -> str:
    """What git prints; "" where it fails or there is none."""
    environment = {**os.environ, **({"GIT_INDEX_FILE": str(index)} if index else {})}
    try:
        done = subprocess.run(["git", *arguments], cwd=root, env=environment, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


@lru_cache(maxsize=1)
def code_state(root: Path = ROOT) -> dict[str, Any]:
    """What a checkout is made of.

    Returns:
        ``commit``; ``patch`` of what is not committed, new files included; ``covered``: paths that the two hold between
        them; ``left_out``: new files that are too large for sources, with their sizes.
    """
    tracked = set(filter(None, _git(root, "ls-files", "-z").split("\0")))
    fresh = sorted(filter(None, _git(root, "ls-files", "-z", "--others", "--exclude-standard").split("\0")))
    sizes = {name: (root / name).stat().st_size for name in fresh if (root / name).is_file()}
    small = [name for name, size in sizes.items() if size <= LARGEST]
    return {
        "commit": _git(root, "rev-parse", "HEAD").strip(),
        "patch": _patch(root, small),
        "covered": frozenset(str(root / name) for name in (*tracked, *small)),
        "left_out": {name: size for name, size in sizes.items() if size > LARGEST},
    }


def _patch(root: Path, fresh: list[str]) -> str:
    """``git diff HEAD`` in which new files are to be added; the checkout's own index is left alone."""
    index = root / _git(root, "rev-parse", "--git-path", "index").strip()
    if not fresh or not index.is_file():
        return _git(root, "diff", "HEAD", "--binary")
    with tempfile.TemporaryDirectory(prefix="papergrid-index-") as place:
        own = Path(place) / "index"
        shutil.copy(index, own)
        for begin in range(0, len(fresh), 500):
            _git(root, "add", "--intent-to-add", "--", *fresh[begin : begin + 500], index=own)
        return _git(root, "diff", "HEAD", "--binary", index=own)


def patch(code: Mapping[str, bytes]) -> str:
    """The patch of the checkout, and of files of code that it does not cover, as new files by their whole paths."""
    state = code_state()
    others = [
        "".join(difflib.unified_diff([], content.decode(errors="replace").splitlines(True), "/dev/null", f"b{path}"))
        for path, content in sorted(code.items())
        if path not in state["covered"] and content
    ]
    return str(state["patch"]) + "".join(text if text.endswith("\n") else f"{text}\n" for text in others)


def spelt(path: str) -> str:
    """A path as people know it: below the project's root without the root."""
    return Path(path).relative_to(ROOT).as_posix() if Path(path).is_relative_to(ROOT) else path


@lru_cache(maxsize=1)
def lock() -> dict[str, str]:
    """Versions of all installed packages."""
    found = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:
            found[name] = distribution.version
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def hardware() -> dict[str, Any]:
    """Processor, cores, memory, Python; GPUs are added by the cell when torch is loaded."""
    import psutil

    model = platform.processor()
    if Path("/proc/cpuinfo").is_file():
        lines = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return {
        "system": platform.platform(),
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
    }


def new(
    job: dict[str, Any], inputs: dict[str, str], code: Mapping[str, bytes], previous: dict[str, Any]
) -> dict[str, Any]:
    """Receipt at the start of an attempt; attempts of earlier receipts are carried on.

    Args:
        job: fields of the job.
        inputs: digests of what it reads.
        code: files that its signatures cover, by path.
        previous: the receipt of an earlier attempt, or {}.
    """
    state, change = code_state(), patch(code)
    return {
        "signature": job["signature"],
        "training": job["training"],
        "science": job["science"],
        "commit": state["commit"],
        "patch_sha256": hashlib.sha256(change.encode()).hexdigest() if change else "",
        "left_out": state["left_out"],
        "inputs": inputs,
        "code": {spelt(path): hashlib.sha256(content).hexdigest() for path, content in code.items()},
        "packages": lock(),
        "hardware": hardware(),
        "command": sys.argv,
        "overrides": list(job["overrides"]),
        "needs": list(job["needs"]),
        "attempts": [*previous.get("attempts", []), {"started": time.time(), "pid": os.getpid()}],
    }
