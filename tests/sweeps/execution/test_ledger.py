"""Predictions of the ledger, by hand."""

import pytest

from sweeps.execution import ledger as ledgers
from sweeps.execution.ledger import Ledger, training_size
from tests.sweeps.made_outputs import CONFIG, built, changed, finish, made_cell


def test_prior_is_start_training_and_prediction(tmp_path):
    cost = Ledger(tmp_path).cost(made_cell("a"))
    assert (cost.seconds, cost.low, cost.high) == (130, 65, 260)
    assert (cost.mebibytes, cost.basis) == (1024, "prior")
    assert cost.mebibytes_low < 1024 < cost.mebibytes_high


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({"data__train_limit": 500}, 4 + 30 + 6),
        ({"trainer__max_epochs": 0.5}, 4 + 30 + 6),
        ({"trainer__max_epochs": None, "trainer__max_steps": 100}, 4 + 100 * 4 * 0.03 + 6),
        ({"method__tune": False}, 4 + 6),
        ({"method__cost": {"start_seconds": 1, "train_seconds_per_step": 0.01}}, 1 + 1000 * 0.01),
        ({"method__cost": {"start_seconds": 1, "predict_seconds_per_1000": 20}, "evaluation__limit": 50}, 1 + 1),
        ({"method__cost": None, "model": {"cost": {"start_seconds": 3, "train_seconds_per_1000": 1}}}, 3 + 4),
        ({"method__cost": None}, 5),
    ],
)
def test_prior_follows_shapes_and_the_figures_that_there_are(tmp_path, changes, seconds):
    assert Ledger(tmp_path).cost(made_cell("a", config=changed(CONFIG, **changes))).seconds == pytest.approx(seconds)


def test_trained_weights_are_not_paid_for_again(tmp_path):
    cell = made_cell("a")
    built(tmp_path, cell.training, seconds=99, at=0)
    assert Ledger(tmp_path).cost(cell).seconds == 10
    assert Ledger(tmp_path).training_cost(cell.config).seconds == 120


def test_a_finished_cell_corrects_the_same_cell_of_another_seed(tmp_path):
    finish(tmp_path, made_cell("a"), finished=1000, seconds=50, training=40, mebibytes=700)
    cost = Ledger(tmp_path).cost(made_cell("b", seed=1))
    assert (cost.seconds, cost.basis, cost.mebibytes) == (50, "measured", 700)
    assert cost.low < 50 < cost.high


def test_a_similar_cell_is_scaled_by_its_training_rows(tmp_path):
    finish(tmp_path, made_cell("a"), finished=1000, seconds=50, training=40)
    # A quarter of the rows: 10 s beside the training, 40 / 4 s of training.
    cost = Ledger(tmp_path).cost(made_cell("b", config=changed(CONFIG, data__train_limit=500)))
    assert (cost.seconds, cost.basis) == (20, "similar")


def test_other_cells_correct_the_prior_by_what_they_took_of_theirs(tmp_path):
    # 65 s where 130 were expected: everything else here is taken to be twice as fast, too.
    finish(tmp_path, made_cell("a"), finished=1000, seconds=65, training=60)
    cost = Ledger(tmp_path).cost(made_cell("b", config=changed(CONFIG, method__label="n", method___target_="m.N")))
    assert (cost.seconds, cost.basis) == (65, "corrected")


def test_a_base_model_trained_inside_a_run_is_not_counted_as_the_runs_own(tmp_path):
    cell = made_cell("a", needs=("base", "t-a"))
    built(tmp_path, "base", seconds=200, at=900)
    finish(tmp_path, cell, finished=1000, seconds=250, training=40)
    assert Ledger(tmp_path).cost(made_cell("b", seed=1)).seconds == 50


def test_a_base_model_that_was_there_before_takes_nothing_from_the_run(tmp_path):
    cell = made_cell("a", needs=("base", "t-a"))
    built(tmp_path, "base", seconds=200, at=100)
    finish(tmp_path, cell, finished=1000, seconds=50, training=40)
    assert Ledger(tmp_path).cost(made_cell("b", seed=1)).seconds == 50


def test_kinds_differ_by_what_is_work_and_not_by_rates_seeds_or_places():
    kind = ledgers.cost_kind(CONFIG)
    for same in ({"seed": 3}, {"engine__workers": 4}, {"data__train_limit": 7}, {"trainer__max_epochs": 9}):
        assert ledgers.cost_kind(changed(CONFIG, **same)) == kind
    assert ledgers.cost_kind(changed(CONFIG, method__beta=0.1)) == ledgers.cost_kind(changed(CONFIG, method__beta=0.5))
    for other in ({"method__label": "n"}, {"method__tune": False}, {"data__name": "e"}, {"data__batch_size": 8}):
        assert ledgers.cost_kind(changed(CONFIG, **other)) != kind


def test_exact_kinds_differ_by_everything_but_seeds():
    kind = ledgers.exact_kind(CONFIG)
    assert ledgers.exact_kind(changed(CONFIG, seed=3, method__seed=4)) == kind
    assert ledgers.exact_kind(changed(CONFIG, trainer__max_epochs=3)) != kind


def test_a_record_is_read_again_when_its_file_has_changed(tmp_path):
    path = tmp_path / "a.json"
    ledger = Ledger(tmp_path)
    assert ledger.record(path) == {}
    path.write_text('{"x": 1}')
    assert ledger.record(path) == {"x": 1}
    path.write_text('{"x": 22}')
    assert ledger.record(path) == {"x": 22}


def test_a_prompt_with_neighbours_counts_their_sentences():
    plain = training_size(CONFIG)
    shown = changed(CONFIG, data={**CONFIG["data"], "prompt": {"neighbours": "labelled", "k": 3}})
    hidden = changed(CONFIG, data={**CONFIG["data"], "prompt": {"neighbours": "none", "k": 3}})
    assert (training_size(shown), training_size(hidden)) == (4 * plain, plain)


def test_a_look_reads_only_runs_that_are_new_since_the_last(tmp_path, monkeypatch):
    read = []
    real = Ledger._read_finished

    def reading(self, path, *rest):
        read.append(path.parent.name)
        return real(self, path, *rest)

    monkeypatch.setattr(Ledger, "_read_finished", reading)
    ledger, wanted = Ledger(tmp_path), made_cell("z")
    finish(tmp_path, made_cell("a"), finished=10, seconds=20.0)
    (tmp_path / "runs" / "begun").mkdir()
    first = ledger.cost(wanted).seconds
    assert ledger.cost(wanted).seconds == first and read == ["a"]
    finish(tmp_path, made_cell("b"), finished=20, seconds=60.0)
    assert ledger.cost(wanted).seconds > first and read == ["a", "b"]
    (tmp_path / "runs" / "a" / "done.json").unlink()
    (tmp_path / "runs" / "a" / "receipt.json").unlink()
    (tmp_path / "runs" / "a").rmdir()
    assert ledger.cost(wanted).seconds > first and read == ["a", "b", "b"]  # what was deleted is forgotten


def test_small_runs_do_not_correct_large_ones(tmp_path):
    # Eight cells of seconds, which took a tenth of what their figures say, and a cell of 130 s.
    small = changed(CONFIG, data__train_limit=50)
    for number in range(8):
        config = changed(small, method__label=f"n{number}", method___target_=f"m.N{number}")
        finish(tmp_path, made_cell(f"s{number}", config=config), finished=1000, seconds=1.3, training=0.3)
    ledger = Ledger(tmp_path)
    large = made_cell("a")
    assert (ledger.cost(large).seconds, ledger.cost(large).basis) == (130, "prior")
    # What is as small as they are is corrected by them, ...
    other = made_cell("b", config=changed(small, method__label="o", method___target_="m.O"))
    assert ledger.cost(other).basis == "corrected" and ledger.cost(other).seconds == pytest.approx(1.3)
    # ... and the large one by one of about its size.
    alike = changed(CONFIG, method__label="l", method___target_="m.L")
    finish(tmp_path, made_cell("l", config=alike), finished=1000, seconds=100, training=90)
    assert (ledger.cost(large).seconds, ledger.cost(large).basis) == (100, "corrected")


def test_a_small_run_of_the_same_kind_is_not_scaled_to_a_large_one(tmp_path):
    # 1 s of overhead for 50 rows would be 40 s for 2,000.
    finish(tmp_path, made_cell("a", config=changed(CONFIG, data__train_limit=50)), finished=9, seconds=2, training=1)
    assert Ledger(tmp_path).cost(made_cell("b")).seconds == 130
    assert Ledger(tmp_path).cost(made_cell("b", config=changed(CONFIG, data__train_limit=100))).basis == "similar"


def test_a_run_that_was_tested_on_few_examples_says_nothing_of_a_whole_test(tmp_path):
    few = changed(CONFIG, evaluation__limit=20)
    finish(tmp_path, made_cell("a", config=few), finished=1000, seconds=121, training=120)
    assert Ledger(tmp_path).cost(made_cell("b")).basis == "prior"
    # Its training is the same, whatever it is tested on.
    other = changed(CONFIG, method__label="n", method___target_="m.N")
    assert Ledger(tmp_path).training_cost(other).basis == "corrected"


def test_a_run_at_another_scale_says_nothing(tmp_path):
    finish(tmp_path, made_cell("a", config={**CONFIG, "scale": "smoke"}), finished=1000, seconds=13, training=12)
    other = changed(CONFIG, method__label="n", method___target_="m.N")
    assert Ledger(tmp_path).cost(made_cell("b", config={**other, "scale": "tiny"})).seconds == 130
    assert Ledger(tmp_path).cost(made_cell("b", config={**other, "scale": "smoke"})).seconds == 13


@pytest.mark.parametrize(
    ("evaluation", "rows", "examples"),
    [
        ({"limit": None}, None, 1000), ({"limit": None}, 300, 300), ({"limit": 20}, 300, 20),
        ({"limit": None, "questions": 24}, 300, 24), ({"limit": None, "questions": None}, 300, 300),
    ],
)  # fmt: skip
def test_examples_are_those_that_are_asked_for(evaluation, rows, examples):
    config = {**CONFIG, "evaluation": evaluation, "data": {**CONFIG["data"], "cost": {"test_rows": rows}}}
    assert ledgers.test_examples(config) == examples
