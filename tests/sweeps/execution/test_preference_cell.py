"""A whole cell on a preference file with a two-layer Llama of random weights, SFT first."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.planning import plan
from sweeps.preflight import schema

ROOT = Path(__file__).resolve().parents[3]
CELL = ("scale=smoke", "experiment=preferences", "trainer.max_epochs=1", "logger=none", "evaluation.max_tokens=8")
CHAIN = (
    *CELL,
    "base=infifpo/preference_sft",
    "data.half=preference",
    "data.files.train=samples:preferences_chat.jsonl",
)
PLANNER = plan.Planner()


def test_the_chain_begins_with_the_cells_own_model_and_rows():
    pytest.importorskip("torch")
    config = PLANNER.cell((*CHAIN, "model.optimiser.learning_rate=0.001")).config
    schema.check(config)
    assert config["base"]["model"] == config["model"] and config["base"]["data"]["half"] == "sft"
    assert config["base"]["data"]["files"] == config["data"]["files"]
    assert PLANNER.cell(CELL).config["base"] is None


def test_a_file_trains_a_policy_and_reads_its_held_out_pairs(tmp_path):
    pytest.importorskip("torch")
    command = [sys.executable, "-m", "sweeps.run", *CHAIN, f"paths.outputs={tmp_path.as_posix()}/outputs"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    (folder,) = (tmp_path / "outputs/runs").iterdir()
    kinds = sorted(stage.split("/")[0] for stage in json.loads((folder / "done.json").read_text())["stages"])
    assert kinds == ["reference_logps", "training", "training"]
    scores = json.loads((folder / "summary.json").read_text())
    assert 0 <= scores["success"] <= 100 and abs(scores["reward"]) < 10 and 1 <= scores["response_tokens"] <= 8


def test_a_bad_row_ends_the_command_with_its_number(tmp_path):
    pytest.importorskip("torch")
    (tmp_path / "bad.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "a"}\n')
    command = [
        sys.executable,
        "-m",
        "sweeps.run",
        *CELL,
        "data.files.train=bad.jsonl",
        f"paths.outputs={tmp_path}/outputs",
    ]
    environment = {**os.environ, "PAPERGRID_DATA": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 2
    assert "bad.jsonl, row 2: chosen is missing and rejected is missing" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
