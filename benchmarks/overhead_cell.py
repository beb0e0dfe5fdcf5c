"""Single cells and no-op cells for ``benchmarks/sweep_overhead.py``, through Hydra's own machinery and through ours.

python -m benchmarks.overhead_cell hydra -m ...    a plain Hydra application: every job in its own folder
python -m benchmarks.overhead_cell one ...         one no-op cell in a process that imports what a cell imports
python -m benchmarks.overhead_cell ours ...        no-op cells through our planner and warm workers
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from sweeps.run import Job, execute

NO_OP = "OVERHEAD_NO_OP"
"""Environment variable: 1 makes the Hydra application's cells do nothing but import."""


def nothing(job: Job) -> int:
    """Work of an engine that only leaves the records of a finished cell."""
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / "summary.json").write_text("{}")
    (job.folder / "done.json").write_text(json.dumps({"finished": time.time()}))
    return 0


def run_hydra(arguments: list[str]) -> int:
    """A Hydra application around the same cell, in-process, as its users write it: nothing is shared between jobs."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    import sweeps.engines.preload  # noqa: F401
    from sweeps.planning.plan import CONF, resolve
    from sweeps.signatures import signature

    @hydra.main(config_path=str(CONF), config_name="config", version_base=None)
    def application(composed: Any) -> None:
        plain: Any = OmegaConf.to_container(composed, resolve=False)
        config, blanked = resolve(plain)
        training = signature.training_signature(blanked)
        job = Job(
            signature.evaluation_signature(config, training),
            training,
            signature.science_signature(config),
            config,
            blanked,
            (),
            str(Path(HydraConfig.get().runtime.output_dir).resolve()),
        )
        status = nothing(job) if os.environ.get(NO_OP) == "1" else execute(job)
        if status:
            raise RuntimeError((job.folder / "failed.json").read_text())

    sys.argv = [sys.argv[0], *arguments]
    application()
    return 0


def run_one(overrides: list[str]) -> int:
    """What ``python -m sweeps.run`` does up to the cell: plan, import."""
    import sweeps.engines.preload  # noqa: F401
    from sweeps.planning.plan import Planner

    cell = Planner().cell(overrides)
    return nothing(Job.of(cell, Path(cell.config["paths"]["outputs"])))


def run_ours(arguments: list[str]) -> int:
    """``-m`` with cells that do nothing."""
    from benchmarks.overhead_cell import nothing as work  # found by name: workers do not run this module
    from sweeps.engines.protocol import make_engine
    from sweeps.execution.driver import drive
    from sweeps.execution.ledger import Ledger
    from sweeps.planning.plan import Planner

    planner = Planner()
    axes = [
        [f"{key}={value}" for value in values.split(",")]
        for key, _, values in (argument.partition("=") for argument in arguments)
    ]
    cells = [planner.cell(point) for point in itertools.product(*axes)]
    ledger = Ledger(Path(cells[0].config["paths"]["outputs"]))
    missing = [cell for cell in cells if ledger.state(cell) != "done"]
    if missing:
        config = cells[0].config
        engine = make_engine({**config["engine"], "work": work}, int(config["threads"]))
        drive([Job.of(cell, ledger.outputs) for cell in missing], engine, ledger.stages)
    return 0


if __name__ == "__main__":
    sys.exit({"hydra": run_hydra, "one": run_one, "ours": run_ours}[sys.argv[1]](sys.argv[2:]))
