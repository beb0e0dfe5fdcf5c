"""AMFT's main sweep at smoke scale through the real command: stages, training, evaluation, table, curves, ledger."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_amft_main_at_smoke_scale(tmp_path):
    outputs = tmp_path / "outputs"
    command = ["sweep", "sweep=amft/main", "scale=smoke", "engine.workers=1", f"paths.outputs={outputs.as_posix()}"]
    done = subprocess.run(
        [sys.executable, "-m", "sweeps.cli", *command],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    folder = outputs / "sweeps" / "amft-main-smoke"
    receipt = json.loads((folder / "receipt.json").read_text())
    assert {"training_curves.png", "training_curves.svg"} <= set(receipt["figures"])
    frames = {
        row: pd.read_parquet(outputs / "runs" / next(iter(seeds.values())) / "examples.parquet")
        for row, seeds in receipt["rows"].items()
    }
    assert set(frames) == {"Warm-up checkpoint", "SFT", "RL", "SFT then RL", "Fixed mu 0.5", "AMFT"}
    ids = {tuple(frame["example_id"]) for frame in frames.values()}
    assert len(ids) == 1 and len(next(iter(ids))) == 48
    cost = {row: frame[["rollout_tokens", "validation_tokens"]].iloc[0].tolist() for row, frame in frames.items()}
    assert cost["Warm-up checkpoint"] == cost["SFT"] == [0.0, 0.0]
    assert cost["RL"][0] > 0 == cost["RL"][1]
    markdown = (folder / "table.md").read_text()
    for words in ("AMFT beats SFT then RL at equal compute", "61.3", "megatokens"):
        assert words in markdown
    again = subprocess.run(
        [sys.executable, "-m", "sweeps.cli", "verify", str(outputs)], cwd=ROOT, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stdout[-2000:] + again.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sweep", "columns"),
    [
        ("general_points", ("id_success", "ood_success")),
        ("navigation", ("id_success", "ood_success", "landmarks_success")),
        ("arithmetic", ("id_success", "ood_success")),
        ("rl_terms", ("id_success", "ood_success")),
        ("efficiency", ("rollouts_to_reach", "reached")),
    ],
)
def test_other_sweeps_at_smoke_scale(sweep, columns, tmp_path):
    outputs = tmp_path / "outputs"
    command = [
        "sweep",
        f"sweep=amft/{sweep}",
        "scale=smoke",
        "seeds=0",
        "engine.workers=1",
        f"paths.outputs={outputs.as_posix()}",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "sweeps.cli", *command],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    (folder,) = (outputs / "sweeps").glob(f"amft-{sweep}-smoke*")  # with one seed it may not be the plain table
    receipt = json.loads((folder / "receipt.json").read_text())
    frames = {
        row: pd.read_parquet(outputs / "runs" / next(iter(seeds.values())) / "examples.parquet")
        for row, seeds in receipt["rows"].items()
    }
    assert len({tuple(frame["example_id"]) for frame in frames.values()}) == 1
    for frame in frames.values():
        assert all(frame[column].notna().any() for column in columns)
