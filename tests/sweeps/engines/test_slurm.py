"""The Slurm engine on a real one-node cluster: accounting, two fake GPUs, a partition that is preempted.

The cluster lives in a throw-away copy of the file system, for one command: ``slurm_session.py`` plays all scenarios
there once, and the tests below read what it found.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.engines import slurm
from sweeps.engines.protocol import make_engine
from sweeps.engines.slurm import SlurmEngine
from sweeps.errors import UserError
from sweeps.signatures.signature import ROOT

SANDBOX = ROOT.parent / "shared" / "tools" / "with-slurm"
STEPS = 150


@pytest.mark.parametrize("absent", ["package", "commands"])
def test_without_submitit_or_slurm_one_line_says_what_to_do(monkeypatch, absent):
    if absent == "package":
        monkeypatch.setitem(sys.modules, "submitit", None)
    else:
        monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="engine=local") as caught:
        make_engine({"name": "slurm"}, threads=1)
    assert "\n" not in str(caught.value)
    assert ("submitit" if absent == "package" else "sbatch") in str(caught.value)


@pytest.mark.parametrize(
    "settings", [{"parallel": 0}, {"timeout_minutes": 1.5}, {"poll_seconds": 0}, {"requeues": -1}, {"memory_gib": 0}]
)
def test_bad_settings_are_refused_by_name(monkeypatch, settings):
    monkeypatch.setattr(slurm.shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(UserError, match=f"engine.{next(iter(settings))}"):
        SlurmEngine(threads=1, **settings)


def test_arrays_whose_cells_are_all_done_are_tidied_away(tmp_path):
    root = tmp_path / "sweeps" / "slurm"
    for token, cells in {"done": ["a"], "open": ["a", "b"], "queued": ["a"]}.items():
        (root / token).mkdir(parents=True)
        (root / token / "cells.json").write_text(json.dumps(cells))
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "done.json").write_text("{}")
    slurm._tidy(root, {"queued"})
    assert sorted(path.name for path in root.iterdir()) == ["open", "queued"]


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Results of all scenarios by name."""
    if not SANDBOX.is_file():
        pytest.skip("the sandbox cluster's script, ../shared/tools/with-slurm, is not there")
    if os.geteuid() != 0:
        pytest.skip("the sandbox cluster needs root (mount and chroot)")
    kept = tmp_path_factory.mktemp("slurm")
    command = [str(SANDBOX), sys.executable, str(Path(__file__).parents[1] / "slurm_session.py"), str(kept / "outputs")]
    environment = {**os.environ, "KEEP": str(kept), "PYTHONPATH": f"{ROOT}"}
    # nproc obeys it, and the script gives its node as many CPUs as nproc says.
    environment.pop("OMP_NUM_THREADS", None)
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, cwd=ROOT, env=environment)
    if done.returncode == 70:
        pytest.skip(f"the sandbox cluster did not start: {done.stderr.strip().splitlines()[0]}")
    assert done.returncode == 0, done.stderr[-3000:]

    def result(name):
        found = json.loads((kept / "outputs" / f"{name}.json").read_text())
        assert "error" not in found, found["error"]
        return found

    return result


@pytest.mark.slow
def test_one_array_runs_all_cells_with_a_gpu_each(session):
    result = session("several_cells")
    assert result["finished"] == list("abcde") and result["retried"] == 1
    assert list(result["failed"]) == ["f"] and result["failed"]["f"].startswith("bug: KeyError")
    assert result["completions"] == {**dict.fromkeys("abcde", 1), "f": 0}
    # The killed cell went back in an array of its own; the submission did not depend on the driver's folder.
    assert result["arrays"] == 2 and len(result["starts"]["e"]) == 2
    for name in "abcd":
        words = result["starts"][name][0].split()
        assert words[3] == "1" and words[5] == str(ROOT)
    assert "output of the cell" in result["log"]


@pytest.mark.slow
def test_a_preempted_cell_is_requeued_by_slurm_and_goes_on_from_its_checkpoint(session):
    result = session("preemption")
    assert result["finished"] == ["a"] and result["preempted_by"]
    assert result["retried"] == 0 and result["arrays"] == 1, "Slurm's requeue was to do it, not a new submission"
    starts = check_resumed(result["history"], STEPS)
    assert len({words[7] for words in starts}) == 1, "the same job, started again"


@pytest.mark.slow
def test_a_cell_at_its_time_limit_requeues_itself_and_goes_on(session):
    result = session("time_limit")
    # Slurm may warn a minute early, while the interpreter still starts: then the driver's retry does it.
    assert result["finished"] == ["a"] and result["retried"] <= 1
    starts = check_resumed(result["history"], 180)
    assert len({words[7] for words in starts}) < len(starts), "some start was to be a requeue of the same job"


@pytest.mark.slow
def test_a_cell_that_may_not_requeue_itself_is_recorded_at_its_time_limit_and_not_retried(session):
    result = session("time_limit_reached")
    assert not result["finished"] and result["retried"] == 0 and result["arrays"] == 1
    assert result["record"] == "time-limit" and "same command" in result["failed"]["a"]


def check_resumed(history, count):
    starts = [line.split() for line in history if line.startswith("started")]
    steps = [line for line in history if line.startswith("step")]
    assert len(starts) > 1
    assert len(set(steps)) == count and len(steps) <= count + len(starts) - 1
    assert history.count("completed") == 1
    return starts


@pytest.mark.slow
def test_a_killed_driver_comes_back_to_the_cells_in_the_queue(session):
    result = session("returning_driver")
    names = [f"c{index}" for index in range(6)]
    assert result["outcome"] == {"finished": names, "failed": {}, "retried": 0}
    assert result["after"] == result["before"] and len(result["before"]) == 1, "nothing was to be submitted twice"
    assert result["completions"] == dict.fromkeys(names, 1)
    assert all(len(lines) == 1 for lines in result["starts"].values())


@pytest.mark.slow
def test_an_interrupted_driver_leaves_its_jobs_or_cancels_them(session):
    result = session("interrupted_driver")
    assert result["left"] and result["adopted"] and result["record"] == "preempted"


@pytest.mark.slow
def test_what_slurm_refuses_is_one_line(session):
    message = session("refusals")["message"]
    assert "partition" in message and "\n" not in message
