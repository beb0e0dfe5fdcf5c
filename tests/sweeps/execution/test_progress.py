"""What progress shows and when, and the heartbeat file."""

import io
import json
import os
import socket
import time

import pytest
from rich.console import Console

from sweeps.execution.progress import Bars, Heartbeat, is_stale, progress
from tests.sweeps.forking import in_fork


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def bars(terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)
    clock = Clock()
    return Bars(console, clock=clock), clock, console.file


def test_short_work_shows_nothing():
    for terminal in (False, True):
        shown, clock, out = bars(terminal)
        with shown:
            update = shown.phase("embed")
            clock.now += 1.9
            update(5, 10)
            shown.show()
            update(10, 10)
            clock.now += 60
        assert out.getvalue() == ""


def test_lines_come_after_two_seconds_then_every_ten_and_at_the_end():
    shown, clock, out = bars(terminal=False)
    update = shown.phase("embed sentences")
    times = []
    for second in range(41):
        update(100 * second, 4000)
        before = out.getvalue()
        shown.show()
        if out.getvalue() != before:
            times.append(second)
        clock.now += 1
    assert times == [2, 12, 22, 32, 40]
    lines = out.getvalue().splitlines()
    assert lines[0] == "embed sentences: 200/4,000 (5%), 2 s, about 38 s left"
    assert lines[-1] == "embed sentences: 4,000/4,000 (100%), 40 s"


def test_work_that_reports_nothing_is_named_all_the_same():
    shown, clock, out = bars(terminal=False)
    shown.phase("load weights [big]")
    clock.now += 3
    shown.show()
    assert out.getvalue() == "load weights [big]: 0, 3 s\n"


def test_a_broken_phase_says_how_far_it_came():
    shown, clock, out = bars(terminal=False)
    with pytest.raises(KeyError), shown:
        shown.phase("train")(7, 10)
        clock.now += 5
        raise KeyError("x")
    assert out.getvalue().splitlines()[-1].startswith("train: 7/10 (70%), 5 s")


def test_a_terminal_gets_a_bar():
    shown, clock, out = bars(terminal=True)
    with shown:
        first, second = shown.phase("embed"), shown.phase("search")
        clock.now += 3
        first(10, 10)
        second(1, 4)
        shown.show()
        second(4, 4)
    text = out.getvalue()
    assert "embed" in text and "10/10" in text and "search" in text and "4/4" in text and "━" in text


def test_the_block_shows_by_itself():
    console = Console(file=io.StringIO(), force_terminal=False)
    with progress("slow", console) as update:
        update(1, 2)
        assert console.file.getvalue() == ""
        time.sleep(2.6)
        assert console.file.getvalue().startswith("slow: 1/2 (50%), 2 s")


def test_heartbeat_beats_and_stops(tmp_path):
    path = tmp_path / "run" / "heartbeat"
    begun = time.time()
    with Heartbeat(path, every=0.05):
        first = json.loads(path.read_text())
        assert (first["pid"], first["host"]) == (os.getpid(), socket.gethostname())
        deadline = time.time() + 5
        while json.loads(path.read_text())["time"] == first["time"] and time.time() < deadline:
            time.sleep(0.01)
    last = json.loads(path.read_text())
    assert begun - 0.01 <= first["time"] < last["time"]
    time.sleep(0.2)
    assert json.loads(path.read_text()) == last
    assert list(path.parent.iterdir()) == [path]


def test_a_heartbeat_beats_in_a_fork(tmp_path):
    def work():
        with Heartbeat(tmp_path / "heartbeat", every=0.05):
            time.sleep(0.3)
            return os.getpid()

    assert in_fork(work) == json.loads((tmp_path / "heartbeat").read_text())["pid"]


def test_a_lost_folder_does_not_end_the_heartbeat(tmp_path):
    folder = tmp_path / "run"
    with Heartbeat(folder / "heartbeat", every=0.05):
        folder.rename(tmp_path / "away")
        time.sleep(0.2)
        (tmp_path / "away").rename(folder)
        before = json.loads((folder / "heartbeat").read_text())["time"]
        time.sleep(0.3)
        assert json.loads((folder / "heartbeat").read_text())["time"] > before


def test_staleness_is_told_from_the_time_written(tmp_path):
    path = tmp_path / "heartbeat"
    assert is_stale(path, now=0.0)
    path.write_text(json.dumps({"pid": 1, "host": "a", "time": 1000.0}))
    assert not is_stale(path, now=1030.0, limit=30)
    assert is_stale(path, now=1030.1, limit=30)
    for torn in ("", "{", "[]", '{"pid": 1}'):
        path.write_text(torn)
        assert is_stale(path, now=1000.0), torn


def test_a_heartbeat_without_an_interval_is_refused(tmp_path):
    with pytest.raises(ValueError, match="every is 0"):
        Heartbeat(tmp_path / "heartbeat", every=0)
