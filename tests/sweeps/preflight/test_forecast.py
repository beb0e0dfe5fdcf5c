"""Plans of hand-made cells: what they share, what they take, whether they fit."""

import json

import pytest

from sweeps.execution.ledger import Ledger
from sweeps.preflight import forecast as forecasts
from sweeps.preflight.forecast import Machine, forecast, running_order
from sweeps.preflight.plan_view import duration, lines
from tests.sweeps.made_outputs import CONFIG, begin, built, changed, finish, made_cell, stop

ROOMY = Machine(64000.0, None)
BASE = {"data": CONFIG["data"], "method": CONFIG["method"], "trainer": {"max_epochs": 1}, "seed": 0, "base": None}


def plan_of(outputs, cells, machine=ROOMY, drifted=None):
    return forecast(cells, Ledger(outputs), drifted or {}, machine)


def test_states_rows_and_totals(tmp_path):
    cells = [made_cell(name, row=f"row {name}", seed=seed) for name, seed in (("a", 0), ("b", 1), ("c", 2), ("d", 3))]
    finish(tmp_path, cells[0], finished=1000, seconds=50, training=40)
    stop(tmp_path, cells[1], "nan", "loss became NaN")
    built(tmp_path, "t-c", seconds=40, at=0)
    shared = made_cell("a", row="another row")
    plan = plan_of(tmp_path, [*cells, shared])
    assert [one.state for one in plan.cells] == ["done", "failed", "cached", "missing"]
    assert plan.cells[0].rows == ("row a", "another row") and plan.open_cells == 3
    assert plan.cells[1].remarks == ("failed (nan): loss became NaN",)
    # b and d: 50 s each as measured; c has its weights and needs the other 10 s.
    assert plan.work == 110 and plan.workers == 2 and plan.wall == 55
    assert plan.wall_low < plan.wall < plan.wall_high


def test_nothing_left_takes_no_time(tmp_path):
    cell = made_cell("a")
    finish(tmp_path, cell, finished=1000, seconds=50, training=40)
    plan = plan_of(tmp_path, [cell])
    assert (plan.open_cells, plan.work, plan.wall) == (0, 0, 0) and lines(plan) == ["1 cells, 0 to run"]


def test_a_run_of_older_code_counts_as_done(tmp_path):
    cell = made_cell("a")
    assert plan_of(tmp_path, [cell], drifted={"a": cell}).cells[0].state == "done"


def test_a_base_model_is_one_training_for_all_its_cells_and_comes_first(tmp_path):
    config = changed(CONFIG, base=BASE)
    cells = [made_cell(name, seed=seed, config=config, needs=("base", f"t-{name}")) for seed, name in enumerate("abcd")]
    plan = plan_of(tmp_path, cells)
    (stage,) = plan.stages
    assert (stage.key, stage.what, stage.shared_by, stage.state) == ("base", "base model", 4, "missing")
    assert stage.cost.seconds == 60
    # Four cells of 130 s on two workers, after the base model's 60 s, for which all wait.
    assert plan.work == 4 * 130 + 60 and plan.wall == 60 + 4 * 130 / 2
    built(tmp_path, "base", seconds=61, at=0)
    plan = plan_of(tmp_path, cells)
    assert plan.stages[0].state == "done" and plan.stages[0].cost is None and plan.work == 4 * 130


def test_a_chain_of_base_models_is_listed_innermost_first(tmp_path):
    config = changed(CONFIG, base={**BASE, "base": BASE})
    plan = plan_of(tmp_path, [made_cell("a", config=config, needs=("inner", "outer", "t-a"))])
    assert [stage.key for stage in plan.stages] == ["inner", "outer"]
    assert plan.work == 130 + 60 + 60


def test_what_cells_retrieve_in_common_is_listed_with_its_fan_out(tmp_path):
    def cell(name, retriever, neighbours="labelled", **data):
        data = {**data, "prompt": {"neighbours": neighbours, "k": 1}}
        data["retriever"] = {"_target_": f"data.retrieval.{retriever}.R", "view": "sentence"}
        return made_cell(name, config=changed(CONFIG, data={**CONFIG["data"], **data}))

    cells = [
        cell("a", "sbert"),
        cell("b", "sbert", batch_size=8),
        cell("c", "bm25"),
        cell("d", "sbert", files={"train": "other"}),
        cell("e", "tfidf", neighbours="none"),
        cell("f", "tfidf", neighbours="none"),
    ]
    (stage,) = plan_of(tmp_path, cells).stages
    assert (stage.kind, stage.what, stage.shared_by) == ("neighbours", "neighbours by sbert on d", 2)
    assert not stage.known
    assert stage.state.startswith("built by the first cell") and stage.cost is None
    finish(tmp_path, cells[1], finished=1, seconds=9)
    (stage,) = plan_of(tmp_path, cells).stages
    assert stage.state == "done"
    assert lines(plan_of(tmp_path, cells))[0] == "neighbours by sbert on d: shared by 2 cells, done"


def test_pairs_and_their_scores_are_listed_with_their_fan_out(tmp_path):
    def cell(name, seed=0, **method):
        data = {"writers": ["one", "two"], "pivot": "pivot", "half": "preference", "sampling_seed": seed, "seed": seed}
        sources = {source: {"of": source, "method": {"tune": False}} for source in ("one", "two", "pivot")}
        return made_cell(name, config=changed(CONFIG, data={**CONFIG["data"], **data}, sources=sources, method=method))

    fused = {"objective": {"reads_sources": True, "blended": False}, "sources": ["one", "two"]}
    plain = {"objective": {"reads_sources": False, "blended": False}, "sources": ["one"]}
    cells = [cell("a", **fused), cell("b", **{**fused, "clip": False}), cell("c", **plain)]
    cells += [cell("d", seed=1, **fused), cell("e", seed=1, **plain)]
    plan = plan_of(tmp_path, cells)
    assert [(stage.kind, stage.shared_by) for stage in plan.stages] == [
        ("preference_candidates", 3), ("source_logps", 2), ("source_logps", 2), ("preference_candidates", 2)
    ]  # fmt: skip
    said = lines(plan)
    assert said[0].startswith("responses of 3 models, for preferences: shared by 3 cells")
    assert said[1].startswith("log-probabilities of the pairs under one: shared by 2 cells")


def test_passages_for_test_questions_are_shared_whatever_a_reader_was_trained_on(tmp_path):
    def cell(name, by, train="a", **evaluation):
        retriever = {"_target_": "data.retrieval.dense.Dense", "encoder": {"_target_": f"data.retrieval.{by}.Encoder"}}
        data = {**CONFIG["data"], "train": {"retriever": train}}
        return made_cell(name, config=changed(CONFIG, data=data, evaluation={"retriever": retriever, **evaluation}))

    cells = [cell("a", "trained"), cell("b", "trained", train="b"), cell("c", "tfidf_svd"), cell("d", "trained", k=5)]
    (stage,) = plan_of(tmp_path, cells).stages
    assert (stage.kind, stage.what, stage.shared_by) == ("passages", "passages by trained on d", 3)


def test_trainings_that_differ_in_their_seed_are_said_in_one_line(tmp_path):
    def cells(seed):
        config = changed(CONFIG, base={**BASE, "seed": seed})
        own = [(f"{seed}-{n}", n) for n in (0, 1)]
        return [made_cell(name, seed=n, config=config, needs=(f"base-{seed}", f"t-{name}")) for name, n in own]

    plan = plan_of(tmp_path, [*cells(0), *cells(1), *cells(2)])
    assert len(plan.stages) == 3
    said = [line for line in lines(plan) if "shared" in line]
    assert said == ["3 base models (d): each shared by 2 cells, built once, 60 (30-120) prior s each"]
    assert len(forecasts.as_json(plan, "re/main", "paper")["stages"]) == 3


def test_long_cells_start_before_middling_ones_and_short_ones_before_all(tmp_path):
    def cell(name, epochs):  # 10 s, and 60 s for every pass
        return made_cell(name, config=changed(CONFIG, trainer__max_epochs=epochs))

    cells = [cell("middling", 2), cell("long", 9), cell("short", 0.5), cell("also middling", 2), cell("shorter", 0.1)]
    order = [one.signature for one in running_order(cells, Ledger(tmp_path))]
    assert order == ["short", "shorter", "long", "middling", "also middling"]


def test_weights_that_several_evaluations_share_are_trained_once(tmp_path):
    first, second = (
        made_cell(name, config=changed(CONFIG, evaluation__limit=limit)) for name, limit in (("a", None), ("b", 10))
    )
    second = type(second)(**{**vars(second), "training": "t-a", "needs": ("t-a",)})
    plan = plan_of(tmp_path, [first, second])
    (stage,) = plan.stages
    assert (stage.key, stage.what, stage.shared_by) == ("t-a", "trained weights", 2)
    assert plan.work == 120 + 10 + 10


@pytest.mark.parametrize(
    ("changes", "machine", "fits", "said"),
    [
        ({}, Machine(1024, None), True, ""),
        ({}, Machine(1023, None), False, "does not fit: 1.0 GiB, this machine has 1.0 GiB"),
        ({}, Machine(99999, 512), False, "the GPU has 0.5 GiB"),
        ({"trainer__accelerator": "cpu"}, Machine(99999, 512), True, ""),
        ({"trainer__accelerator": "cuda"}, Machine(99999, None), False, "asks for a GPU"),
        ({"engine": {"name": "local", "workers": 1, "memory_gib": 0.5}}, ROOMY, False, "over engine.memory_gib=0.5"),
        ({"engine": {"name": "slurm", "partition": None, "parallel": 8}}, Machine(1, None), None, ""),
    ],
)
def test_whether_a_cell_fits_is_said_with_the_reason(tmp_path, changes, machine, fits, said):
    one = plan_of(tmp_path, [made_cell("a", config=changed(CONFIG, **changes))], machine).cells[0]
    assert one.fits is fits and said in " ".join(one.remarks) and bool(said) == bool(one.remarks)


def test_cells_that_fit_one_by_one_may_not_fit_at_once(tmp_path):
    cells = [made_cell("a"), made_cell("b", seed=1)]
    (remark,) = plan_of(tmp_path, cells, Machine(1500, None)).remarks
    assert "2 cells at once may need 2.0 GiB" in remark and "engine.workers=1" in remark
    assert not plan_of(tmp_path, cells, Machine(2048, None)).remarks


@pytest.mark.parametrize(
    ("engine", "workers"),
    [
        ({"name": "local", "workers": 3}, 3),
        ({"name": "slurm", "partition": None, "parallel": 64}, 64),
        ({"name": "ray", "address": None, "workers": "auto"}, None),
        ({"name": "ray", "address": None, "workers": 5}, 5),
    ],
)
def test_workers_are_known_without_starting_anything(engine, workers):
    assert forecasts.slots(changed(CONFIG, engine=engine)) == workers


def test_absent_inputs_are_remarks_and_their_names_unknown(tmp_path):
    reason = "weights 'x/y' are neither a folder nor in the local hub cache: run `hf download x/y`"
    lacking = made_cell("a", absent=(reason,), needs=("base", "t-a"), config=changed(CONFIG, base=BASE))
    plan = plan_of(tmp_path, [lacking])
    value = json.loads(json.dumps(forecasts.as_json(plan, "re/main", "paper")))
    (cell,), (stage,) = value["cells"], value["stages"]
    assert (cell["state"], cell["signature"], cell["remarks"]) == ("missing", None, [reason])
    assert stage["key"] is None and lines(plan)[:2] == [
        "base model - (d): shared by 1 cell, built once, 60 (30-120) prior s",
        f"! all 1 cell: {reason}",
    ]


def test_json_says_all_that_a_plan_knows(tmp_path):
    running = made_cell("b", seed=1)
    begin(tmp_path, running, since=0)
    value = forecasts.as_json(plan_of(tmp_path, [made_cell("a"), running]), "re/main", "tiny")
    assert [cell["state"] for cell in value["cells"]] == ["missing", "running"]
    for key in (
        "row",
        "rows",
        "seed",
        "signature",
        "training",
        "state",
        "needs",
        "seconds",
        "low",
        "high",
        "mebibytes",
        "mebibytes_low",
        "mebibytes_high",
        "basis",
        "fits",
        "remarks",
        "overrides",
    ):
        assert key in value["cells"][0], key
    assert value["cell_seconds"] == 260 and value["range"][0] < value["wall_seconds"] < value["range"][1]
    assert not list(tmp_path.glob("sweeps")), "planning writes nothing"


@pytest.mark.parametrize(
    ("seconds", "said"), [(42, "42 s"), (90, "1.5 min"), (5400, "1.5 h"), (172799, "48.0 h"), (259200, "3.0 days")]
)
def test_durations_are_written_as_people_do(seconds, said):
    assert duration(seconds) == said
