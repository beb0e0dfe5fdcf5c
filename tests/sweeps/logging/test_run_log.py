"""metrics.jsonl: what is logged, what a kill leaves, what a resumed run keeps."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sweeps.logging.run_log import MetricsFile, RunLog, read_metrics
from tests.sweeps.forking import CONTEXT

ROOT = Path(__file__).resolve().parents[3]


def open_log(folder, **changes):
    options = {
        "wandb": None,
        "project": "papergrid",
        "entity": None,
        "run_id": "0a1b-1",
        "name": "row seed 0",
        "group": "re/main",
        "job_type": "training",
        "tags": ("re", "re/main"),
        "config": {"seed": 0},
    }
    return RunLog(folder, **{**options, **changes})


def rows(folder):
    found = read_metrics(folder / "metrics.jsonl")
    return [{key: value for key, value in row.items() if key != "time"} for row in found]


def loss(step):
    return 1 / (step + 1)


def train(folder, first, last, resume_step=None, error=None):
    with open_log(folder, resume_step=resume_step) as log:
        for step in range(first, last + 1):
            log.metrics(step, {"train/loss": loss(step)})
            if step % 5 == 0:
                log.metrics(step, {"dev/macro_f1": 100 * loss(step)})
            if step == last and error:
                raise error


def test_rows_are_on_disk_as_soon_as_they_are_logged(tmp_path):
    before = time.time()
    with open_log(tmp_path) as log:
        log.metrics(3, {"train/loss": 0.25, "lr": 1e-5})
        (row,) = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        assert list(row) == ["step", "time", "train/loss", "lr"]
        assert (row["step"], row["train/loss"], row["lr"]) == (3, 0.25, 1e-5)
        assert before - 0.001 <= row["time"] <= time.time() + 0.001


def test_scalars_of_other_libraries_and_non_finite_values(tmp_path):
    with open_log(tmp_path) as log:
        log.metrics(np.int64(1), {"a": np.float32(0.5), "b": np.int64(7), "c": float("nan"), "d": math.inf, "e": True})
        log.metrics(2, {})
    (row,) = rows(tmp_path)
    assert math.isnan(row.pop("c"))
    assert row == {"step": 1, "a": 0.5, "b": 7, "d": math.inf, "e": 1}


@pytest.mark.parametrize("values", [{"a": "0.5"}, {"a": None}, {"a": [1.0]}, {"a": np.zeros(2)}])
def test_a_value_that_is_no_number_is_refused_by_name(tmp_path, values):
    with open_log(tmp_path) as log, pytest.raises(ValueError, match=r"metric 'a' is .*: give one number"):
        log.metrics(1, values)


@pytest.mark.parametrize("name", ["step", "time"])
def test_reserved_names_are_refused(tmp_path, name):
    with open_log(tmp_path) as log, pytest.raises(ValueError, match=f"called '{name}'"):
        log.metrics(1, {name: 1.0})


def test_labels_are_checked_without_wandb_too(tmp_path):
    with open_log(tmp_path) as log:
        log.confusion(["x"], [""], ["x", "y"])
        with pytest.raises(ValueError, match="2 gold labels and 1 predictions"):
            log.confusion(["x", "y"], ["x"], ["x", "y"])
        with pytest.raises(ValueError, match="gold label 'z' is not among the 2 labels"):
            log.confusion(["z"], ["x"], ["x", "y"])


def test_a_finished_log_takes_no_more(tmp_path):
    log = open_log(tmp_path)
    log.finish()
    log.finish()
    with pytest.raises(ValueError, match="this log is finished"):
        log.metrics(1, {"a": 1.0})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("wandb", "onlin"),
        ("run_id", "a/b"),
        ("run_id", ""),
        ("project", "x" * 129),
        ("project", "a:b"),
    ],
)
def test_what_wandb_would_refuse_is_refused_before_anything_is_written(tmp_path, option, value):
    with pytest.raises(ValueError, match="give"):
        open_log(tmp_path / "run", **{"wandb": "offline", option: value})
    assert not (tmp_path / "run").exists()


def test_a_new_run_starts_an_empty_file(tmp_path):
    train(tmp_path, 1, 7)
    train(tmp_path, 1, 2, resume_step=0)
    assert [row["step"] for row in rows(tmp_path)] == [1, 2]


@pytest.mark.parametrize("checkpoint", [4, 5, 10])
def test_a_resumed_file_equals_an_undisturbed_one(tmp_path, checkpoint):
    train(tmp_path / "whole", 1, 20)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", 1, 12, error=KeyboardInterrupt())
    with (tmp_path / "cut" / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 13, "time": 17')
    train(tmp_path / "cut", checkpoint + 1, 20, resume_step=checkpoint)
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes().endswith(b"}\n")


def test_a_row_that_comes_again_at_the_resumed_step_is_kept_once(tmp_path):
    train(tmp_path / "whole", 1, 20)
    train(tmp_path / "cut", 1, 12)
    train(tmp_path / "cut", 5, 20, resume_step=5)
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


def test_a_negative_resume_step_is_refused(tmp_path):
    with pytest.raises(ValueError, match="resume_step is -1"):
        open_log(tmp_path, resume_step=-1)


def test_kept_rows_keep_their_times(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.append({"step": 1, "time": 12.5, "a": 1.0})
    file.append({"step": 9, "time": 13.5, "a": 1.0})
    file.close()
    MetricsFile(tmp_path / "metrics.jsonl", 1).close()
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1, "time": 12.5, "a": 1.0}]


def log_until_killed(folder, pipe):
    log = open_log(folder)
    for step in range(1_000_000):
        log.metrics(step, {"train/loss": loss(step)})
        pipe.send(step)
    os._exit(1)


def test_a_killed_process_loses_no_row(tmp_path):
    mine, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=log_until_killed, args=(tmp_path, theirs))
    process.start()
    theirs.close()
    while mine.recv() < 200:
        pass
    process.kill()
    process.join()
    acknowledged = 200
    try:
        while mine.poll():
            acknowledged = mine.recv()
    except EOFError:
        pass
    kept = rows(tmp_path)
    assert [row["step"] for row in kept] == list(range(len(kept)))
    assert len(kept) > acknowledged
    assert all(row["train/loss"] == loss(row["step"]) for row in kept)


def test_logging_imports_neither_torch_nor_wandb():
    code = (
        "import sys, sweeps.logging.run_log, sweeps.execution.progress, sweeps.logging.wandb_run; "
        "print([name for name in ('torch', 'wandb', 'lightning', 'pandas') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
