"""Cells for the engine tests: ``execute`` with its lease, records and signals, around a few scripted lines of work."""

import json
import os
import signal
import threading
import time
from pathlib import Path

from sweeps import run
from sweeps.run import Job


def job(outputs, name, action="steps", **config):
    return Job(name, f"t-{name}", f"s-{name}", {"action": action, **config}, {}, (), str(outputs))


def note(folder, line):
    """One line of the run's append-only history; each is a single write, so that a kill tears none."""
    with (folder / "history").open("a") as file:
        file.write(f"{line}\n")


def history(outputs, name):
    path = Path(outputs) / "runs" / name / "history"
    return path.read_text().split("\n")[:-1] if path.exists() else []


def completions(outputs):
    """How often each cell ran to its end."""
    return {
        path.parent.name: path.read_text().count("completed\n") for path in sorted(Path(outputs).glob("runs/*/history"))
    }


def scripted(job):
    """Work of an engine."""
    # Some engines run it in the process of the tests, which other tests share.
    real, run._run = run._run, _scripted
    try:
        return run.execute(job)
    finally:
        run._run = real


def unguarded(job):
    """Work that breaks outside what ``execute`` can record."""
    if job.config["action"] == "raise":
        raise OSError("no space left on device")
    return int(job.config["status"])


def _scripted(job):
    config, folder = job.config, job.folder
    (folder / "failed.json").unlink(missing_ok=True)
    # Slurm names the cell's GPU by its device where there is one; files that stand for GPUs are only counted.
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES") or os.environ.get("SLURM_GPUS_ON_NODE")
    note(
        folder,
        f"started {os.getpid()} gpu {gpu} cwd {os.getcwd()} "
        f"job {os.environ.get('SLURM_JOB_ID')} threads {threading.active_count()}",
    )
    print("output of the cell", flush=True)
    action = config["action"]
    if action == "kill once" and len([line for line in history(job.outputs, job.signature) if "started" in line]) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "raise":
        raise KeyError("a fault of the cell")
    if action == "hog":
        held = bytearray(os.urandom(1) * (config["mebibytes"] << 20))
        time.sleep(60)
        print(len(held))
    if action == "deaf":
        # A step that no order reaches, such as one that waits in native code.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        note(folder, "hears nothing")
        time.sleep(600)
    if action == "child":
        child = os.fork()
        if child == 0:
            time.sleep(600)
        note(folder, f"child {child}")
        time.sleep(600)
    checkpoint = folder / "checkpoint"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for step in range(first, config.get("steps", 1)):
        note(folder, f"step {step}")
        time.sleep(config.get("pause", 0.01))
        draft = folder / "checkpoint.draft"
        draft.write_text(str(step + 1))
        os.replace(draft, checkpoint)
    note(folder, "completed")
    (folder / "done.json").write_text(json.dumps({"pid": os.getpid()}))
