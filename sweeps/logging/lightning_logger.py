"""Lightning's logger interface over a ``RunLog``. Imports torch: only cells import this module."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from sweeps.logging.run_log import RunLog


class RunLogger(Logger):
    """Forwards metrics to a run's log, from the first process of a group only.

    The log belongs to the runner, which finishes it; the resolved config is there already, so hyper-parameters that
    Lightning gathers are not logged again.
    """

    def __init__(self, log: RunLog) -> None:
        super().__init__()
        self._log = log

    @property
    def name(self) -> str:
        """Name of the logger; no folder is made from it."""
        return "papergrid"

    @property
    def version(self) -> str:
        """Empty: the run folder is named by the cell's signature."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Logs scalars at an optimiser step.

        Raises:
            ValueError: no step.
        """
        if step is None:
            raise ValueError(f"metrics {sorted(metrics)} came without a step: give their optimiser step")
        self._log.metrics(step, metrics)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Does nothing: see the class."""
