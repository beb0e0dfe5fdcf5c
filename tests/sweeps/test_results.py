"""Results as frames: what the columns hold, on run folders written by hand."""

import json

import pandas as pd
import pytest

from sweeps import results
from sweeps.errors import UserError
from sweeps.planning.plan import Planner
from tests.sweeps.made_outputs import changed, finish, made_cell

CONFIG = {
    "seed": 3,
    "data": {"name": "facts", "k": 10, "retriever": {"_target_": "data.retrieval.bm25.BM25Retriever"}},
    "method": {"_target_": "m.M", "label": "rag_sft", "objective": None, "beta": 0.1, "model": {"name": "tiny_reader"}},
    "trainer": {"max_steps": None, "max_epochs": 2},
}


def test_axes_are_read_from_a_resolved_config():
    found = results.axes(CONFIG)
    assert found["seed"] == 3 and found["method"] == "rag_sft" and found["model"] == "tiny_reader"
    assert found["retriever"] == "BM25" and found["k"] == 10 and found["beta"] == 0.1 and found["max_epochs"] == 2
    assert found["objective"] is None and found["max_steps"] is None and found["mix"] is None
    none = results.axes({"retriever": {"_target_": "data.retrieval.none.NoRetriever"}})
    assert none["retriever"] is None
    dense = {"_target_": "data.retrieval.dense.DenseRetriever", "encoder": {"weights": "intfloat/e5-base-v2"}}
    assert results.axes(changed(CONFIG, data__retriever=dense))["retriever"] == "intfloat/e5-base-v2"


@pytest.mark.parametrize("method", ["dpo", "ipo", "infifpo"])
@pytest.mark.parametrize("typed", ["", *sorted(path.stem for path in results.OBJECTIVES.glob("*.yaml"))])
def test_the_objective_is_called_as_it_is_typed(method, typed):
    cell = ["experiment=preferences", f"method={method}", "data.files.train=mine.jsonl", "logger=none"]
    more = [f"objective={typed}"] if typed else []
    more += ["objective.source=mine", "method.sources=[mine]"] if typed == "single_reference" else []
    (found,) = Planner(lenient=True).by_hand([[*cell, *more]])
    axes = results.axes(found.config)
    assert axes["objective"] == (typed or method) and axes["beta"] == found.config["objective"]["beta"]


@pytest.fixture
def outputs(tmp_path):
    """Two finished runs of a table's two rows (the second shared by both), and one that did not end."""
    for number, name in enumerate(("aa", "bb")):
        cell = made_cell(name, seed=number)
        finish(tmp_path, cell, finished=1000.0 + number, seconds=5.0)
        folder = tmp_path / "runs" / name
        (folder / "config.yaml").write_text(json.dumps(cell.config))
        (folder / "summary.json").write_text(json.dumps({"accuracy": 50.0 + number}))
        (folder / "receipt.json").write_text(json.dumps({"commit": "c0ffee", "patch_sha256": "" if number else "ab"}))
        pd.DataFrame({"example_id": ["x", "y"], "right": [1, number]}).to_parquet(folder / "examples.parquet")
        lines = [json.dumps({"step": step, "train/loss": 1.0 / (step + 1), "time": 3.0}) for step in range(3)]
        (folder / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 3, "train/lo']))
    (tmp_path / "runs" / "cc").mkdir()
    table = tmp_path / "sweeps" / "p-t-tiny"
    table.mkdir(parents=True)
    (table / "receipt.json").write_text(json.dumps({"rows": {"one": {"0": "aa", "1": "bb"}, "two": {"1": "bb"}}}))
    (table / "claims.csv").write_text("claim,verdict\nfirst,holds\n")
    return tmp_path


def test_runs_are_those_that_ended_with_scores_cost_and_commit(outputs):
    frame = results.runs(outputs=outputs)
    assert frame.run.tolist() == ["aa", "bb"] and frame.accuracy.tolist() == [50.0, 51.0]
    assert frame.seed.tolist() == [0, 1] and frame.seconds.tolist() == [5.0, 5.0]
    assert frame.commit.tolist() == ["c0ffee"] * 2 and frame.dirty.tolist() == [True, False]
    assert frame.finished[1] == pd.Timestamp(1001, unit="s", tz="UTC") and "row" not in frame


def test_runs_of_a_sweep_have_its_rows_and_a_shared_run_each_of_its_rows(outputs):
    frame = results.runs(sweep="p-t-tiny", outputs=outputs)
    assert list(zip(frame.row, frame.run, strict=True)) == [("one", "aa"), ("one", "bb"), ("two", "bb")]


def test_examples_and_metrics_are_long_and_name_their_run(outputs):
    frame = results.examples(["aa", "bb", "aa"], outputs=outputs)
    assert frame.run.tolist() == ["aa", "aa", "bb", "bb"] and frame.right.tolist() == [1, 0, 1, 1]
    history = results.metrics("aa", outputs=outputs)
    assert history.metric.unique().tolist() == ["train/loss"] and history.value.tolist() == [1.0, 0.5, 1 / 3]
    assert results.metrics([], outputs=outputs).empty and results.examples([], outputs=outputs).empty


def test_claims_of_a_table(outputs):
    assert results.claims("p-t-tiny", outputs=outputs).verdict.tolist() == ["holds"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda at: results.runs(sweep="p-x-tiny", outputs=at), r"no table 'p-x-tiny' .* it has p-t-tiny"),
        (lambda at: results.claims("nothing", outputs=at), "no table 'nothing'"),
        (lambda at: results.examples("cc", outputs=at), "'cc' is unknown or did not end"),
        (lambda at: results.metrics("zz", outputs=at), "no run 'zz'"),
        (lambda at: results.metrics("..", outputs=at), "no run '..'"),
        (lambda at: results.runs(outputs=at / "absent"), "no folder .*absent"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(outputs, call, said):
    with pytest.raises(UserError, match=said) as caught:
        call(outputs)
    assert "\n" not in str(caught.value)
