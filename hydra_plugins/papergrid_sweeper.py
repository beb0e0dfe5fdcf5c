"""Hydra sweeper that hands the overrides of ``-m`` to papergrid's planner: content-named runs, resume, no launcher."""

from __future__ import annotations

import sys
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class PapergridSweeper(Sweeper):
    """Splits choices, ranges and globs as Hydra's basic sweeper does, then plans and runs the cells ourselves."""

    def __init__(self, max_batch_size: int | None = None, params: dict[str, str] | None = None) -> None:
        # Hydra merges its basic sweeper's two settings into ours; `params` are overrides that every -m gets.
        self._params = [f"{key}={value}" for key, value in (params or {}).items()]

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keeps what is needed to expand globs over config groups."""
        self._config_loader = hydra_context.config_loader

    def sweep(self, arguments: list[str]) -> Any:
        """Runs every cell that ``arguments`` ask for; ends the process with the outcome's exit status."""
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        from sweeps.cli import _complain, run_many
        from sweeps.errors import UserError

        parsed = OverridesParser.create(config_loader=self._config_loader).parse_overrides([*self._params, *arguments])
        jobs = [job for batch in BasicSweeper.split_arguments(parsed, max_batch_size=None) for job in batch]
        try:
            status = run_many(jobs)
        except UserError as error:
            status = _complain(error)
        sys.exit(status)
