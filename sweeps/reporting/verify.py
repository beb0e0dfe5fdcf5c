"""Verification: recomputes every stored and printed number from per-example results, and checks all digests."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

from sweeps.errors import UserError
from sweeps.execution.ledger import digests, read_json
from sweeps.execution.stages import MANIFEST, damage, read_manifest
from sweeps.preflight.plan_view import say
from sweeps.signatures.signature import Signer, hash_of

_TOLERANCE = 1e-9


def verify_outputs(outputs: Path) -> int:
    """Checks runs, stages and tables below ``outputs``; the exit status is 1 when anything does not hold."""
    if not (outputs / "runs").is_dir():
        raise UserError(f"{outputs} holds no runs: give the outputs folder of a sweep, e.g. papergrid verify outputs")
    faults = []
    runs = sorted(path.parent for path in outputs.glob("runs/*/done.json"))
    stages = sorted(path.parent for path in outputs.glob("stages/*/*/stage.json") if "." not in path.parent.name)
    tables = sorted(path.parent for path in outputs.glob("sweeps/*/receipt.json"))
    for folder in runs:
        faults += [f"run {folder.name}: {fault}" for fault in run_faults(folder)]
    for folder in stages:
        fault = damage(folder) or misnamed(folder)
        faults += [f"stage {folder.parent.name}/{folder.name}: {fault}"] if fault else []
    for folder in tables:
        faults += [f"table {folder.name}: {fault}" for fault in table_faults(folder, outputs)]
    for fault in faults:
        say(f"does not hold: {fault}")
    print(
        f"{len(runs)} runs, {len(stages)} stages, {len(tables)} tables checked: "
        f"{len(faults)} fault{'' if len(faults) == 1 else 's'}"
    )
    return 1 if faults else 0


def misnamed(folder: Path) -> str | None:
    """What is wrong with a stage's name: it stands for the key that the manifest gives; None where it does."""
    manifest = read_manifest(folder) or {}
    kind, key = folder.parent.name, manifest.get("key")
    name = key if isinstance(key, str) else hash_of({"kind": kind, "key": key})
    return None if (manifest.get("kind"), name) == (kind, folder.name) else f"{MANIFEST} names another stage"


def run_faults(folder: Path) -> Iterator[str]:
    """What is wrong with a finished run: a changed or missing file, a score that its examples do not give."""
    done = read_json(folder / "done.json")
    recorded = done.get("files")
    if not isinstance(recorded, dict) or done.get("signature") != folder.name:
        yield "done.json is unreadable or belongs to another run"
        return
    receipt = read_json(folder / "receipt.json")
    for name in receipt.get("uncounted", {}):
        yield f"its name does not cover {name}, which it loaded by a name made up as it ran: import that by name"
    if done.get("training") != receipt.get("training"):
        yield "done.json and receipt.json name different trained weights"
    for name, expected in recorded.items():
        found = digests(folder, [name]).get(name)
        if found != expected:
            yield f"{name} is missing" if found is None else f"{name} has changed since the run ended"
    try:
        import pandas as pd
        import yaml

        from data.scoring.registry import all_scores, scores_of

        stored = json.loads((folder / "summary.json").read_text())
        scores = all_scores()
        if set(stored) - set(scores):  # of data that brings scores of its own
            scores = all_scores(Signer(lenient=True).scores(yaml.safe_load((folder / "config.yaml").read_text())))
        recomputed = scores_of(pd.read_parquet(folder / "examples.parquet"), scores)
    except (OSError, ValueError, KeyError) as error:
        yield f"its scores cannot be recomputed ({type(error).__name__}: {str(error).splitlines()[0]})"
        return
    for name, value in stored.items():
        if name not in recomputed or not math.isclose(recomputed[name], value, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
            yield f"summary.json says {name} = {value}, its examples give {recomputed.get(name)}"


def table_faults(folder: Path, outputs: Path) -> Iterator[str]:
    """What is wrong with a written table: files that differ from what the runs it names give now."""
    from sweeps.reporting.report import rebuild

    try:
        receipt = read_json(folder / "receipt.json")
        told = receipt.pop("digest", None)
        if told is None:
            yield "receipt.json has no digest of its own: write the table again (papergrid table)"
        elif told != hash_of(receipt):
            yield "receipt.json has changed since it was written"
        rebuilt = rebuild(receipt, outputs)
    except (OSError, ValueError, KeyError, UserError) as error:
        yield f"it cannot be built again from its runs ({type(error).__name__}: {str(error).splitlines()[0]})"
        return
    for name, expected in receipt.get("figures", {}).items():
        found = digests(folder, [name]).get(name)
        if found != expected:
            yield f"{name} is missing" if found is None else f"{name} has changed since it was drawn"
    for name, text in rebuilt.items():
        path = folder / name
        if not path.is_file():
            yield f"{name} is missing"
        elif path.read_text(encoding="utf-8") != text:
            yield f"{name} is not what its runs give"
