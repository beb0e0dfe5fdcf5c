"""The log of one run: ``metrics.jsonl``, which is ours and always written, and at choice one Weights & Biases run.

``metrics.jsonl`` holds one JSON object per line: ``{"step": 12, "time": 1764.5, "train/loss": 0.31, ...}``, ``time`` in
seconds since the epoch. Every row is handed to the operating system when it is logged, so a killed process loses none.
Non-finite values are spelt NaN, Infinity and -Infinity, as Python's ``json`` reads them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sweeps.logging.wandb_run import WandbRun

if TYPE_CHECKING:
    import pandas as pd

METRICS = "metrics.jsonl"
"""File name of the metrics in a run folder."""

RESERVED = frozenset({"step", "time"})
"""Names that a metric cannot have."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows of a metrics file in the order in which they were logged; a torn line, left by a full disk, is left out."""
    rows = []
    for line in path.read_bytes().split(b"\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


class MetricsFile:
    """``metrics.jsonl``, opened for appending.

    Args:
        path: the file.
        resume_step: optimiser steps in the checkpoint that the run goes on from. Rows of later steps are dropped: they
            will be logged again. None or 0 starts an empty file.
    """

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        kept = []
        if resume_step and path.is_file():
            kept = [row for row in read_metrics(path) if row["step"] <= resume_step]
        # A checkpoint is written before or after its own step's row, as the trainer pleases: that row may come again.
        self._repeats = [_content(row) for row in kept if row["step"] == resume_step]
        for left in path.parent.glob(f".{path.name}.*"):  # of a process that was killed here
            left.unlink(missing_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(b"".join(_line(row) for row in kept))
        os.replace(temporary, path)
        self._descriptor: int | None = os.open(path, os.O_WRONLY | os.O_APPEND)

    def append(self, row: Mapping[str, Any]) -> None:
        """Writes one row, unless it only repeats one that was kept at the resumed step."""
        if self._descriptor is None:
            raise ValueError("this log is finished: log before finish(), inside the with block")
        if self._repeats and (content := _content(row)) in self._repeats:
            self._repeats.remove(content)
            return
        line = _line(row)
        while line:
            line = line[os.write(self._descriptor, line) :]

    def close(self) -> None:
        """Forces the rows onto the disk and closes the file; a second call does nothing."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def _content(row: Mapping[str, Any]) -> tuple[int, frozenset[str]]:
    return row["step"], frozenset(row) - RESERVED


class RunLog:
    """Context manager: the log of one run, opened at construction and finished when the block ends.

    Args:
        folder: run folder; made if missing. Holds ``metrics.jsonl`` and, with W&B, ``wandb/``.
        wandb: "offline" writes a W&B run into the folder, "online" also uploads it, None writes none. Where the upload
            cannot start, or breaks for good, the run goes on offline and one warning line names ``wandb sync <dir>``.
        project, entity: W&B project, and user or team (None: the account's default).
        run_id: W&B id, ``<signature>-<attempt>``: a new attempt is a new W&B run.
        name: what W&B shows for the run.
        group: the sweep.
        job_type: the stage (training, evaluation).
        tags: paper, table, row; repeats are dropped, and each is cut to the 64 characters that W&B takes.
        config: resolved config.
        resume_step: see ``MetricsFile``.

    Attributes:
        replayed: for the runner: whether this log has seen the training's metrics.
        warning: the warning line about W&B, "" if there was none.

    Raises:
        ValueError: a mode, id or project that W&B does not take.
    """

    def __init__(
        self,
        folder: Path,
        *,
        wandb: str | None,
        project: str,
        entity: str | None,
        run_id: str,
        name: str,
        group: str,
        job_type: str,
        tags: Sequence[str],
        config: Mapping[str, Any],
        resume_step: int | None = None,
    ) -> None:
        if resume_step is not None and resume_step < 0:
            raise ValueError(f"resume_step is {resume_step}: give the checkpoint's step, or None for a new run")
        self.replayed = False
        self._wandb: WandbRun | None = None
        if wandb is not None:
            self._wandb = WandbRun(
                folder,
                mode=wandb,
                project=project,
                entity=entity,
                run_id=run_id,
                name=name,
                group=group,
                job_type=job_type,
                tags=tags,
                config=config,
            )
        folder.mkdir(parents=True, exist_ok=True)
        self._metrics = MetricsFile(folder / METRICS, resume_step)
        if self._wandb:
            self._wandb.open()

    @property
    def warning(self) -> str:
        """The warning line about W&B, "" if there was none."""
        return self._wandb.warning if self._wandb else ""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Logs scalars of one step.

        Args:
            step: optimiser steps done; several rows may share a step.
            values: numbers by name; NumPy and zero-dimensional torch values are taken too. Nothing is logged for none.

        Raises:
            ValueError: a value that is no number, or a metric called ``step`` or ``time``.
        """
        if taken := RESERVED & values.keys():
            raise ValueError(f"a metric is called {sorted(taken)[0]!r}, which names a column of every row: rename it")
        if not values:
            return
        numbers = {name: _number(name, value) for name, value in values.items()}
        self._metrics.append({"step": int(step), "time": round(time.time(), 3), **numbers})
        if self._wandb:
            self._wandb.log({"step": int(step), **numbers})

    def table(self, name: str, frame: pd.DataFrame) -> None:
        """Shows a frame in W&B (its columns, not its index), such as the scores of each class."""
        if self._wandb:
            self._wandb.table(name, frame)

    def confusion(self, gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> None:
        """Shows the confusion matrix in W&B.

        Args:
            gold: N gold labels, each one of ``labels``.
            predicted: N predicted labels; one that is not in ``labels`` counts as invalid, a column of its own.
            labels: the inventory, in the order of the matrix.

        Raises:
            ValueError: lengths that differ, or a gold label outside the inventory.
        """
        if len(gold) != len(predicted):
            raise ValueError(f"{len(gold)} gold labels and {len(predicted)} predictions: give one each")
        if unknown := set(gold) - set(labels):
            raise ValueError(f"gold label {sorted(unknown)[0]!r} is not among the {len(labels)} labels: add it to them")
        if self._wandb:
            self._wandb.confusion(gold, predicted, labels)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Sets the run's final values in W&B: scores by name."""
        if self._wandb:
            self._wandb.summary(values)

    def finish(self, exit_code: int = 0) -> None:
        """Closes the metrics and the W&B run; 0 marks it finished, anything else failed. A second call does nothing."""
        self._metrics.close()
        if self._wandb:
            self._wandb.finish(exit_code)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(0 if kind is None else 1)


def _number(name: str, value: Any) -> int | float:
    if type(value) in (int, float):
        return value
    try:
        # item() keeps NumPy and torch integers whole; a string has none and is refused.
        number = value.item() if hasattr(value, "item") else value
        if isinstance(number, (bool, int, float)):
            return number if isinstance(number, float) else int(number)
    except (TypeError, ValueError, RuntimeError):
        pass
    raise ValueError(f"metric {name!r} is {value!r}: give one number")
