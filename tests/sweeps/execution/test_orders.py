"""Told to go, a cell finishes its step, writes a checkpoint and says how to go on; the same command does."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import sweeps.engines.preload  # noqa: F401 - as a worker's server has it: children are forked
from lightning_modules.relations.re import RelationGenerator
from lightning_modules.training import stopping
from sweeps import cli, run
from sweeps.engines.serial import SerialEngine
from sweeps.execution import orders
from sweeps.execution.failures import Preempted
from sweeps.execution.progress import PhaseFile
from sweeps.execution.stages import StageStore

ROOT = Path(__file__).resolve().parents[3]
STEPS = 60
# No checkpoint comes of itself: what there is was written because of the order.
CELL = (
    "scale=smoke",
    "experiment=re_smoke",
    "data.train_limit=16",
    "data.batch_size=4",
    "trainer.max_epochs=null",
    f"trainer.max_steps={STEPS}",
    "evaluation.limit=4",
    "logger=none",
    "trainer.accelerator=cpu",
    "threads=1",
)


class Child:
    """A forked process with its standard error in a file."""

    def __init__(self, place, work):
        self.errors = place / "stderr"
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setsid()
                # Tests that run in the background inherit an ignored Ctrl-C.
                signal.signal(signal.SIGINT, signal.default_int_handler)
                sys.stderr = self.errors.open("a", buffering=1)
                os.dup2(sys.stderr.fileno(), 2)
                sys.stdout = sys.stderr
                os._exit(work())
            finally:
                os._exit(99)

    def send(self, number):
        os.kill(self.pid, number)

    def wait(self, seconds=60):
        """Exit status; negative for a signal."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError(f"still running after {seconds} s: {self.said()}")

    def said(self):
        return self.errors.read_text()


def by_hand(outputs, *overrides, before=lambda: None, wait=False, place=None):
    """``python -m sweeps.run`` in a child, whose own traces are in ``place``; with ``wait`` its exit status instead."""
    place = place or outputs
    place.mkdir(parents=True, exist_ok=True)

    def work():
        trace(place)
        before()
        return cli.by_hand([*CELL, *overrides, f"paths.outputs={outputs}"])

    child = Child(place, work)
    return child.wait() if wait else child


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)


def trace(outputs):
    """Appends a line to ``trained`` for every step of a training."""
    plain = PhaseFile.phase

    def phase(self, name):
        update = plain(self, name)

        def step(done, total):
            with (outputs / "trained").open("a") as file:
                file.write(f"{done}\n")
            update(done, total)

        return step if name == "train" else update

    PhaseFile.phase = phase


def trained(outputs):
    """Steps in the order in which they were done, by whatever process."""
    path = outputs / "trained"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def checkpoints(outputs):
    return [int(path.stem.split("-")[1]) for path in outputs.glob("stages/training/*/checkpoints/*.ckpt")]


def record(outputs):
    (path,) = outputs.glob("runs/*/failed.json")
    return json.loads(path.read_text())


def content(outputs):
    (weights,) = outputs.glob("stages/training/*/model.safetensors")
    (examples,) = outputs.glob("runs/*/examples.parquet")
    rows = [json.loads(line) for line in (weights.parent / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["time"]
    return rows, weights.read_bytes(), examples.read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The cell undisturbed."""
    outputs = tmp_path_factory.mktemp("whole")
    assert by_hand(outputs, wait=True) == 0
    assert trained(outputs) == list(range(1, STEPS + 1))
    return outputs


def check_resumed(outputs, step, whole):
    """The same command goes on after ``step``, and ends as if nothing had been."""
    (attempts,) = outputs.glob("runs/*/receipt.json")
    assert by_hand(outputs, wait=True) == 0
    assert len(json.loads(attempts.read_text())["attempts"]) == 2
    assert trained(outputs) == list(range(1, STEPS + 1)), f"no step was to be trained twice, stopped after {step}"
    assert content(outputs) == content(whole)
    assert not list(outputs.glob("runs/*/failed.json"))


def slow(seconds, at=1):
    """Makes every step from the ``at``-th on take so long."""

    def patch():
        plain = RelationGenerator.losses

        def losses(self, batch):
            if self.global_step >= at:
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    time.sleep(0.01)
            return plain(self, batch)

        RelationGenerator.losses = losses

    return patch


@pytest.mark.parametrize(
    ("number", "status", "why"),
    [
        (signal.SIGINT, 130, "interrupted (Ctrl-C)"),
        (signal.SIGTERM, 143, "told to end (SIGTERM)"),
        (signal.SIGHUP, 129, "terminal was closed (SIGHUP)"),
    ],
)
def test_a_training_told_to_go_writes_a_checkpoint_and_says_in_one_line_how_to_go_on(
    number, status, why, tmp_path, whole
):
    cell = by_hand(tmp_path, before=slow(0.05))
    until(lambda: len(trained(tmp_path)) >= 7)
    cell.send(number)
    assert cell.wait() == status
    (step,) = checkpoints(tmp_path)
    assert 7 <= step < STEPS and trained(tmp_path)[-1] == step
    running, line = cell.said().splitlines()
    assert running.startswith("running ") and line.startswith("papergrid: ") and why in line
    assert f"after step {step} of {STEPS}, with a checkpoint of it; the same command goes on from there" in line
    assert record(tmp_path)["class"] == "preempted" and record(tmp_path)["reason"] in line
    assert not record(tmp_path)["traceback"]
    check_resumed(tmp_path, step, whole)


def test_told_to_go_again_and_again_a_training_loses_nothing(tmp_path, whole):
    for number in range(3):
        cell = by_hand(tmp_path, before=slow(0.03))
        begun = len(trained(tmp_path))
        until(lambda begun=begun: len(trained(tmp_path)) >= begun + 5)
        cell.send(signal.SIGTERM)
        assert cell.wait() == 143, (number, cell.said())
    assert by_hand(tmp_path, wait=True) == 0
    assert trained(tmp_path) == list(range(1, STEPS + 1)) and content(tmp_path) == content(whole)


def test_elsewhere_an_order_takes_effect_at_once(tmp_path, whole):
    """While the data are read, before any training."""

    def stuck():
        plain = run.build
        run.build = lambda config: (plain(config), (tmp_path / "reached").touch(), time.sleep(60))

    cell = by_hand(tmp_path, before=stuck)
    until((tmp_path / "reached").exists)
    begun = time.monotonic()
    cell.send(signal.SIGINT)
    assert cell.wait() == 130 and time.monotonic() - begun < 30
    assert cell.said().splitlines()[-1] == (
        "papergrid: the process was interrupted (Ctrl-C); the same command goes on from the newest checkpoints; what "
        "was finished is kept"
    )
    assert "Traceback" not in cell.said()
    assert by_hand(tmp_path, wait=True) == 0 and content(tmp_path) == content(whole)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_ctrl_c_ends_it_at_once(first, tmp_path):
    cell = by_hand(tmp_path, before=slow(30, at=3))
    until(lambda: len(trained(tmp_path)) >= 3)
    cell.send(first)
    time.sleep(0.5)
    assert not checkpoints(tmp_path), "the step that it is in was to take its time"
    cell.send(signal.SIGINT)
    begun = time.monotonic()
    assert cell.wait() == 128 + first and time.monotonic() - begun < 15
    assert cell.said().splitlines()[-1].startswith("papergrid: ended at once") and "Traceback" not in cell.said()
    assert record(tmp_path)["class"] == "preempted"


def test_one_ctrl_c_that_comes_twice_and_a_repeated_sigterm_are_one_order(tmp_path):
    """``timeout`` sends its signal to the process and then to its group; ``make`` and a terminal do alike."""
    cell = by_hand(tmp_path, before=slow(1.0, at=3))
    until(lambda: len(trained(tmp_path)) >= 3)
    for number in (signal.SIGINT, signal.SIGINT):
        cell.send(number)
        time.sleep(0.05)
    for _ in range(3):
        time.sleep(0.2)
        cell.send(signal.SIGTERM)
    assert cell.wait() == 130 and len(checkpoints(tmp_path)) == 1


def test_a_step_that_takes_too_long_is_broken_off(tmp_path):
    def before():
        orders.PATIENCE = 1.0
        slow(60, at=3)()

    cell = by_hand(tmp_path, before=before)
    until(lambda: len(trained(tmp_path)) >= 3)
    cell.send(signal.SIGTERM)
    assert cell.wait() == 143 and not checkpoints(tmp_path)
    assert record(tmp_path)["class"] == "preempted" and "Traceback" not in cell.said()


def test_a_checkpoint_that_takes_long_is_not_broken_off(tmp_path, whole):
    def before():
        from lightning_modules.training import checkpoints

        orders.PATIENCE = 0.5
        plain = checkpoints._flush
        checkpoints._flush = lambda path: (time.sleep(1.0), plain(path))
        slow(0.05)()

    cell = by_hand(tmp_path, before=before)
    until(lambda: len(trained(tmp_path)) >= 3)
    cell.send(signal.SIGTERM)
    assert cell.wait() == 143
    (step,) = checkpoints(tmp_path)
    check_resumed(tmp_path, step, whole)


def test_an_order_that_is_lost_in_a_destructor_is_repeated(tmp_path):
    """Exceptions that come out of ``__del__`` are printed and dropped."""

    class Deaf:
        def __del__(self):
            (tmp_path / "reached").touch()
            time.sleep(2)

    def stuck():
        orders.PATIENCE = 1.0

        def build(config):
            Deaf()
            gc.collect()
            time.sleep(60)

        run.build = build

    cell = by_hand(tmp_path, before=stuck)
    until((tmp_path / "reached").exists)
    cell.send(signal.SIGTERM)
    assert cell.wait() == 143


def test_an_order_during_the_last_step_lets_the_training_be_published(tmp_path, whole):
    def before():
        plain = RelationGenerator.losses

        def losses(self, batch):
            if self.global_step == STEPS - 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return plain(self, batch)

        RelationGenerator.losses = losses

    assert by_hand(tmp_path, before=before, wait=True) == 143
    assert list(tmp_path.glob("stages/training/*/stage.json")) and not list(tmp_path.glob("runs/*/done.json"))
    assert by_hand(tmp_path, wait=True) == 0
    assert trained(tmp_path) == list(range(1, STEPS + 1)), "nothing was to be trained again"
    assert content(tmp_path) == content(whole)


def test_a_signal_that_was_ignored_stays_so(tmp_path, whole):
    """As under ``nohup``."""

    def before():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        slow(0.02)()

    cell = by_hand(tmp_path, before=before)
    until(lambda: len(trained(tmp_path)) >= 3)
    cell.send(signal.SIGHUP)
    assert cell.wait() == 0 and content(tmp_path) == content(whole)


@pytest.mark.parametrize("words", [["plan", "sweep=re/main"], ["status", "sweep=re/main", "--watch"]])
def test_commands_that_run_nothing_end_in_one_line_too(words, tmp_path, monkeypatch):
    def work():
        monkeypatch.setattr(cli, "select", lambda *_, **__: ((tmp_path / "reached").touch(), time.sleep(60)))
        return cli.main([*words, f"paths.outputs={tmp_path}"])

    child = Child(tmp_path, work)
    until((tmp_path / "reached").exists)
    child.send(signal.SIGTERM)
    assert child.wait() == 143 and len(child.said().splitlines()) == 1


def test_the_serial_engine_ends_with_its_cell(tmp_path):
    """Its driver is the process that was told to go: no cell is started again in it, and none after it."""
    jobs = [run.Job(name, f"t-{name}", f"s-{name}", {}, {}, (), str(tmp_path)) for name in "ab"]
    begun = []

    def cell(job):
        begun.append(job.signature)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    def work():
        from sweeps.execution.driver import drive

        run._run = cell
        try:
            drive(jobs, SerialEngine(threads=1), StageStore(tmp_path / "stages"))
        except Preempted:
            return 10 + len(begun)
        return 0

    assert Child(tmp_path, work).wait() == 11
    assert json.loads((tmp_path / "runs" / "a" / "failed.json").read_text())["class"] == "preempted"
    assert not (tmp_path / "runs" / "b").exists()


def test_what_a_training_is_asked_is_forgotten_with_it():
    assert not stopping.ask() and not stopping.asked()
    with stopping.heeded():
        assert not stopping.asked() and stopping.ask() and stopping.asked() and stopping.taken()
    assert not stopping.asked() and not stopping.taken()


def test_other_threads_leave_the_signals_alone():
    before = signal.getsignal(signal.SIGTERM)

    def listen():
        with orders.listening():
            assert signal.getsignal(signal.SIGTERM) is before

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()


@pytest.mark.slow
def test_the_real_command_says_the_same(tmp_path, whole):
    command = [sys.executable, "-m", "sweeps.run", *CELL, "trainer.max_steps=4000", f"paths.outputs={tmp_path}"]
    cell = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until(lambda: sum(len(path.read_text().splitlines()) for path in tmp_path.glob("stages/*/*/metrics.jsonl")) > 2)
    cell.send_signal(signal.SIGINT)
    _, said = cell.communicate(timeout=60)
    assert cell.returncode == 130
    _, line = said.splitlines()
    assert f"after step {checkpoints(tmp_path)[0]} of 4000" in line
