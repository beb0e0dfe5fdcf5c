"""The ledger: what ``outputs/`` says about cells. Completion truth is the run folder's own record, nothing else."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.lease import alive
from sweeps.plan import Cell
from sweeps.stages import StageStore, sha256

if TYPE_CHECKING:
    import pandas as pd

STATES = ("done", "running", "cached", "failed", "missing")


@dataclass(frozen=True)
class Cost:
    """Predicted cost of one cell: seconds with a range, peak memory, and what the prediction rests on.

    Attributes:
        seconds: all that the cell itself runs, its own training included, shared stages not.
        low, high: range in seconds.
        mebibytes: peak resident memory.
        basis: "measured" (finished cells of the same kind here) or "prior" (the config's own figures).
    """

    seconds: float
    low: float
    high: float
    mebibytes: float
    basis: str


class Ledger:
    """Reads run folders below ``outputs``."""

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs
        self.stages = StageStore(outputs / "stages")
        self._kinds: dict[str, list[dict[str, float]]] | None = None

    def folder(self, cell: Cell | str) -> Path:
        """Run folder of a cell, existing or not."""
        return self.outputs / "runs" / (cell if isinstance(cell, str) else cell.signature)

    def state(self, cell: Cell) -> str:
        """One of ``STATES``; "cached" means trained already, evaluation missing."""
        folder = self.folder(cell)
        if (folder / "done.json").is_file():
            return "done"
        if alive(folder / "lease"):
            return "running"
        if (folder / "failed.json").is_file():
            return "failed"
        return "cached" if self.stages.has("training", cell.training) else "missing"

    def failure(self, cell: Cell) -> dict[str, Any]:
        """Class, reason and traceback of a failed cell; empty where there is none."""
        return read_json(self.folder(cell) / "failed.json")

    def examples(self, cell: Cell | str) -> pd.DataFrame:
        """Per-example results of a finished cell."""
        import pandas as pd

        return pd.read_parquet(self.folder(cell) / "examples.parquet")

    def drifted(self, cells: Iterable[Cell]) -> dict[str, Cell]:
        """Finished runs of the same science under other code, for cells that have none: ``{signature: run}``."""
        finished: dict[str, str] = {}
        for receipt in sorted(self.outputs.glob("runs/*/receipt.json"), key=lambda path: path.stat().st_mtime):
            if (receipt.parent / "done.json").is_file():
                finished[read_json(receipt).get("science", "")] = receipt.parent.name
        return {
            cell.signature: replace(cell, signature=finished[cell.science])
            for cell in cells
            if self.state(cell) != "done" and cell.science in finished
        }

    def cost(self, cell: Cell) -> Cost:
        """Predicted cost of a cell from finished cells of its kind, else from the priors in its config."""
        rows = _size(cell.config)
        kind = cost_kind(cell.config)
        measured = self._measured().get(kind, [])
        trained = self.stages.has("training", cell.training)
        if measured:
            seconds = [entry["seconds_per_row"] * rows for entry in measured]
            predict = [entry["predict_share"] for entry in measured]
            middle = statistics.median(seconds) * (statistics.median(predict) if trained else 1.0)
            spread = max(0.15, (max(seconds) - min(seconds)) / (2 * statistics.median(seconds) or 1.0))
            return Cost(
                middle,
                middle * (1 - spread),
                middle * (1 + spread),
                max(entry["mebibytes"] for entry in measured),
                "measured",
            )
        return self.prior(cell.config, trained)

    @staticmethod
    def prior(config: Mapping[str, Any], trained: bool) -> Cost:
        """Cost from the figures that the method's config gives; ``trained`` leaves the training out."""
        prior = (config.get("method") or {}).get("cost") or {}
        train = 0.0 if trained else prior.get("train_seconds_per_1000", 0.0) * _size(config) / 1000
        seconds = prior.get("start_seconds", 2.0) + train + prior.get("predict_seconds", 1.0)
        return Cost(seconds, seconds / 2, seconds * 2, prior.get("mebibytes", 1000.0), "prior")

    def _measured(self) -> dict[str, list[dict[str, float]]]:
        if self._kinds is None:
            self._kinds = {}
            for path in self.outputs.glob("runs/*/done.json"):
                done = read_json(path)
                if done.get("cost"):
                    self._kinds.setdefault(done["cost_kind"], []).append(done["cost"])
        return self._kinds


def cost_kind(config: Mapping[str, Any]) -> str:
    """Cells of one kind are taken to cost the same per training row: method, model, prompt, neighbours, data set."""

    def name(section: str) -> str:
        value = config.get(section)
        return str(value.get("label", value.get("_target_", ""))) if isinstance(value, Mapping) else ""

    prompt = config.get("prompt") or {}
    tuned = (config.get("method") or {}).get("tune")
    return "|".join(
        (
            name("data"),
            name("method"),
            str(tuned),
            name("model"),
            name("retriever"),
            str(prompt.get("neighbours")),
            str(prompt.get("k")),
        )
    )


def _size(config: Mapping[str, Any]) -> float:
    """Training rows times epochs: what a cell's time is taken to be proportional to."""
    data, trainer = config.get("data") or {}, config.get("trainer") or {}
    rows = data.get("train_limit") or (data.get("cost") or {}).get("rows") or 1000
    return float(rows) * float(trainer.get("max_epochs") or 1)


def cost_record(
    config: Mapping[str, Any], seconds: float, predict_seconds: float, mebibytes: float
) -> dict[str, float]:
    """What a finished cell leaves for later predictions."""
    return {
        "seconds_per_row": seconds / _size(config),
        "predict_share": predict_seconds / max(seconds, 1e-9),
        "mebibytes": mebibytes,
    }


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's mapping; empty where it is missing or torn."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the named files of a run folder."""
    return {name: sha256(folder / name) for name in names if (folder / name).is_file()}
