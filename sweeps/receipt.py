"""Receipts: where a run came from. Commit and uncommitted change, package versions, digests, hardware, attempts."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import time
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from sweeps.signature import ROOT


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


@lru_cache(maxsize=1)
def code_state() -> dict[str, str]:
    """Commit, and the patch of what is not committed (tracked files; ``git diff HEAD``)."""
    patch = _git("diff", "HEAD", "--binary")
    return {
        "commit": _git("rev-parse", "HEAD").strip(),
        "patch": patch,
        "patch_sha256": hashlib.sha256(patch.encode()).hexdigest() if patch else "",
    }


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


def new(job: dict[str, Any], inputs: dict[str, str], previous: dict[str, Any]) -> dict[str, Any]:
    """Receipt at the start of an attempt; attempts of earlier receipts are carried on."""
    state = code_state()
    return {
        "signature": job["signature"],
        "training": job["training"],
        "science": job["science"],
        "commit": state["commit"],
        "patch_sha256": state["patch_sha256"],
        "inputs": inputs,
        "packages": lock(),
        "hardware": hardware(),
        "command": sys.argv,
        "overrides": list(job["overrides"]),
        "needs": list(job["needs"]),
        "attempts": [*previous.get("attempts", []), {"started": time.time(), "pid": os.getpid()}],
    }
