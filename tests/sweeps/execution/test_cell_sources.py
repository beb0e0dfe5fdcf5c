"""Sources of a cell: trainings of their own that other cells share; a whole cell of InfiFPO at smoke scale."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.errors import UserError
from sweeps.planning import plan
from sweeps.preflight import schema

ROOT = Path(__file__).resolve().parents[3]
CELL = (
    "scale=smoke",
    "experiment=skills_smoke",
    "evaluation=text",
    "data=skill_pairs",
    "base=infifpo/skills_sft",
    "method=infifpo",
    "model=skills_characters",
    "model.optimiser.learning_rate=0.0003",
    "trainer.max_epochs=1",
    "logger=none",
)
ALONE = ("scale=smoke", "experiment=skills_smoke", "evaluation=text", "data=skills", "method=sft", "method.tune=false")
PLANNER = plan.Planner()


def test_every_training_that_a_cell_needs_is_named_once_and_sources_come_first():
    cell = PLANNER.cell(CELL)
    names = [*cell.config["sources"], "sft"]
    needed = plan.bases(cell.config)
    # The SFT checkpoint has the same sources again, and the pivot as its base.
    assert len(needed) == len(names) == 8 and len(set(cell.needs)) == len(cell.needs) == 9
    assert needed[-1]["base"] == cell.config["sources"]["pivot"]


def test_a_source_is_the_same_training_whoever_asks_for_it():
    cell = PLANNER.cell(CELL)
    alone = PLANNER.cell((*ALONE, "base=infifpo/skills_programs", "model=skills_digit_pairs"))
    assert set(alone.needs) < set(cell.needs)


def test_seeds_share_sources_and_not_what_follows():
    first, second = PLANNER.cell(CELL, seed=0), PLANNER.cell(CELL, seed=1)
    assert first.needs[:7] == second.needs[:7] and not set(first.needs[7:]) & set(second.needs[7:])


def test_another_source_training_is_another_cell():
    one, other = PLANNER.cell(CELL), PLANNER.cell((*CELL, "sources.style.trainer.max_steps=9"))
    assert len(set(one.needs) - set(other.needs)) == 3  # style, the SFT checkpoint, the cell itself


def test_a_source_that_cannot_be_built_is_refused_in_one_line():
    config = PLANNER.cell((*CELL, "sources.style.data.batch_size=0")).config
    with pytest.raises(UserError, match="batch_size"):
        schema.check(config)


def test_a_cell_trains_its_sources_makes_its_pairs_and_is_found_again(tmp_path):
    pytest.importorskip("torch")
    command = [sys.executable, "-m", "sweeps.run", *CELL, f"paths.outputs={tmp_path.as_posix()}/outputs"]
    for _ in range(2):
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=900, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert done.returncode == 0, done.stderr[-3000:]
    (folder,) = (tmp_path / "outputs/runs").iterdir()
    record = json.loads((folder / "done.json").read_text())
    kinds = [stage.split("/")[0] for stage in record["stages"]]
    # Seven sources, the SFT checkpoint, the cell; candidates of both halves; one scoring for each of five sources.
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "training": 9, "preference_candidates": 2, "source_logps": 5, "reference_logps": 1, "fusion_report": 1,
    }  # fmt: skip
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert any("fusion/margin_mean" in row and row["fusion/margin_mean"] >= 0 for row in metrics)
    assert "response_tokens" in json.loads((folder / "summary.json").read_text())
