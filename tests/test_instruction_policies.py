"""The chain base training - SFT - DPO in a few steps each, through the runner: what is shared, what is measured."""

import json

import pandas as pd
import pytest

from sweeps.planning import plan
from sweeps.run import Job, execute

SMOKE = (
    "scale=smoke",
    "experiment=instruction_policies",
    "logger=none",
    "study.base_steps=30",
    "study.demonstrations=40",
    "study.sft_epochs=1",
    "study.pairs=40",
    "study.dpo_steps=2",
    "study.test_items=8",
    "evaluation.samples=2",
    "model.width=16",
    "seed=1",
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("chain")
    planner, found = plan.Planner(), {}
    small = {
        "base": ("base=implicit_reward/policy_base", "base.model.width=16"),
        "sft": (
            "base=implicit_reward/policy_sft",
            "base.model.width=16",
            "base.base.model.width=16",
            "method@base.method=f_sft",
        ),
        "values": (
            "base=implicit_reward/policy_sft",
            "base.model.width=16",
            "base.base.model.width=16",
            "method@base.method=f_sft",
            "data=instruction_values",
            "method=value_probe",
        ),
        "dpo": (
            "base=implicit_reward/policy_dpo",
            "base.model.width=16",
            "base.base.model.width=16",
            "base.base.base.model.width=16",
            "method@base.base.method=f_sft",
            "base.model.optimiser.learning_rate=0.01",
        ),
    }
    for name, overrides in small.items():
        cell = planner.cell((*SMOKE, *overrides))
        assert execute(Job.of(cell, outputs)) == 0, (outputs / "runs" / cell.signature / "failed.json").read_text()
        folder = outputs / "runs" / cell.signature
        found[name] = (
            cell,
            pd.read_parquet(folder / "examples.parquet"),
            json.loads((folder / "summary.json").read_text()),
        )
    return outputs, found


def test_the_chain_is_built_once_and_shared(runs):
    outputs, found = runs
    base, sft, dpo = (found[name][0] for name in ("base", "sft", "dpo"))
    assert dpo.needs[0] == sft.needs[0] == base.needs[0] and dpo.needs[1] == sft.needs[1]
    assert len(list((outputs / "stages" / "training").glob("*/stage.json"))) == 3
    (pairs,) = (outputs / "stages" / "preference_pairs").glob("*/pairs.jsonl")
    assert len(pairs.read_text().splitlines()) > 2


def test_base_is_no_distance_from_itself_and_training_moves_away(runs):
    _, found = runs
    distances = [found[name][2]["kl_to_base"] for name in ("base", "sft", "dpo")]
    assert distances[0] == pytest.approx(0, abs=1e-5)
    assert 1e-5 < distances[1] < distances[2]
    assert (found["dpo"][1]["kl_to_base"] > -1e-6).all()


def test_every_example_has_all_measures(runs):
    _, found = runs
    frame = found["dpo"][1]
    assert len(frame) == 8 and not frame.isna().any().any()
    assert frame["example_id"].tolist() == found["base"][1]["example_id"].tolist()


def test_values_are_read_from_the_same_weights(runs):
    _, found = runs
    cell, frame, scores = found["values"]
    assert cell.needs[:2] == found["sft"][0].needs[:2]
    assert {"separates", "return_correlation", "end_spread"} <= set(scores)
    assert all(len(good) == len(bad) > 1 for good, bad in zip(frame.good_values, frame.corrupted_values, strict=True))
