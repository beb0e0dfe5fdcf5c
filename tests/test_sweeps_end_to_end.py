"""A whole sweep at smoke scale through the real command: plan, run, resume, fail, share, table, verify, tamper."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sweeps.reporting.verify import verify_outputs

ROOT = Path(__file__).resolve().parent.parent


def papergrid(*arguments, outputs, expect=0, **environment):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sweeps.cli",
            *arguments,
            *([] if arguments[0] in ("verify", "stages") else [f"paths.outputs={outputs}"]),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, **environment},
    )
    assert done.returncode == expect, f"{arguments}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("sweep") / "outputs"
    done = papergrid("sweep", "sweep=re/main", "scale=smoke", outputs=outputs)
    return outputs, done


def states(outputs, *arguments):
    done = papergrid("status", *arguments, "--json", outputs=outputs)
    return [cell["state"] for cell in json.loads(done.stdout)]


def test_every_cell_is_done_and_the_table_shows_every_row(finished):
    outputs, done = finished
    found = states(outputs, "sweep=re/main", "scale=smoke")
    assert found and set(found) == {"done"}
    assert "Fine-tuned, simple" in " ".join(done.stdout.split())
    folder = outputs / "sweeps" / "re-main-smoke"
    markdown = (folder / "table.md").read_text()
    for words in ("Fine-tuned, simple", "Linear SVM", "Retrieval helps the fine-tuned model", "90.5"):
        assert words in markdown
    assert {"table.md", "table.tex", "table.csv", "table.html", "rows.png", "claims.png", "receipt.json"} <= {
        path.name for path in folder.iterdir()
    }


def test_a_table_knows_which_of_its_rows_no_seed_changes(finished):
    outputs, _ = finished
    written = json.loads((outputs / "sweeps" / "re-main-smoke" / "receipt.json").read_text())
    trained = {"Encoder with a linear head", "Fine-tuned, simple", "Fine-tuned, retrieval-augmented"}
    assert set(written["deterministic"]) == set(written["rows"]) - trained


def test_run_folder_holds_its_whole_record(finished):
    outputs, _ = finished
    for folder in (outputs / "runs").iterdir():
        names = {path.name for path in folder.iterdir()}
        assert {
            "config.yaml",
            "receipt.json",
            "metrics.jsonl",
            "examples.parquet",
            "summary.json",
            "heartbeat",
            "done.json",
        } <= names and not {"failed.json", "lease"} & names
        receipt = json.loads((folder / "receipt.json").read_text())
        assert receipt["inputs"] and receipt["packages"]["torch"] and len(receipt["attempts"]) == 1


def test_base_model_was_built_once_for_all_cells(finished):
    outputs, _ = finished
    plan = json.loads(papergrid("plan", "sweep=re/main", "scale=smoke", "--json", outputs=outputs).stdout)
    needs = {cell["needs"][0] for cell in plan["cells"] if cell["row"].startswith("Zero-shot")}
    assert len(needs) == 1 and (outputs / "stages" / "training" / needs.pop() / "stage.json").is_file()
    assert plan["cell_seconds"] == 0 and {stage["state"] for stage in plan["stages"]} == {"done"}


def test_the_same_command_again_runs_nothing(finished):
    outputs, first = finished
    before = {path: path.stat().st_mtime_ns for path in (outputs / "runs").rglob("*")}
    again = papergrid("sweep", "sweep=re/main", "scale=smoke", outputs=outputs)
    assert {path: path.stat().st_mtime_ns for path in (outputs / "runs").rglob("*")} == before
    assert again.stdout.split("macro")[-1] == first.stdout.split("macro")[-1]


def test_another_sweep_shares_the_cells_that_it_has_in_common(finished):
    outputs, _ = finished
    found = states(outputs, "sweep=re/decoding", "scale=smoke")
    assert found.count("done") == 6 and {"done", "cached"} <= set(found) <= {"done", "cached", "missing"}


def test_changed_evaluation_does_not_retrain(finished, tmp_path):
    outputs, _ = finished
    copied = tmp_path / "outputs"
    shutil.copytree(outputs, copied)
    selection = ("sweep=re/main", "scale=smoke", "evaluation.limit=20", "seeds=0")
    found = states(copied, *selection)
    # Classical baselines have nothing to keep; whatever was trained is there.
    assert found.count("cached") == 3 and "done" not in found
    before = sorted(path.name for path in (copied / "stages" / "training").iterdir())
    papergrid("sweep", *selection, outputs=copied)
    assert sorted(path.name for path in (copied / "stages" / "training").iterdir()) == before


@pytest.mark.slow
def test_failed_cells_are_named_and_leave_a_record(tmp_path):
    outputs = tmp_path / "outputs"
    selection = ("sweep=re/main", "scale=smoke", "seeds=0")
    done = papergrid("sweep", *selection, "engine.memory_gib=0.05", outputs=outputs, expect=1)
    assert "stopped early" in done.stderr and "Constant class" in done.stderr and "out of memory" in done.stderr
    records = [json.loads(path.read_text()) for path in outputs.glob("runs/*/failed.json")]
    assert records and {record["class"] for record in records} == {"oom"}
    papergrid("sweep", *selection, outputs=outputs)
    assert set(states(outputs, *selection)) == {"done"}


@pytest.mark.parametrize(
    "victim",
    [
        "examples.parquet",
        "summary.json",
        "config.yaml",
        "receipt.json",
        "metrics.jsonl",
        "done.json",
        "stage",
        "stage.json",
        "rows.png",
        "table receipt",
        "table.md",
        "table.csv",
        "table.tex",
        "table.html",
        "claims.csv",
    ],
)
def test_tampering_with_any_file_is_caught(finished, tmp_path, victim, capsys):
    outputs, _ = finished
    copied = tmp_path / "outputs"
    shutil.copytree(outputs, copied)
    assert verify_outputs(copied) == 0
    if victim == "stage":
        path = sorted((copied / "stages" / "training").glob("*/model.safetensors"))[0]
    elif victim == "stage.json":
        path = sorted((copied / "stages" / "embeddings").glob("*/stage.json"))[0]
    elif victim.startswith(("table", "claims", "rows")):
        path = copied / "sweeps" / "re-main-smoke" / victim.replace("table receipt", "receipt.json")
    else:
        folder = next(
            folder
            for folder in sorted((copied / "runs").iterdir())
            if (folder / "metrics.jsonl").stat().st_size and (folder / victim).is_file()
        )
        path = folder / victim
    content = bytearray(path.read_bytes())
    digits = [index for index, byte in enumerate(content) if chr(byte).isdigit()]
    position = digits[len(digits) // 2] if victim != "stage" and digits else len(content) // 2
    content[position] = ord("7") if content[position] != ord("7") else ord("3")
    path.write_bytes(bytes(content))
    assert verify_outputs(copied) == 1
    assert "does not hold" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "told", "fault"),
    [
        ("scale=smoke", "scale=tiny", "has changed since it was written"),
        ('"1":', '"7":', "has changed since it was written"),
        ('"digest"', '"digests"', "has no digest of its own"),
    ],
)
def test_a_changed_receipt_of_a_table_is_caught_where_no_number_depends_on_it(
    finished, tmp_path, capsys, said, told, fault
):
    copied = tmp_path / "outputs"
    shutil.copytree(finished[0], copied)
    path = copied / "sweeps" / "re-main-smoke" / "receipt.json"
    assert said in path.read_text(encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8").replace(said, told), encoding="utf-8")
    assert verify_outputs(copied) == 1
    assert f"receipt.json {fault}" in capsys.readouterr().err


def test_table_of_an_unfinished_sweep_says_what_is_missing(finished):
    outputs, _ = finished
    done = papergrid("table", "sweep=re/prompt", "scale=smoke", outputs=outputs, expect=1)
    assert "papergrid sweep sweep=re/prompt scale=smoke" in " ".join(done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_sweep_told_to_end_says_what_it_leaves_and_the_same_command_goes_on(number, status, tmp_path):
    outputs = tmp_path / "outputs"
    long = ("sweep=re/main", "scale=smoke", "seeds=0", "trainer.max_epochs=150", "trainer.checkpoint_every=0.1")
    sweep = subprocess.Popen(
        [sys.executable, "-m", "sweeps.cli", "sweep", *long, f"paths.outputs={outputs}"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests that run in the background inherit an ignored Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 600
    while not list(outputs.glob("stages/training/*.partial/checkpoints/*.ckpt")):
        assert sweep.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    workers = psutil.Process(sweep.pid).children(recursive=True)
    # What a terminal does: the signal goes to the driver's whole process group.
    (os.killpg if number == signal.SIGINT else os.kill)(sweep.pid, number)
    _, said = sweep.communicate(timeout=60)
    assert sweep.returncode == status and not psutil.wait_procs(workers, timeout=20)[1]
    assert said.splitlines()[-1].startswith("papergrid: the process was ") and "the same command" in said
    assert "interrupted: " in said and "stopped with their checkpoints kept" in said and "Traceback" not in said
    found = states(outputs, *long)
    assert "running" not in found and "failed" in found
    records = [json.loads(path.read_text()) for path in outputs.glob("runs/*/failed.json")]
    assert {record["class"] for record in records} == {"preempted"}
    stopped = {path.parent.name for path in outputs.glob("runs/*/failed.json")}
    assert list(outputs.glob("stages/training/*.partial/checkpoints/*.ckpt"))
    before = {path.parent.name: path.stat().st_mtime_ns for path in outputs.glob("runs/*/done.json")}
    papergrid("sweep", *long, outputs=outputs)
    assert set(states(outputs, *long)) == {"done"}
    for name in stopped:
        assert len(json.loads((outputs / "runs" / name / "receipt.json").read_text())["attempts"]) == 2
    assert all((outputs / "runs" / name / "done.json").stat().st_mtime_ns == at for name, at in before.items())
