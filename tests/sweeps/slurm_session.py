"""What test_engines_slurm.py runs inside the sandbox cluster: every scenario once, results as JSON.

python slurm_session.py OUTPUTS            all scenarios (project and tests/sweeps on PYTHONPATH)
python slurm_session.py OUTPUTS drive N    a driver that runs N long cells, to be killed
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sweeps.engines.slurm import SlurmEngine
from sweeps.errors import UserError
from sweeps.execution.driver import drive
from sweeps.execution.lease import alive
from sweeps.execution.ledger import read_json
from sweeps.execution.stages import StageStore
from tests.sweeps.engine_cells import completions, history, job, scripted


def engine(**keywords):
    return SlurmEngine(**{"threads": 1, "poll_seconds": 1.0, "timeout_minutes": 10, "work": scripted, **keywords})


def until(condition, seconds=240):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(subprocess.run(["squeue", "--states=all"], capture_output=True, text=True).stdout)
        time.sleep(0.2)


def arrays(outputs):
    return sorted(path.parent.name for path in outputs.glob("sweeps/slurm/*/cells.json"))


def starts(outputs, names):
    return {name: [line for line in history(outputs, name) if line.startswith("started")] for name in names}


def several_cells(outputs):
    """An array with a GPU per cell, one cell killed, one broken, from a folder that is not the project's."""
    os.chdir("/")
    jobs = [job(outputs, name, steps=3) for name in "abcd"]
    jobs += [job(outputs, "e", "kill once"), job(outputs, "f", "raise")]
    outcome = drive(jobs, engine(gres="gpu:1", partition="low"), StageStore(outputs / "stages"))
    return {
        "finished": sorted(outcome.finished),
        "failed": outcome.failed,
        "retried": outcome.retried,
        "completions": completions(outputs),
        "starts": starts(outputs, "abcdef"),
        "arrays": len(arrays(outputs)),
        "log": (outputs / "runs" / "a" / "log.txt").read_text(),
    }


def preemption(outputs):
    """A cell on the partition that is preempted, and a job of the partition that preempts it."""
    high = []

    def preempt(outcome, running):
        if not high and len(history(outputs, "a")) > 10:
            command = ["sbatch", "--parsable", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=true"]
            high.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())

    jobs = [job(outputs, "a", steps=150, pause=0.1)]
    outcome = drive(jobs, engine(partition="low"), StageStore(outputs / "stages"), watch=preempt)
    return {
        "finished": outcome.finished,
        "failed": outcome.failed,
        "retried": outcome.retried,
        "history": history(outputs, "a"),
        "preempted_by": high,
        "arrays": len(arrays(outputs)),
    }


def time_limit(outputs):
    """A cell that takes longer than its job may: it is warned, requeues itself and goes on."""
    outcome = drive(
        [job(outputs, "a", steps=180, pause=0.1)],
        engine(timeout_minutes=1, warning_seconds=20),
        StageStore(outputs / "stages"),
    )
    return {
        "finished": outcome.finished,
        "failed": outcome.failed,
        "retried": outcome.retried,
        "history": history(outputs, "a"),
        "arrays": len(arrays(outputs)),
    }


def time_limit_reached(outputs):
    """A cell that may not requeue itself: it is told to go, recorded, and not started again."""
    one = engine(timeout_minutes=1, warning_seconds=20, requeues=0)
    outcome = drive([job(outputs, "a", steps=4000, pause=0.1)], one, StageStore(outputs / "stages"), retries=3)
    return {
        "finished": outcome.finished,
        "failed": outcome.failed,
        "retried": outcome.retried,
        "arrays": len(arrays(outputs)),
        "record": read_json(outputs / "runs" / "a" / "failed.json").get("class"),
    }


def returning_driver(outputs):
    """A driver killed with cells running and waiting in the queue; the same command again."""
    command = [sys.executable, str(Path(__file__).resolve()), str(outputs), "drive", "6"]
    first = subprocess.Popen(command)
    until(lambda: sum(alive(path) for path in outputs.glob("runs/*/lease")) == 2)
    first.kill()
    first.wait()
    before = arrays(outputs)
    second = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return {
        "outcome": json.loads(second.stdout),
        "before": before,
        "after": arrays(outputs),
        "completions": completions(outputs),
        "starts": starts(outputs, [f"c{index}" for index in range(6)]),
    }


def interrupted_driver(outputs):
    """Ctrl-C with leave=true: the jobs stay; then a driver that cancels."""
    one = engine(leave=True)
    one.submit(job(outputs, "a", steps=4000, pause=0.1))
    until(lambda: one.poll() == [] and len(history(outputs, "a")) > 3)
    one.cancel()
    time.sleep(3)
    left = alive(outputs / "runs" / "a" / "lease")
    other = engine(leave=False)
    other.submit(job(outputs, "a", steps=4000, pause=0.1))
    for _ in range(8):
        other.poll()
    adopted = len(arrays(outputs)) == 1
    other.cancel()
    until(lambda: not alive(outputs / "runs" / "a" / "lease"))
    return {"left": left, "adopted": adopted, "record": read_json(outputs / "runs" / "a" / "failed.json").get("class")}


def refusals(outputs):
    """What Slurm will not take."""
    one = engine(partition="nowhere")
    one.submit(job(outputs, "a"))
    try:
        for _ in range(20):
            one.poll()
    except UserError as error:
        return {"message": str(error)}
    return {"message": ""}


def drive_long_cells(outputs, count):
    jobs = [job(outputs, f"c{index}", steps=60, pause=0.1) for index in range(count)]
    outcome = drive(jobs, engine(), StageStore(outputs / "stages"))
    print(json.dumps({"finished": sorted(outcome.finished), "failed": outcome.failed, "retried": outcome.retried}))


def main():
    outputs = Path(sys.argv[1])
    if len(sys.argv) > 2:
        drive_long_cells(outputs, int(sys.argv[3]))
        return
    signal.alarm(1500)
    for scenario in (
        refusals,
        several_cells,
        returning_driver,
        interrupted_driver,
        preemption,
        time_limit,
        time_limit_reached,
    ):
        folder = outputs / scenario.__name__
        folder.mkdir(parents=True)
        begun = time.monotonic()
        try:
            result = scenario(folder)
        except Exception as error:  # one scenario's fault is reported by its own test
            result = {"error": f"{type(error).__name__}: {error}"}
        result["seconds"] = round(time.monotonic() - begun, 1)
        print(scenario.__name__, result["seconds"], "s", flush=True)
        (outputs / f"{scenario.__name__}.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
