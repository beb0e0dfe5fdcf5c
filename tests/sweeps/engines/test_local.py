"""The local engine with scripted cells: no worker here needs torch."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sweeps.engines import local
from sweeps.engines.local import WARM, LocalEngine, preloaded
from sweeps.engines.serial import SerialEngine
from sweeps.errors import UserError
from sweeps.execution.driver import drive
from sweeps.execution.lease import alive
from sweeps.execution.stages import StageStore
from tests.sweeps.engine_cells import completions, history, job, scripted, unguarded

ROOT = Path(__file__).resolve().parents[3]


def engine(**keywords):
    return LocalEngine(**{"threads": 1, "workers": 2, "work": scripted, "warm": (), **keywords})


def collect(one, count=1, seconds=30):
    """What ended, by signature."""
    ended, deadline = {}, time.monotonic() + seconds
    while len(ended) < count:
        assert time.monotonic() < deadline, f"only {sorted(ended)} ended in {seconds} s"
        for entry in one.poll():
            ended[entry.job.signature] = entry
    return ended


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def record(outputs, name):
    return json.loads((outputs / "runs" / name / "failed.json").read_text())


def test_every_cell_runs_once_in_a_process_of_its_own_with_its_output_kept(tmp_path):
    outcome = drive([job(tmp_path, name) for name in "abcde"], engine(), StageStore(tmp_path / "stages"))
    assert sorted(outcome.finished) == list("abcde") and not outcome.failed
    assert completions(tmp_path) == dict.fromkeys("abcde", 1)
    processes = {json.loads((tmp_path / "runs" / name / "done.json").read_text())["pid"] for name in "abcde"}
    assert len(processes) == 5 and os.getpid() not in processes
    assert (tmp_path / "runs" / "a" / "log.txt").read_text() == "output of the cell\n"


def test_serial_and_local_engine_leave_the_same_records(tmp_path):
    jobs = [job(tmp_path / "serial", "a"), job(tmp_path / "serial", "b", "raise")]

    class Scripted(SerialEngine):
        def poll(self):
            from sweeps.engines.protocol import Ended

            ended = [Ended(one, scripted(one)) for one in self._waiting]
            self._waiting.clear()
            return ended

    drive(jobs, Scripted(threads=1), StageStore(tmp_path / "stages"))
    drive([job(tmp_path / "local", "a"), job(tmp_path / "local", "b", "raise")], engine(), StageStore(tmp_path / "x"))
    for kind in ("serial", "local"):
        assert (tmp_path / kind / "runs" / "a" / "done.json").exists()
        assert record(tmp_path / kind, "b")["reason"] == "KeyError: 'a fault of the cell'"


@pytest.mark.parametrize("status", [0, 1, 3, 75])
def test_exit_status_reaches_the_driver(tmp_path, status):
    one = engine(work=unguarded)
    one.submit(job(tmp_path, "a", "exit", status=status))
    assert collect(one)["a"].status == status


def test_a_fault_outside_of_execute_is_status_one_with_its_traceback_in_the_log(tmp_path):
    one = engine(work=unguarded)
    one.submit(job(tmp_path, "a", "raise"))
    assert collect(one)["a"].status == 1
    assert "no space left on device" in (tmp_path / "runs" / "a" / "log.txt").read_text()


def test_a_killed_cell_takes_no_other_with_it_and_is_tried_again(tmp_path):
    jobs = [job(tmp_path, "a", "kill once"), job(tmp_path, "b"), job(tmp_path, "c")]
    outcome = drive(jobs, engine(), StageStore(tmp_path / "stages"))
    assert sorted(outcome.finished) == list("abc") and outcome.retried == 1
    assert completions(tmp_path) == dict.fromkeys("abc", 1)


def test_a_cell_over_the_time_limit_is_told_to_go_and_ended_with_its_children(tmp_path):
    one = engine(timeout_minutes=1.5 / 60)
    one.submit(job(tmp_path, "a", "child"))
    ended = collect(one)["a"]
    assert ended.limit and "engine.timeout_minutes" in ended.reason
    assert record(tmp_path, "a")["class"] == "preempted" and not alive(tmp_path / "runs" / "a" / "lease")
    child = int(next(line for line in history(tmp_path, "a") if "child" in line).split()[1])
    until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


def test_a_cell_that_does_not_go_at_its_time_limit_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "_PATIENCE", 1.0)
    one = engine(timeout_minutes=1 / 60)
    one.submit(job(tmp_path, "a", "deaf"))
    ended = collect(one)["a"]
    assert ended.status == -signal.SIGKILL and ended.limit


def test_a_time_limit_is_no_failure_to_retry(tmp_path):
    """The cell is recorded as what it is, told apart from others, and the same command goes on from its checkpoint."""
    jobs = [job(tmp_path, "a", steps=400, pause=0.05), job(tmp_path, "b"), job(tmp_path, "c")]
    outcome = drive(jobs, engine(timeout_minutes=2 / 60), StageStore(tmp_path / "stages"), retries=5)
    assert sorted(outcome.finished) == ["b", "c"] and outcome.retried == 0
    assert list(outcome.failed) == ["a"] and outcome.failed["a"].startswith("time-limit: took longer than 0.0333333")
    assert "engine.timeout_minutes" in outcome.failed["a"] and "same command" in outcome.failed["a"]
    assert record(tmp_path, "a")["class"] == "time-limit" and "raise" in record(tmp_path, "a")["reason"]
    assert len([line for line in history(tmp_path, "a") if line.startswith("started")]) == 1
    done = len([line for line in history(tmp_path, "a") if line.startswith("step")])
    assert drive([job(tmp_path, "a", steps=400, pause=0)], engine(), StageStore(tmp_path / "stages")).finished == ["a"]
    assert 0 < done < 400 and len([line for line in history(tmp_path, "a") if line.startswith("step")]) <= 401


def test_a_cell_over_the_memory_limit_is_stopped_as_out_of_memory(tmp_path):
    # The fork server may be warm from another test: the limit stands on what a worker starts with.
    one = engine()
    one.submit(job(tmp_path, "probe", "hog", mebibytes=0))
    until(lambda: history(tmp_path, "probe"))
    base = local._resident(one._running["probe"].process.pid)
    one.cancel()
    one = engine(memory_gib=base + 0.2)
    one.submit(job(tmp_path, "a", "hog", mebibytes=400))
    one.submit(job(tmp_path, "b", steps=30, pause=0.05))
    ended = collect(one, 2)
    assert "out of memory" in ended["a"].reason and "engine.memory_gib" in ended["a"].reason
    assert ended["b"].status == 0


def test_cancel_leaves_a_stated_state_that_the_next_run_goes_on_from(tmp_path):
    one = engine()
    one.submit(job(tmp_path, "a", steps=40, pause=0.05))
    until(lambda: len(history(tmp_path, "a")) > 5)
    one.cancel()
    assert record(tmp_path, "a")["class"] == "preempted" and not alive(tmp_path / "runs" / "a" / "lease")
    outcome = drive([job(tmp_path, "a", steps=40, pause=0.0)], engine(), StageStore(tmp_path / "stages"))
    assert outcome.finished == ["a"]
    steps = [line for line in history(tmp_path, "a") if line.startswith("step")]
    assert len(set(steps)) == 40 and len(steps) <= 41


def test_killed_worker_server_is_replaced_and_its_running_cells_are_awaited(tmp_path):
    from multiprocessing.forkserver import _forkserver

    killed = []

    def kill_once(outcome, running):
        if not killed and len(history(tmp_path, "a")) > 3:
            killed.append(_forkserver._forkserver_pid)
            os.kill(killed[0], signal.SIGKILL)

    jobs = [job(tmp_path, "a", steps=60, pause=0.03), *(job(tmp_path, name) for name in "bcd")]
    outcome = drive(jobs, engine(), StageStore(tmp_path / "stages"), watch=kill_once)
    assert killed and sorted(outcome.finished) == list("abcd") and not outcome.failed
    assert completions(tmp_path) == dict.fromkeys("abcd", 1)
    starts = [line for line in history(tmp_path, "a") if line.startswith("started")]
    assert len(starts) == 1, "the cell outlived the server: its lease had to keep it from a second start"


def test_every_worker_sees_a_gpu_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    one = LocalEngine(threads=1, work=scripted, warm=())
    assert one.slots <= 2
    one = engine()
    for name in "ab":
        one.submit(job(tmp_path, name, steps=10, pause=0.05))
    collect(one, 2)
    assert {history(tmp_path, name)[0].split()[3] for name in "ab"} == {"5", "7"}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"workers": 0}, "engine.workers"),
        ({"workers": "many"}, "engine.workers"),
        ({"workers": True}, "engine.workers"),
        ({"timeout_minutes": 0}, "engine.timeout_minutes"),
        ({"memory_gib": -1}, "engine.memory_gib"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, named):
    with pytest.raises(UserError, match=named):
        LocalEngine(threads=1, **settings)


DRIVER = """
import signal, sys
# Tests that run in the background inherit an ignored Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path[:0] = [{root!r}, {here!r}]
from pathlib import Path
from tests.sweeps.engine_cells import job, scripted
from sweeps.execution.driver import drive
from sweeps.engines.local import LocalEngine
from sweeps.execution.stages import StageStore
outputs = Path({outputs!r})
if __name__ == "__main__":
    jobs = [job(outputs, name, {action!r}, steps=40, pause=0.05) for name in {names!r}]
    outcome = drive(jobs, LocalEngine(threads=1, workers=2, work=scripted, warm=()), StageStore(outputs / "stages"))
    print(len(outcome.finished), len(outcome.failed))
"""


def start_driver(tmp_path, names="abcd", action="steps", **keywords):
    script = tmp_path / "driver.py"
    here = str(Path(__file__).parent)
    script.write_text(DRIVER.format(root=str(ROOT), here=here, outputs=str(tmp_path), names=names, action=action))
    return subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, **keywords)


def running(tmp_path):
    return [path.parent.name for path in tmp_path.glob("runs/*/lease") if alive(path)]


def test_workers_of_a_killed_driver_finish_and_a_new_driver_runs_no_cell_twice(tmp_path):
    first = start_driver(tmp_path)
    until(lambda: len(running(tmp_path)) == 2)
    first.kill()
    first.wait()
    assert len(running(tmp_path)) == 2
    second = start_driver(tmp_path)
    assert second.communicate(timeout=60)[0].strip() == "4 0"
    assert completions(tmp_path) == dict.fromkeys("abcd", 1)
    for name in "abcd":
        assert len([line for line in history(tmp_path, name) if line.startswith("step")]) == 40


def test_two_drivers_at_once_share_the_cells(tmp_path):
    drivers = [start_driver(tmp_path) for _ in range(2)]
    assert [driver.communicate(timeout=60)[0].strip() for driver in drivers] == ["4 0", "4 0"]
    assert completions(tmp_path) == dict.fromkeys("abcd", 1)


def at_work(tmp_path):
    """Whether both workers have begun: a cell that has done nothing yet leaves nothing to look at."""
    return sum(len(path.read_text().splitlines()) > 1 for path in tmp_path.glob("runs/*/history")) >= 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_driver_told_to_end_leaves_recorded_cells_and_no_process(number, tmp_path):
    driver = start_driver(tmp_path, start_new_session=True, stderr=subprocess.PIPE)
    until(lambda: at_work(tmp_path))
    family = psutil.Process(driver.pid).children(recursive=True)
    # A terminal sends Ctrl-C to everything in the foreground process group; others mean the driver alone.
    (os.killpg if number == signal.SIGINT else os.kill)(driver.pid, number)
    _, said = driver.communicate(timeout=20)
    assert "are told to finish their step and to write a checkpoint" in said
    # On a busy machine the first cells may have ended before the signal came.
    cut = [path.parent.name for path in tmp_path.glob("runs/*/history") if not (path.parent / "done.json").exists()]
    assert 1 <= len(cut) <= 2 and not running(tmp_path)
    assert {record(tmp_path, name)["class"] for name in cut} == {"preempted"}
    _, left = psutil.wait_procs(family, timeout=10)
    assert not left
    assert start_driver(tmp_path).communicate(timeout=60)[0].strip() == "4 0"
    assert completions(tmp_path) == dict.fromkeys("abcd", 1)


def test_a_second_ctrl_c_ends_workers_that_do_not_go(tmp_path):
    driver = start_driver(tmp_path, action="deaf", start_new_session=True, stderr=subprocess.PIPE)
    until(lambda: at_work(tmp_path))
    family = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(signal.SIGTERM)
    time.sleep(1.0)
    assert driver.poll() is None and len(running(tmp_path)) == 2, "they get time for their checkpoints"
    driver.send_signal(signal.SIGINT)
    driver.communicate(timeout=10)
    _, left = psutil.wait_procs(family, timeout=10)
    assert not left and not running(tmp_path)


def test_workers_whose_server_has_died_are_told_too(tmp_path):
    driver = start_driver(tmp_path, start_new_session=True, stderr=subprocess.DEVNULL)
    until(lambda: at_work(tmp_path))
    children = psutil.Process(driver.pid).children()
    server = next(one for one in children if "multiprocessing.forkserver" in " ".join(one.cmdline()))
    server.kill()
    time.sleep(0.5)
    busy = running(tmp_path)
    driver.terminate()
    driver.wait(timeout=20)
    until(lambda: not running(tmp_path))
    assert all(
        (tmp_path / "runs" / name / "done.json").exists() or record(tmp_path, name)["class"] == "preempted"
        for name in busy
    )


def test_the_server_imports_the_dashboard_first_and_only_for_cells_that_have_one():
    assert preloaded({"logger": {"wandb": {"mode": "offline"}}}) == ["wandb", *WARM]
    assert preloaded({"logger": {"wandb": None}}) == list(WARM) == preloaded({})
