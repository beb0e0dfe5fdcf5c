"""Real questions at smoke scale through the real command: retrieval, prompts, fine-tuning, free answers, table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_longrag_questions_at_smoke_scale(tmp_path):
    outputs = tmp_path / "outputs"
    command = ["sweep", "sweep=longrag/questions", "scale=smoke", "engine.workers=1", f"paths.outputs={outputs}"]
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
    receipt = json.loads((outputs / "sweeps" / "longrag-questions-smoke" / "receipt.json").read_text())
    frames = {
        row: pd.read_parquet(outputs / "runs" / next(iter(seeds.values())) / "examples.parquet")
        for row, seeds in receipt["rows"].items()
    }
    assert all(len(frame) == 12 and frame["example_id"].is_unique for frame in frames.values())
    own = frames["Samples, prompting, own passages, k=1"]
    assert own["gold_in_context"].eq(1).all() and own["passages"].eq(1).all()
    retrieved = frames["Samples, prompting, k=3"]
    assert retrieved["passages"].eq(3).all() and retrieved["gold_in_context"].mean() > 0.8
    assert frames["Samples, prompting, k=0"]["passages"].eq(0).all()
    # Training changed the reader: the same prompts get other answers.
    assert not retrieved["response"].equals(frames["Samples, implicit"]["response"])
