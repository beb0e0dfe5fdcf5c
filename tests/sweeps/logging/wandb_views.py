"""Reads a W&B run back from its ``.wandb`` file, with no account and no network.

This is what ``wandb leet inspect --json`` prints, asked of the binary behind it: 30 ms a run, where the command line
spends a second on its imports.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


_PANEL = "_wandb.visualize."
_NON_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


@dataclass(frozen=True)
class OfflineRun:
    """What a ``.wandb`` file says.

    Attributes:
        path: the file.
        rows: history rows in the order logged, nested keys joined by dots, wandb's own columns (_...) left out.
        panels: names of the custom charts, such as the confusion matrix.
        summary: last value of every key.
        exit_code: None when the run was never finished: it still runs, or was killed.
    """

    path: Path
    run_id: str
    name: str
    project: str
    group: str
    job_type: str
    tags: tuple[str, ...]
    config: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]
    summary: Mapping[str, Any]
    panels: tuple[str, ...]
    exit_code: int | None

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of plain numbers: what ``metrics.jsonl`` holds, without times."""
        plain = [row for row in self.rows if "step" in row and not any(key.endswith("._type") for key in row)]
        return [
            {key: _NON_FINITE.get(value, value) if isinstance(value, str) else value for key, value in row.items()}
            for row in plain
        ]

    def history(self) -> pd.DataFrame:
        """The metrics as a frame, one line per row, NaN where a row lacks a metric."""
        import pandas as pd

        return pd.DataFrame(self.metrics)

    def table(self, name: str) -> pd.DataFrame:
        """A logged table.

        Raises:
            ValueError: no such table.
        """
        import pandas as pd

        paths = {
            key.removesuffix("._type"): row[f"{key.removesuffix('._type')}.path"]
            for row in self.rows
            for key, value in row.items()
            if key.endswith("._type") and value == "table-file"
        }
        if name not in paths:
            raise ValueError(f"{self.path.name} has no table {name!r}: it has {', '.join(sorted(paths)) or 'none'}")
        content = json.loads((self.path.parent / "files" / paths[name]).read_text(encoding="utf-8"))
        return pd.DataFrame(content["data"], columns=content["columns"])


def find_runs(folder: Path) -> list[Path]:
    """The ``.wandb`` files of a run folder, oldest attempt first."""
    return sorted(folder.glob("wandb/*run-*/run-*.wandb"), key=lambda path: path.parent.name.partition("run-")[2])


def read_run(path: Path) -> OfflineRun:
    """Reads one ``.wandb`` file, whole or cut off by a kill.

    Raises:
        ValueError: a file that is missing or that holds no run record.
    """
    if not path.is_file():
        raise ValueError(f"{path} is no file: give a run's .wandb file, such as find_runs lists")
    found = subprocess.run(
        # Without the first flag it would report on itself to the W&B server.
        [_binary(), "leet", "inspect", "--no-observability", "--json", "--run-file", str(path), str(path.parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    records = [json.loads(line) for line in found.stdout.splitlines() if line.startswith("{")]
    head = next((record["run"] for record in records if record["type"] == "run"), None)
    if head is None:
        reason = (found.stderr.strip().splitlines() or ["it is empty"])[-1]
        raise ValueError(f"{path} holds no W&B run record ({reason}): the run was killed before it began")
    config: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    exit_code = None
    for record in records:
        content = record.get(record["type"], {})
        if record["type"] == "run":
            config.update(content.get("config", {}).get("update", {}))
        elif record["type"] == "config":
            config.update(content.get("update", {}))
        elif record["type"] == "history":
            rows.append({key: value for key, value in content["item"].items() if not key.startswith("_")})
        elif record["type"] == "summary":
            summary.update(content.get("update", {}))
        elif record["type"] == "exit":
            exit_code = int(content.get("exit_code", 0))
    return OfflineRun(
        path=path,
        run_id=head["run_id"],
        name=head.get("display_name", ""),
        project=head.get("project", ""),
        group=head.get("run_group", ""),
        job_type=head.get("job_type", ""),
        tags=tuple(head.get("tags", ())),
        config={key: value for key, value in config.items() if not key.startswith("_")},
        rows=tuple(rows),
        summary={key: value for key, value in summary.items() if not key.startswith("_")},
        panels=tuple(sorted(key.removeprefix(_PANEL) for key in config if key.startswith(_PANEL))),
        exit_code=exit_code,
    )


def _binary() -> str:
    package = importlib.util.find_spec("wandb")
    binary = Path(package.origin or "").parent / "bin" / "wandb-core" if package else None
    if binary is None or not binary.is_file():
        raise ValueError("wandb is not installed with its wandb-core binary: pip install 'wandb>=0.31,<0.32'")
    return str(binary)
