"""Every sweep of InfiFPO at smoke scale, through the command line, in one outputs folder: they share what they have."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from sweeps.planning.definition import names
from sweeps.signatures.signature import ROOT

SWEEPS = tuple(name for name in names() if name.startswith("infifpo/"))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("infifpo") / "outputs"


@pytest.mark.slow
@pytest.mark.parametrize("sweep", SWEEPS)
def test_sweeps_of_infifpo_at_smoke_scale(sweep, outputs):
    done = subprocess.run(
        [sys.executable, "-m", "sweeps.cli", "sweep", f"sweep={sweep}", "scale=smoke", "seeds=0", "logger=none",
         f"paths.outputs={outputs.as_posix()}"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Missing" not in done.stdout
    receipt = json.loads((outputs / "sweeps" / f"{sweep.replace('/', '-')}-smoke" / "receipt.json").read_text())
    runs = {row: next(iter(seeds.values())) for row, seeds in receipt["rows"].items()}
    assert len(set(runs.values())) == len(runs), "two rows are one cell"
    frames = [pd.read_parquet(outputs / "runs" / run / "examples.parquet") for run in runs.values()]
    assert len({tuple(frame["example_id"]) for frame in frames}) == 1
    assert all(frame["success"].between(0, 1).all() for frame in frames)
