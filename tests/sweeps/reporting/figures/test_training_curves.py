"""Training curves: read from run logs, smoothed, drawn for the rows that have them."""

import json

import numpy as np
import pytest

from sweeps.reporting.figures import training_curves


def log(folder, name, values, every=10):
    folder.mkdir()
    path = folder / "metrics.jsonl"
    rows = [{"step": every * (index + 1), "time": 0.0, name: value} for index, value in enumerate(values)]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def test_a_curve_runs_over_shares_of_the_training(tmp_path):
    places, values = training_curves.read(log(tmp_path / "a", "train/mu", [0.5, 0.25, 0.125, 0.0]), "train/mu")
    assert places.tolist() == [0.25, 0.5, 0.75, 1.0] and values.tolist() == [0.5, 0.25, 0.125, 0.0]
    assert training_curves.read(tmp_path / "a" / "metrics.jsonl", "train/reward") is None
    assert training_curves.read(tmp_path / "none.jsonl", "train/mu") is None


def test_smoothing_is_a_mean_of_neighbours_that_keeps_constants():
    values = np.zeros(40)
    values[20] = 3.0
    assert training_curves.smoothed(values)[19:22].tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert training_curves.smoothed(np.full(100, 2.0)).tolist() == pytest.approx([2.0] * 100)


def test_rows_without_the_metric_have_no_line(tmp_path):
    runs = {
        "AMFT": [log(tmp_path / "a", "train/mu", [0.5, 0.4]), log(tmp_path / "b", "train/mu", [0.5, 0.2])],
        "SFT": [log(tmp_path / "c", "train/loss", [1.0])],
    }
    figure = training_curves.draw(runs, ["train/mu"])
    (line,) = figure.axes[0].lines
    assert line.get_label() == "AMFT" and line.get_ydata()[-1] == pytest.approx(0.3)
    assert training_curves.draw(runs, ["train/reward"]) is None
    written = training_curves.write(runs, ["train/mu"], tmp_path)
    assert [path.name for path in written] == ["training_curves.png", "training_curves.svg"]
    assert training_curves.write(runs, [], tmp_path) == []


def test_a_line_begins_where_its_first_value_was_logged(tmp_path):
    path = log(tmp_path / "a", "train/mu", [1.0, 1.0, 1.0, 1.0])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[2]["train/reward"], rows[3]["train/reward"] = 0.5, 0.7
    path.write_text("\n".join(json.dumps(row) for row in rows))
    (line,) = training_curves.draw({"a": [path]}, ["train/reward"]).axes[0].lines
    places, values = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    assert np.isnan(values[places < 0.75]).all() and values[75] == pytest.approx(0.5) and values[-1] == 0.7
