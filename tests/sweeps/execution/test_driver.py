"""The driver against an engine that plays out a script of endings; no cell really runs."""

import errno
import json
import os
import signal
import time
from collections import defaultdict

import pytest

from sweeps import run as runs
from sweeps.engines.protocol import Ended
from sweeps.engines.serial import SerialEngine
from sweeps.errors import UserError
from sweeps.execution import driver
from sweeps.execution.driver import drive
from sweeps.execution.failures import Preempted, classify
from sweeps.execution.stages import StageStore, write_atomically
from sweeps.run import BUSY, Job


def job(tmp_path, name, needs=()):
    return Job(name, f"t-{name}", f"s-{name}", {}, {}, (), str(tmp_path), needs=tuple(needs))


class Scripted:
    """Ends each job as its script says: "done", a failure class, or an exit status."""

    def __init__(self, script, slots=2, on_done=lambda job: None):
        self.script, self.slots, self.on_done = defaultdict(list, script), slots, on_done
        self.running, self.started, self.most, self.cancelled, self.together = [], [], 0, False, []

    def submit(self, job):
        self.running.append(job)
        self.started.append(job.signature)
        self.most = max(self.most, len(self.running))
        self.together.append({other.signature for other in self.running})

    def poll(self):
        job = self.running.pop(0)
        step = self.script[job.signature].pop(0) if self.script[job.signature] else "done"
        job.folder.mkdir(parents=True, exist_ok=True)
        if step == "done":
            (job.folder / "done.json").write_text("{}")
            self.on_done(job)
            return [Ended(job, 0)]
        if isinstance(step, str):
            (job.folder / "failed.json").write_text(json.dumps({"class": step, "reason": f"why {step}"}))
            return [Ended(job, 1)]
        return [Ended(job, step)]

    def cancel(self):
        self.cancelled = True


def run(tmp_path, jobs, script, **keywords):
    engine = Scripted(script, **{key: keywords.pop(key) for key in ("slots", "on_done") if key in keywords})
    return drive(jobs, engine, StageStore(tmp_path / "stages"), **keywords), engine


def test_all_cells_run_within_the_slots(tmp_path):
    outcome, engine = run(tmp_path, [job(tmp_path, name) for name in "abcde"], {})
    assert sorted(outcome.finished) == list("abcde") and engine.most == 2


def test_a_failed_cell_is_recorded_and_the_rest_carried_on(tmp_path):
    outcome, _ = run(tmp_path, [job(tmp_path, name) for name in "abc"], {"b": ["bug"]})
    assert outcome.failed == {"b": "bug: why bug"} and sorted(outcome.finished) == ["a", "c"]


@pytest.mark.parametrize("kind", ["nan", "bad-data", "bug", "disk"])
def test_what_would_fail_again_is_not_retried(tmp_path, kind):
    outcome, engine = run(tmp_path, [job(tmp_path, "a"), job(tmp_path, "b")], {"a": [kind]})
    assert engine.started.count("a") == 1 and "a" in outcome.failed


def test_killed_and_preempted_cells_are_retried_then_given_up(tmp_path):
    jobs = [job(tmp_path, name) for name in "abc"]
    outcome, engine = run(tmp_path, jobs, {"a": [-9, "preempted"], "b": [-9, -9, -9]}, retries=2)
    assert "a" in outcome.finished and engine.started.count("a") == 3
    assert outcome.failed == {"b": "killed: killed by signal 9"} and engine.started.count("b") == 3


def test_a_cell_out_of_memory_is_tried_once_more_alone(tmp_path):
    jobs = [job(tmp_path, name) for name in "abcd"]
    outcome, engine = run(tmp_path, jobs, {"a": ["oom"]})
    assert "a" in outcome.finished
    again = [index for index, name in enumerate(engine.started) if name == "a"][1]
    assert engine.together[again] == {"a"}


def test_a_cell_that_another_driver_runs_is_awaited(tmp_path):
    outcome, engine = run(tmp_path, [job(tmp_path, "a")], {"a": [BUSY]})
    assert outcome.finished == ["a"] and engine.started.count("a") == 2


def test_stops_early_when_the_first_cells_fail_alike(tmp_path):
    script = {name: ["bug"] for name in "abcdefgh"}
    outcome, engine = run(tmp_path, [job(tmp_path, name) for name in "abcdefgh"], script, slots=1)
    assert outcome.stopped_early == "bug: why bug" and len(engine.started) == 3


def test_cells_that_would_only_wait_for_the_same_weights_do_not_start_together(tmp_path):
    stages = StageStore(tmp_path / "stages")
    jobs = [job(tmp_path, "a", ["base"]), job(tmp_path, "b", ["base"]), job(tmp_path, "c")]
    outcome, engine = run(
        tmp_path,
        jobs,
        {},
        on_done=lambda job: [stages.get("training", need, lambda folder: None) for need in job.needs],
    )
    assert sorted(outcome.finished) == list("abc")
    assert {"a", "b"} not in engine.together and {"a", "c"} in engine.together


def test_an_interrupt_cancels_the_engine(tmp_path):
    engine = Scripted({})

    def interrupt(outcome, running):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive([job(tmp_path, "a"), job(tmp_path, "b")], engine, StageStore(tmp_path / "stages"), watch=interrupt)
    assert engine.cancelled


def test_a_full_disk_stops_one_cell_and_the_same_jobs_finish_afterwards(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    jobs = [job(tmp_path, "a"), job(tmp_path, "b")]
    with monkeypatch.context() as patch:
        patch.setattr(driver, "fail", full)
        outcome, _ = run(tmp_path, jobs, {"a": [1]})
    assert list(outcome.failed) == ["a"] and outcome.failed["a"].startswith("disk: ")
    assert "b" not in outcome.failed and "make room" in outcome.stopped_early
    again, _ = run(tmp_path, [one for one in jobs if one.signature not in outcome.finished], {})
    assert "a" in again.finished and set(outcome.finished) | set(again.finished) == {"a", "b"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError("5 GiB"), "oom"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "oom"),
        (FloatingPointError("loss is nan"), "nan"),
        (UserError("no such file"), "bad-data"),
        (ValueError("row 3 has no label"), "bad-data"),
        (Preempted("SIGTERM"), "preempted"),
        (KeyboardInterrupt(), "killed"),
        (KeyError("x"), "bug"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk"),
        (RuntimeError("PytorchStreamWriter failed writing file: No space left on device"), "disk"),
        (OSError(errno.EACCES, "Permission denied"), "bug"),
    ],
)
def test_errors_have_their_class(error, kind):
    assert classify(error) == kind


def test_an_error_made_of_a_full_disk_is_one():
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as cause:
            raise ValueError("the checkpoint could not be written") from cause
    except ValueError as error:
        assert classify(error) == "disk"


def told_to_end():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)


def test_what_a_library_makes_of_an_order_to_go_is_recorded_as_preemption(tmp_path, monkeypatch):
    def converts(_):
        try:
            told_to_end()
        except Preempted:
            raise RuntimeError("a callback failed") from None

    monkeypatch.setattr(runs, "_run", converts)
    cell = job(tmp_path, "a")
    assert runs.execute(cell) == 1
    record = json.loads((cell.folder / "failed.json").read_text())
    assert (record["class"], record["reason"]) == ("preempted", "the process was told to end (SIGTERM)")
    assert "a callback failed" in record["traceback"]


def test_an_order_to_an_earlier_cell_of_the_process_excuses_no_bug(tmp_path, monkeypatch):
    cell = job(tmp_path, "a")
    monkeypatch.setattr(runs, "_run", lambda _: told_to_end())
    assert runs.execute(cell) == 1
    assert json.loads((cell.folder / "failed.json").read_text())["class"] == "preempted"

    def breaks(_):
        raise KeyError("a fault of the cell")

    monkeypatch.setattr(runs, "_run", breaks)
    assert runs.execute(cell) == 1
    assert json.loads((cell.folder / "failed.json").read_text())["class"] == "bug"


def test_a_cell_that_met_a_full_disk_is_recorded_and_the_same_command_finishes_it(tmp_path, monkeypatch):
    one, full = job(tmp_path, "a"), [True]

    def cell(job):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_atomically(job.folder / "done.json", "{}")

    monkeypatch.setattr("sweeps.run._run", cell)
    outcome = drive([one], SerialEngine(threads=1), StageStore(tmp_path / "stages"))
    assert outcome.failed == {"a": "disk: OSError: [Errno 28] No space left on device"}
    assert {path.name for path in one.folder.iterdir()} == {"failed.json"}
    full.clear()
    assert drive([one], SerialEngine(threads=1), StageStore(tmp_path / "stages")).finished == ["a"]


def test_reasons_that_differ_in_their_figures_alone_are_the_same_failure():
    reasons = ["oom: out of memory: 0.82 GiB", "oom: out of memory: 0.79 GiB", "oom: out of memory: 1.2 GiB"]
    assert driver._systematic(driver.Outcome(failed=dict(zip("abc", reasons, strict=True)))) == reasons[0]
    other = driver.Outcome(failed=dict(zip("abc", [*reasons[:2], "nan: the loss is nan"], strict=True)))
    assert driver._systematic(other) == ""
