"""What a look at a sweep says, from folders written by hand."""

import io
import json

import pytest
from rich.console import Console

from sweeps.execution.ledger import Ledger
from sweeps.reporting import status as watch
from tests.sweeps.made_outputs import begin, built, finish, made_cell, stop

NOW = 1_000_000.0
GONE = 2**22 - 1
"""A process id above the largest that Linux hands out by default."""


def look(outputs, *cells, now=NOW):
    return watch.look(cells, Ledger(outputs), {}, now)


def drawn(outputs, cells, width):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(watch.picture("a sweep", cells, look(outputs, *cells)))
    return console.file.getvalue()


def test_cells_an_hour_leave_out_the_hours_without_work():
    # Two cells of 100 s side by side, a night, one of 200 s: three cells in 300 s of work.
    spans = [(0, 100), (0, 100), (50000, 50200)]
    assert watch.per_hour(spans, [], 60000) == pytest.approx(3 * 3600 / 300)
    # A cell that has been running for 100 s beside nothing adds its time and no cell.
    assert watch.per_hour(spans, [50200], 50300) == pytest.approx(3 * 3600 / 400)
    assert watch.per_hour([], [0], 100) is None


def test_only_the_newest_cells_count():
    slow = [(number * 1000.0, number * 1000.0 + 1000) for number in range(30)]
    quick = [(30000.0 + number * 10, 30010.0 + number * 10) for number in range(watch.RECENT)]
    assert watch.per_hour([*slow, *quick], [], 31000) == pytest.approx(360)


def test_time_left_is_what_the_cells_still_need_over_how_many_run(tmp_path):
    cells = [made_cell(name, seed=seed) for seed, name in enumerate("abcd")]
    finish(tmp_path, cells[0], finished=NOW - 500, seconds=50, training=40)
    begin(tmp_path, cells[1], since=NOW - 20)
    begin(tmp_path, cells[2], since=NOW - 10)
    snapshot = look(tmp_path, *cells)
    # 50 s each as measured, 20 and 10 s of which are over: 30 + 40 + 50 = 120 s on two workers.
    assert snapshot.work == pytest.approx(120) and snapshot.left[1] == pytest.approx(60)
    assert snapshot.left[0] < 60 < snapshot.left[2] and not snapshot.ended
    assert [one.seconds for one in snapshot.running] == [20, 10]


def test_a_running_cell_is_judged_by_its_own_pace_once_it_has_one(tmp_path):
    cell = made_cell("a")
    progress = json.dumps({"phase": "train", "done": 90, "total": 100})
    begin(tmp_path, cell, since=NOW - 40, progress_json=progress)
    partial = tmp_path / "stages" / "training" / "t-a.partial"
    partial.mkdir(parents=True)
    # An earlier attempt came to step 70 long ago; this one makes a step in 3 s: ten more take 30 s.
    rows = [(10, NOW - 9000), (70, NOW - 8900), (80, NOW - 30), (90, NOW)]
    (partial / "metrics.jsonl").write_text("".join(json.dumps({"step": s, "time": t}) + "\n" for s, t in rows))
    assert look(tmp_path, cell).left[1] == pytest.approx(30)


def test_the_longest_cell_bounds_the_time_left(tmp_path):
    first, second = made_cell("a"), made_cell("b", seed=1)
    begin(tmp_path, first, since=NOW - 129)
    begin(tmp_path, second, since=NOW)
    # 13 s (a tenth) and 130 s: not half of the sum.
    assert look(tmp_path, first, second).left[1] == pytest.approx(130)


def test_weights_that_two_cells_share_are_counted_once(tmp_path):
    first, second = made_cell("a"), made_cell("b")
    second = type(second)(**{**vars(second), "training": "t-a", "needs": ("t-a",)})
    assert look(tmp_path, first, second).work == 130 + 10


def test_nobody_at_work_is_said_and_no_end_is_promised(tmp_path):
    snapshot = look(tmp_path, made_cell("a"))
    assert snapshot.left is None
    assert watch.headline(snapshot) == "1 missing; about 2.2 min of work left, nobody works on it"


def test_failures_and_stopped_and_lost_cells_are_told_apart(tmp_path):
    cells = [made_cell(name, seed=seed) for seed, name in enumerate("abc")]
    stop(tmp_path, cells[0], "nan", "the loss became NaN in step 7")
    stop(tmp_path, cells[1], "preempted", "told to end")
    begin(tmp_path, cells[2], since=NOW - 100, pid=GONE)
    snapshot = look(tmp_path, *cells)
    assert [(it.kind, it.resumes) for it in snapshot.troubles] == [
        ("failed (nan)", False),
        ("stopped (preempted)", True),
        ("lost", True),
    ]
    assert snapshot.troubles[0].reason == "the loss became NaN in step 7"
    assert f"process {GONE}" in snapshot.troubles[2].reason
    # What failed for good is no work left; the other two are.
    assert snapshot.work == 260 and watch.interrupted(snapshot) == (
        "interrupted: 2 stopped with their checkpoints kept, 1 failed"
    )


def test_a_running_cell_without_heartbeat_is_pointed_out(tmp_path):
    quiet, lively, young = (made_cell(name, seed=seed) for seed, name in enumerate("abc"))
    begin(tmp_path, quiet, since=NOW - 300, heartbeat=json.dumps({"time": NOW - 45}))
    begin(tmp_path, lively, since=NOW - 300, heartbeat=json.dumps({"time": NOW - 2}))
    begin(tmp_path, young, since=NOW - 5)
    warnings = [one.warning for one in look(tmp_path, quiet, lively, young).running]
    assert warnings[0].startswith("no heartbeat for 45 s (process ") and warnings[1:] == ["", ""]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"step": 3, "time": 1, "train/lr": 0.1, "train/loss": 0.51234}\n', "step 3: train/loss 0.5123"),
        ('{"step": 3, "train/loss": 1}\n{"step": 4, "train/lo', "step 3: train/loss 1"),
        ('{"step": 9, "accuracy": 0.5}\n[1]\n', "step 9: accuracy 0.5"),
        ('{"step": 9, "note": "x"}\n', ""),
        ("", ""),
    ],
)
def test_newest_metric_is_the_last_whole_row(tmp_path, content, said):
    path = tmp_path / "metrics.jsonl"
    assert watch.newest_metric(path) == ""
    path.write_text(content)
    assert watch.newest_metric(path) == said


@pytest.mark.parametrize("width", [80, 120])
def test_the_picture_fits_and_shows_everything(tmp_path, width):
    cells = [made_cell(name, seed=seed, row=f"A row [{name}] with a long name") for seed, name in enumerate("abcd")]
    finish(tmp_path, cells[0], finished=NOW - 10, seconds=50, training=40)
    begin(tmp_path, cells[1], since=NOW - 7, metrics_jsonl='{"step": 3, "train/loss": 0.5}\n')
    stop(tmp_path, cells[2], "oom", "over the memory limit")
    text = drawn(tmp_path, cells, width)
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.split())
    for words in ("[a]", "1 done", "1 running", "1 failed", "1 missing", "cells/h", "left (", "train/loss", "oom"):
        assert words in flat


def test_many_running_cells_are_cut_and_counted(tmp_path):
    cells = [made_cell(f"c{number}", seed=number) for number in range(20)]
    for cell in cells:
        begin(tmp_path, cell, since=NOW - 1)
    assert "8 more running" in drawn(tmp_path, cells, 100)


def test_another_look_from_another_process_says_the_same(tmp_path):
    cells = [made_cell(name, seed=seed) for seed, name in enumerate("ab")]
    finish(tmp_path, cells[0], finished=NOW - 10, seconds=50, training=40)
    begin(tmp_path, cells[1], since=NOW - 7)
    assert look(tmp_path, *cells) == look(tmp_path, *cells)


def test_a_cached_cell_is_short_work(tmp_path):
    cell = made_cell("a")
    built(tmp_path, "t-a", seconds=100, at=0)
    snapshot = look(tmp_path, cell)
    assert snapshot.states == {"a": "cached"} and snapshot.work == 10
