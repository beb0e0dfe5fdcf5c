"""A cell on two processes through the real command, and what becomes of it when the second process fails."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sweeps.execution import ranks
from sweeps.execution.failures import Preempted

ROOT = Path(__file__).resolve().parents[3]
# No dropout, which each process would draw for itself, and batches of eight and, at last, one for two processes.
CELL = (
    "scale=smoke",
    "experiment=re_smoke",
    "model.dropout=0",
    "model.attention_dropout=0",
    "model.decoder_dropout=0",
    "data.train_limit=25",
    "trainer.accelerator=cpu",
)
PLACED = ("trainer=ddp", "trainer.devices=2", "trainer.strategy=ddp")


def command(outputs, *overrides, flags=()):
    done = subprocess.run(
        [sys.executable, "-m", "sweeps.run", *flags, *CELL, *overrides, f"paths.outputs={outputs}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def only(outputs, pattern):
    (path,) = outputs.glob(pattern)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("engine", [(), ("-m",)], ids=["by hand", "forked by the engine"])
def test_a_cell_on_two_processes_is_the_cell_on_one(engine, tmp_path):
    command(tmp_path / "one")
    command(tmp_path / "two", *PLACED, flags=engine)
    folders = [only(tmp_path / name, "runs/*/done.json").parent for name in ("one", "two")]
    assert folders[0].name == folders[1].name
    rows = []
    for name in ("one", "two"):
        text = only(tmp_path / name, "stages/training/*/metrics.jsonl").read_text()
        rows.append([json.loads(line) for line in text.splitlines()])
    assert len(rows[0]) == len(rows[1]) >= 2
    for one, two in zip(*rows, strict=True):
        del one["time"], two["time"]
        assert two == pytest.approx(one, rel=1e-5)
    names = [{path.name for path in folder.iterdir()} - {"log.txt"} for folder in folders]
    assert names[0] == names[1] and "failed.json" not in names[0]
    examples = [path.read_bytes() for path in (folder / "metrics.jsonl" for folder in folders)]
    assert [len(text.splitlines()) for text in examples] == [len(rows[0])] * 2
    receipt = json.loads((folders[1] / "receipt.json").read_text())
    assert len(receipt["attempts"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_cell_on_two_processes_that_is_told_to_go_writes_one_checkpoint_and_goes_on_in_the_same_bits(
    number, status, tmp_path
):
    longer = ("trainer.max_epochs=40", *PLACED)
    words = [sys.executable, "-m", "sweeps.run", *CELL, *longer, f"paths.outputs={tmp_path / 'cut'}"]
    cell = subprocess.Popen(
        words,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 300
    while sum(len(path.read_text().splitlines()) for path in tmp_path.glob("cut/stages/*/*/metrics.jsonl")) < 3:
        assert cell.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    family = psutil.Process(cell.pid).children(recursive=True)
    assert any("sweeps.execution.ranks" in one.cmdline() for one in family)
    # To every process of the job, as a terminal and some schedulers do.
    for one in (psutil.Process(cell.pid), *family):
        one.send_signal(number)
    _, said = cell.communicate(timeout=60)
    assert cell.returncode == status and "Traceback" not in said
    running, line = said.splitlines()
    step = int(only(tmp_path, "cut/stages/training/*/checkpoints/*.ckpt").stem.split("-")[1])
    assert running.startswith("running") and f"after step {step} of 160, with a checkpoint of it" in line
    assert not psutil.wait_procs(family, timeout=20)[1]
    command(tmp_path / "cut", *longer)
    command(tmp_path / "whole", *longer)
    weights = [only(tmp_path, f"{name}/stages/training/*/model.safetensors") for name in ("cut", "whole")]
    rows = [[json.loads(line) for line in (path.parent / "metrics.jsonl").read_text().splitlines()] for path in weights]
    for row in (*rows[0], *rows[1]):
        del row["time"]
    assert rows[0] == rows[1] and weights[0].read_bytes() == weights[1].read_bytes()


def test_one_device_starts_nothing(tmp_path):
    config = {"trainer": {"devices": 1}}
    with ranks.started(config, config, tmp_path, tmp_path) as group:
        assert group is None
    assert not any(tmp_path.iterdir())


@pytest.fixture
def stand_in(monkeypatch):
    """Replaces a further rank's interpreter by a short script that reads its task."""

    def use(script):
        plain = subprocess.Popen

        def start(arguments, **options):
            return plain([sys.executable, "-S", "-c", f"import os, sys, time\ntask = input()\n{script}"], **options)

        monkeypatch.setattr(ranks.subprocess, "Popen", start)

    return use


def start(tmp_path, body=lambda group: None):
    config = {"trainer": {"devices": 2, "strategy": "ddp"}}
    with ranks.started(config, config, tmp_path, tmp_path) as group:
        body(group)


def test_ranks_are_told_apart_and_meet_in_one_file(stand_in, tmp_path):
    stand_in(f"open({str(tmp_path / 'task')!r}, 'w').write(task)\nprint('ready', flush=True)")
    seen = []
    start(tmp_path, seen.append)
    task = json.loads((tmp_path / "task").read_text())
    assert (seen[0].rank, task["rank"]) == (0, 1) and task["meeting"] == str(seen[0].meeting)
    assert task["values"]["trainer"]["devices"] == 2 and not seen[0].meeting.parent.exists()


def test_a_rank_that_cannot_build_ends_the_training_before_it_begins(stand_in, tmp_path):
    stand_in("print('ValueError: no such file'); sys.exit(1)")
    with pytest.raises(ranks.RankFailedError, match="rank 1 failed: ValueError: no such file"):
        start(tmp_path, lambda group: pytest.fail("the training began"))


def test_what_another_rank_failed_of_is_told_rather_than_that_it_was_lost(stand_in, tmp_path):
    stand_in("print('ready', flush=True); print('OutOfMemoryError: out of memory'); sys.exit(1)")

    def lost(group):
        raise RuntimeError("connection closed by peer")

    with pytest.raises(ranks.RankFailedError, match="out of memory"):
        start(tmp_path, lost)


def test_a_killed_rank_counts_as_preemption_so_that_the_cell_is_tried_again(stand_in, tmp_path):
    stand_in("print('ready', flush=True); os.kill(os.getpid(), 9)")

    def lost(group):
        raise RuntimeError("connection closed by peer")

    with pytest.raises(Preempted, match="rank 1 was killed by signal 9"):
        start(tmp_path, lost)


def test_an_error_of_rank_0_ends_the_others(stand_in, tmp_path):
    pid = str(tmp_path / "pid")
    stand_in(f"open({pid!r}, 'w').write(str(os.getpid()))\nprint('ready', flush=True); time.sleep(600)")
    with pytest.raises(KeyError):
        start(tmp_path, lambda group: {}["own"])
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_rank_0_is_killed_when_it_waits_in_vain(stand_in, tmp_path, monkeypatch):
    stand_in("print('ready', flush=True); time.sleep(0.5); sys.exit(3)")
    monkeypatch.setattr(ranks, "GRACE", 0.05)
    killed = ranks.threading.Event()
    monkeypatch.setattr(ranks.os, "kill", lambda pid, number: killed.set() if number == signal.SIGKILL else None)

    def wait(group):
        assert killed.wait(30)

    with pytest.raises(ranks.RankFailedError, match="status 3"):
        start(tmp_path, wait)
