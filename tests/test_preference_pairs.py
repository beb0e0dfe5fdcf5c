"""The sweep of human pairs: what its rows read, and one chain through the runner on real texts and a real model."""

import json

import pandas as pd
import pytest

from data.files.sources import DataNotFoundError, locate
from sweeps.planning import definition, plan
from sweeps.run import Job, execute

PLANNER = plan.Planner(lenient=True)
SMOKE = (
    "scale=smoke",
    "experiment=preference_pairs",
    "logger=none",
    "pairs.longest=200",
    "pairs.test_items=6",
    "pairs.demonstrations=8",
    "pairs.sft_epochs=1",
    "pairs.train_pairs=4",
    "pairs.dpo_steps=1",
)


def cells(scale):
    return PLANNER.sweep(definition.load("implicit_reward/pairs"), scale)


def test_trained_rows_read_what_they_were_not_trained_on():
    for cell in cells("tiny"):
        base = cell.config["base"]
        if base and base.get("objective"):
            trained, tested = base["data"], cell.config["data"]
            assert trained["files"] == tested["files"] and trained["reader"] == tested["reader"]
            assert set(tested["files"]) == {"train", "test"} or 0 < tested["held_out"] == trained["held_out"] < 1


def test_all_rows_of_a_set_read_the_same_pairs():
    for scale in ("smoke", "tiny"):
        seen = {}
        for cell in cells(scale):
            data = {key: value for key, value in cell.config["data"].items() if key not in ("seed", "cost")}
            seen.setdefault(data["name"], []).append(data)
        assert set(seen) == {"llmbar", "pandalm", "qa_feedback", "persona"}
        assert all(all(one == rows[0] for one in rows) for rows in seen.values())


def test_estimates_share_the_trained_policy():
    trained = {cell.needs[0] for cell in cells("tiny") if ", SFT, " in cell.row}
    assert len(trained) == 5  # one for each seed


@pytest.mark.parametrize("scale", ["small", "paper"])
def test_published_policies_are_read_against_their_own_bases(scale):
    named = [cell for cell in cells(scale) if "against its base" in cell.row]
    assert len(named) == 9
    wrapped = PLANNER.cell((*SMOKE, "data=qa_feedback", "model=llama3_8b")).config["model"]
    for cell in named:
        policy, reference = cell.config["model"], cell.config["method"]["reference"]
        assert policy["weights"] == f"{reference['weights']}-Instruct"
        assert policy["prompt_wrapper"] is None  # its tokenizer's template; the base's own, or the same as a wrapper
        assert reference["prompt_wrapper"] in (None, wrapped["prompt_wrapper"])


def test_a_chain_on_real_texts_and_a_real_model(tmp_path):
    try:
        locate("models/stories260k/stories260K.bin")
        locate("pref/qa_feedback/train.jsonl.gz")
    except DataNotFoundError:
        pytest.skip("the data root has neither models nor pairs")
    found = {}
    for name, overrides in {
        "none": ("data=qa_feedback", "method.estimate=mean_logp"),
        "same": ("data=qa_feedback",),
        "dpo": ("data=qa_feedback", "base=implicit_reward/pairs_dpo", "base.model.optimiser.learning_rate=0.01"),
    }.items():
        cell = PLANNER.cell((*SMOKE, "pairs.longest=500", *overrides))
        assert execute(Job.of(cell, tmp_path)) == 0, (tmp_path / "runs" / cell.signature / "failed.json").read_text()
        folder = tmp_path / "runs" / cell.signature
        found[name] = pd.read_parquet(folder / "examples.parquet"), json.loads((folder / "summary.json").read_text())
    frame, scores = found["dpo"]
    assert len(frame) == 6 and scores["accuracy"] == pytest.approx(100 * (frame["margin"] > 0).mean())
    assert (found["same"][0]["margin"] == 0).all() and (frame["margin"] != 0).all()
    assert len(list((tmp_path / "stages" / "training").glob("*/stage.json"))) == 2
    assert (found["none"][0]["margin"] != 0).any()
