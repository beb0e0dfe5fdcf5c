"""One Weights & Biases run: opened, fed and finished inside the process of its cell, silent, and never fatal to it.

``wandb`` is imported when a run is opened, so that planning does not pay for it. A process forked from one that has
imported ``wandb`` gets a service process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

INVALID = "(invalid)"
"""Column of the confusion matrix for predictions outside the inventory."""

MODES = ("offline", "online")

ONLINE: dict[str, Any] = {
    "init_timeout": 60,
    "finish_timeout": 120,
    "login_timeout": 60,
    "x_graphql_retry_max": 4,
    "x_graphql_retry_wait_min_seconds": 1,
    "x_graphql_retry_wait_max_seconds": 8,
}
"""Limits of an online run (seconds; retries), so that a server out of reach costs a cell at most minutes.

The stream of a run that has begun keeps wandb's own patience (hours of retries) until the run ends; the end waits for
``finish_timeout``. What was not uploaded lies on disk either way.
"""

_DATA_FOLDER = "WANDB_DATA_DIR"
_TAG_LENGTH = 64
_FORBIDDEN = set("/\\#?%:")


class WandbRun:
    """A W&B run in ``folder/wandb``.

    Args: as ``sweeps.logging.run_log.RunLog``; ``mode`` is "offline" or "online".

    Attributes:
        warning: the first warning line that was printed, "" if none was.
    """

    def __init__(
        self,
        folder: Path,
        *,
        mode: str,
        project: str,
        entity: str | None,
        run_id: str,
        name: str,
        group: str,
        job_type: str,
        tags: Sequence[str],
        config: Mapping[str, Any],
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"logger.wandb is {mode!r}: give offline, online, or null for no W&B run")
        for what, value in (("W&B run id", run_id), ("logger.project", project)):
            if not value or len(value) > 128 or _FORBIDDEN & set(value):
                raise ValueError(f"{what} is {value!r}: give 1 to 128 characters, none of them / \\ # ? % or :")
        self.warning = ""
        self._folder = folder.resolve()
        self._mode = mode
        self._identity: dict[str, Any] = {
            "project": project,
            "entity": entity,
            "id": run_id,
            "name": name,
            "group": group,
            "job_type": job_type,
            "tags": list(dict.fromkeys(tag[:_TAG_LENGTH] for tag in tags if tag)),
            "config": json.loads(json.dumps(config, default=str)),
        }
        self._run: Any = None
        self._data_folder: str | None = None

    def open(self) -> None:
        """Starts the run; an online run that cannot reach its server starts offline."""
        # Reports of wandb's own errors would be the one thing that an offline run sends.
        if self._mode == "offline" or "WANDB_ERROR_REPORTING" not in os.environ:
            os.environ["WANDB_ERROR_REPORTING"] = "false"
        # Staged tables would go to the home directory.
        self._data_folder = os.environ.get(_DATA_FOLDER)
        os.environ[_DATA_FOLDER] = str(self._folder / "wandb")
        before = self._attempts()
        try:
            try:
                self._run = self._start(self._mode)
            except Exception as error:
                if self._mode == "offline":
                    raise
                # The service still holds the id of the run that did not start; a new service does not.
                _wandb().teardown()
                for folder in self._attempts() - before:
                    shutil.rmtree(folder, ignore_errors=True)
                self._run = self._start("offline")
                self._warn(f"W&B cannot be reached ({_line(error)}); the run goes on offline", sync=True)
            self._run.define_metric("step", hidden=True)
            self._run.define_metric("*", step_metric="step")
        except Exception as error:
            self._run = None
            self._warn(f"no W&B run is written ({_line(error)}); metrics.jsonl has the metrics")

    def log(self, row: Mapping[str, Any]) -> None:
        """Adds one row to the history. ``step`` is a column of it: W&B's own counter drops rows that go backwards."""
        self._guard(lambda run: run.log(dict(row)))

    def table(self, name: str, frame: pd.DataFrame) -> None:
        """Adds a table to the history."""
        cells = frame.astype(object).where(frame.notna(), None)

        def add(run: Any) -> None:
            columns = [str(column) for column in frame.columns]
            run.log({name: _wandb().Table(columns=columns, data=cells.to_numpy().tolist())})

        self._guard(add)

    def confusion(self, gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]) -> None:
        """Adds W&B's confusion matrix panel, and its counts as a table."""
        position = {label: index for index, label in enumerate(labels)}
        names = list(labels) if set(predicted) <= set(labels) else [*labels, INVALID]

        def add(run: Any) -> None:
            matrix = _wandb().plot.confusion_matrix(
                y_true=[position[label] for label in gold],
                preds=[position.get(label, len(labels)) for label in predicted],
                class_names=names,
            )
            run.log({"confusion_matrix": matrix})

        self._guard(add)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Sets final values."""
        self._guard(lambda run: run.summary.update(dict(values)))

    def finish(self, exit_code: int) -> None:
        """Ends the run, uploading what is left of an online one for ``ONLINE["finish_timeout"]`` seconds at most."""
        run, self._run = self._run, None
        self._restore_data_folder()
        if run is None:
            return
        folder = Path(run.settings.sync_dir)
        try:
            run.finish(exit_code)
            reason = "" if run.settings.mode == "offline" else _upload_error(folder)
        except Exception as error:
            reason = _line(error)
        if reason:
            self._warn(f"the W&B run was not uploaded whole ({reason})", sync=True, folder=folder)

    def _attempts(self) -> set[Path]:
        return set(self._folder.glob(f"wandb/run-*-{self._identity['id']}"))

    def _restore_data_folder(self) -> None:
        if self._data_folder is not None:
            os.environ[_DATA_FOLDER] = self._data_folder
        elif os.environ.get(_DATA_FOLDER) == str(self._folder / "wandb"):
            del os.environ[_DATA_FOLDER]

    def _start(self, mode: str) -> Any:
        wandb = _wandb()
        quiet: dict[str, Any] = {
            "silent": True,
            "quiet": True,
            "show_info": False,
            "show_warnings": False,
            "show_errors": False,
        }
        wandb.setup(wandb.Settings(**quiet))
        settings = wandb.Settings(
            **quiet,
            console="off",
            symlink=False,
            disable_git=True,
            disable_code=True,
            disable_job_creation=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            # `wandb leet`, which watches a running cell, sees it a second late; wandb's own default is fifteen.
            x_transaction_log_flush_interval=1.0,
            finish_timeout_raises=True,
            **(ONLINE if mode == "online" else {}),
        )
        (self._folder / "wandb").mkdir(parents=True, exist_ok=True)
        return wandb.init(
            dir=str(self._folder), reinit="create_new", settings=settings, **{"mode": mode, **self._identity}
        )

    def _guard(self, act: Callable[[Any], None]) -> None:
        if self._run is None:
            return
        try:
            act(self._run)
        except Exception as error:
            self._warn(f"W&B did not take a row or table ({_line(error)}); metrics.jsonl has every metric", sync=True)

    def _warn(self, text: str, *, sync: bool = False, folder: Path | None = None) -> None:
        if self.warning:
            return
        where = folder or (Path(self._run.settings.sync_dir) if self._run else None)
        self.warning = f"warning: {text}" + (f"; upload it later with: wandb sync {where}" if sync and where else "")
        print(self.warning, file=sys.stderr, flush=True)


def _wandb() -> Any:
    import wandb

    return wandb


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".split("\n")[0][:200]


def _upload_error(folder: Path) -> str:
    """What ended the upload of a run for good, from the service's log; "" when nothing did.

    wandb reports it on the console only, and ``finish`` returns as if all were well.
    """
    log = folder / "logs" / "debug-internal.log"
    if not log.is_file():
        return ""
    for line in log.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if str(entry.get("level", "")).startswith("ERROR") and "fatal" in str(entry.get("msg", "")):
            return str(entry["msg"]).split("\n")[0][:200]
    return ""
