"""What a published table is made of: plain records of its origin, rows and claims, with rounded numbers."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from sweeps.execution.ledger import read_json

if TYPE_CHECKING:
    from sweeps.inference.claims import ClaimResult
    from sweeps.reporting.table import Cell, Table

PACKAGES = (
    *("bm25s", "datasets", "faiss-cpu", "faiss-gpu", "hydra-core", "lightning", "numpy", "pandas"),
    *("scikit-learn", "scipy", "tokenizers", "torch", "transformers", "trl"),
)
"""Packages whose versions a reader of a table asks for; a run's own receipt has those of all."""


def rounded(value: Any) -> Any:
    """Every number of a record with six significant digits; one that is not finite is null."""
    if isinstance(value, Mapping):
        return {str(key): rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    if isinstance(value, float):
        short = float(f"{value:.6g}")
        return (short + 0.0) if abs(short) < float("inf") else None  # adds 0.0: no negative zero
    return value


def origin(records: Mapping[str, Any], dirty: bool, outputs: Path) -> dict[str, Any]:
    """Commit, date, hardware, versions, time and data of the runs."""
    ordered = sorted(records.values(), key=lambda record: record[1]["finished"])
    receipts = [found for found, _ in ordered]
    stages = {name for _, done in ordered for name in done.get("stages", ())}
    packages: dict[str, set[str]] = {}
    for found in receipts:
        for name in PACKAGES:
            if name in found["packages"]:
                packages.setdefault(name, set()).add(found["packages"][name])
    machines = {json.dumps(_machine(found["hardware"]), sort_keys=True) for found in receipts}
    pythons = {found["hardware"].get("python", platform.python_version()) for found in receipts}
    read = {
        named(path): digest
        for found in receipts
        for path, digest in {**found.get("inputs", {}), **found.get("read", {})}.items()
        if isinstance(digest, str)
    }
    stage_seconds = [read_json(outputs / "stages" / name / "stage.json").get("seconds", 0.0) for name in sorted(stages)]
    began = min((attempt["started"] for found in receipts for attempt in found["attempts"][-1:]), default=0.0)
    return {
        "commit": receipts[-1]["commit"],
        "commits": sorted({found["commit"] for found in receipts}),
        "dirty": dirty,
        "date": datetime.fromtimestamp(ordered[-1][1]["finished"], UTC).date().isoformat(),
        "hardware": [json.loads(text) for text in sorted(machines)],
        "versions": {"python": sorted(pythons), **{name: sorted(packages[name]) for name in sorted(packages)}},
        "seconds": {
            "elapsed": round(ordered[-1][1]["finished"] - began, 1),
            "cells": round(sum(done["seconds"] for _, done in ordered), 1),
            "shared_stages": round(sum(stage_seconds), 1),
        },
        "data": dict(sorted(read.items())),
    }


def _machine(hardware: Mapping[str, Any]) -> dict[str, Any]:
    return {key: hardware[key] for key in ("processor", "cores", "memory_gib", "accelerators") if key in hardware}


def named(path: str) -> str:
    """A data file's name without the folders of a machine: below the data root, or its last part."""
    if not PurePath(path).is_absolute():
        return path
    _, below, name = path.rpartition("/datasets/")
    return name if below else PurePath(path).name


def row(table: Table, index: int, receipt: Mapping[str, Any]) -> dict[str, Any]:
    """A row under all scores: ours, the paper's with its source, and what lies between."""
    name = table.rows[index]
    return {
        "row": name,
        "seeds": sorted(int(seed) for seed in receipt["rows"][name]),
        "expected_seeds": sorted(receipt["expected"][name]),
        "scores": {cell.column: _score(cell) for cell in table.cells[index]},
    }


def _score(cell: Cell) -> dict[str, Any]:
    ours, paper = cell.ours, cell.published
    return {
        "ours": {"value": float(ours.value), "low": float(ours.low), "high": float(ours.high)} if ours else None,
        "missing": cell.missing,
        "caution": cell.caution,
        "published": {
            "value": paper.value,
            "source": paper.source,
            "confidence": paper.confidence,
            "comparable": paper.comparable,
            "note": paper.note,
        }
        if paper
        else None,
        "difference": None if cell.difference is None else float(cell.difference),
    }


def claim(result: ClaimResult) -> dict[str, Any]:
    """A claim with its answer, and the smallest effect that could have been seen."""
    asked, found = result.claim, result.difference
    optional = {"p": result.p_adjusted, "smallest_detectable": result.smallest_detectable}
    return {
        "id": asked.id,
        "text": asked.text,
        "kind": asked.kind,
        "left": asked.left,
        "right": asked.right,
        "column": asked.column,
        "margin": asked.margin,
        "published": asked.published,
        "verdict": result.verdict,
        "estimate": {"value": float(found.value), "low": float(found.low), "high": float(found.high)}
        if found
        else None,
        **{key: None if value is None else float(value) for key, value in optional.items()},
        "more_seeds": None if result.more_seeds is None else int(result.more_seeds),
        "needs": result.needs,
        "note": result.note,
    }
