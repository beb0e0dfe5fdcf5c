"""The W&B run of a cell: read back from its .wandb file, and served online by a loopback stub."""

import contextlib
import os
import time

import pandas as pd
import psutil
import pytest
import wandb

from sweeps.logging import wandb_run
from sweeps.logging.run_log import read_metrics
from tests.sweeps.forking import CONTEXT, in_fork
from tests.sweeps.logging.test_run_log import loss, open_log, rows
from tests.sweeps.logging.wandb_views import find_runs, read_run
from tests.sweeps.wandb_stub import KEY, WandbStub

LABELS = ("Cause-Effect(e1,e2)", "Cause-Effect(e2,e1)", "Other")
CONFIG = {
    "seed": 3,
    "method": {"_target_": "lightning_modules.relations.re.RE", "lr": 1e-4, "layers": [1, 2]},
    "base": None,
}
PER_CLASS = pd.DataFrame({"label": LABELS, "precision": [0.5, 1.0, None], "support": [2, 1, 0]}, index=[7, 8, 9])
# This module has imported wandb, as the warm parent of the local engine has; every run below is in a fork of it.
QUICK = {
    "init_timeout": 20,
    "finish_timeout": 5,
    "login_timeout": 5,
    "x_graphql_retry_max": 1,
    "x_graphql_retry_wait_min_seconds": 0.1,
    "x_graphql_retry_wait_max_seconds": 0.2,
    "x_file_stream_transmit_interval": 0.2,
}
GIVES_UP = {
    "x_file_stream_retry_max": 1,
    "x_file_stream_retry_wait_min_seconds": 0.1,
    "x_file_stream_retry_wait_max_seconds": 0.2,
}


@pytest.fixture(autouse=True)
def wandb_environment(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def online(monkeypatch):
    """Points wandb at a stub, with short patience."""

    def point(stub, **changes):
        monkeypatch.setenv("WANDB_BASE_URL", stub.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setattr(wandb_run, "ONLINE", {**QUICK, **changes})

    return point


def cell(folder, *, wandb="offline", steps=60, error=None, **changes):
    """One cell's logging; returns the log's warning and the service processes that it left."""

    def work():
        tags = ("re", "re/main", "BM25, k=5", "re")
        log = open_log(folder, wandb=wandb, config=CONFIG, tags=tags, **changes)
        with contextlib.suppress(FloatingPointError), log:
            for step in range(steps):
                log.metrics(step, {"train/loss": loss(step)})
                if step % 20 == 0:
                    log.metrics(step, {"dev/macro_f1": float(step), "dev/bad": float("nan")})
            if error:
                raise error
            log.table("per_class", PER_CLASS)
            log.confusion([LABELS[0], LABELS[0], LABELS[1]], [LABELS[0], "", LABELS[1]], LABELS)
            log.summary({"macro_f1": 81.25, "invalid_rate": 0.5})
        return log.warning, [child.pid for child in psutil.Process().children(recursive=True)]

    return in_fork(work)


def same(left, right):
    """Equality of rows in which NaN equals NaN."""
    return [spelt(row) for row in left] == [spelt(row) for row in right]


def spelt(row):
    return sorted((key, repr(float(value))) for key, value in row.items())


def test_everything_is_read_back_from_the_wandb_file(tmp_path, capfd):
    warning, _ = cell(tmp_path / "run", run_id="0a1b-2")
    (path,) = find_runs(tmp_path / "run")
    run = read_run(path)
    assert (run.run_id, run.name, run.project, run.group, run.job_type) == (
        "0a1b-2",
        "row seed 0",
        "papergrid",
        "re/main",
        "training",
    )
    assert sorted(run.tags) == ["BM25, k=5", "re", "re/main"]
    assert run.config == CONFIG
    assert len(run.metrics) == 63
    assert same(run.metrics, rows(tmp_path / "run"))
    assert len(run.history()) == 63 and set(run.history()) == {"step", "train/loss", "dev/macro_f1", "dev/bad"}
    table = run.table("per_class")
    assert list(table) == ["label", "precision", "support"]
    assert table["label"].tolist() == list(LABELS)
    assert table["precision"].tolist()[:2] == [0.5, 1.0] and table["precision"].isna().tolist() == [False, False, True]
    assert run.panels == ("confusion_matrix",)
    counts = run.table("confusion_matrix_table").set_index(["Actual", "Predicted"])["nPredictions"]
    for pair in ((LABELS[0], LABELS[0]), (LABELS[0], "(invalid)"), (LABELS[1], LABELS[1])):
        assert counts[pair] == 1
    assert counts.sum() == 3 and len(counts) == 16
    assert run.summary["macro_f1"] == 81.25 and run.summary["invalid_rate"] == 0.5
    assert run.exit_code == 0
    assert warning == ""
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ValueError, match="has no table 'per_clas': it has confusion_matrix_table, per_class"):
        run.table("per_clas")


def test_an_error_marks_the_run_failed(tmp_path):
    cell(tmp_path, steps=3, error=FloatingPointError("loss is nan"))
    (path,) = find_runs(tmp_path)
    run = read_run(path)
    assert run.exit_code == 1
    assert same(run.metrics, rows(tmp_path))


def test_one_run_per_cell_in_one_process(tmp_path):
    def work():
        for seed in range(2):
            with open_log(tmp_path / str(seed), wandb="offline", run_id=f"cell{seed}-1", config={"seed": seed}) as log:
                log.metrics(1, {"train/loss": float(seed)})
        return wandb.run is None, os.environ.get("WANDB_DATA_DIR")

    assert in_fork(work) == (True, None)
    for seed in range(2):
        (path,) = find_runs(tmp_path / str(seed))
        run = read_run(path)
        assert (run.run_id, run.config, run.exit_code) == (f"cell{seed}-1", {"seed": seed}, 0)
        assert run.metrics == [{"step": 1, "train/loss": float(seed)}]


def test_no_wandb_leaves_no_trace(tmp_path):
    _, services = cell(tmp_path, wandb=None)
    assert services == []
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("config", "cache")] == ["metrics.jsonl"]


def log_for_ever(folder, pipe):
    log = open_log(folder, wandb="offline")
    pipe.send(psutil.Process().children()[0].pid)
    for step in range(1_000_000):
        log.metrics(step, {"train/loss": loss(step)})
        time.sleep(0.1)


def gone(pid, within=15.0):
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


def test_a_killed_cell_leaves_a_readable_run_that_lacks_little(tmp_path):
    mine, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=log_for_ever, args=(tmp_path, theirs))
    process.start()
    theirs.close()
    service = mine.recv()
    time.sleep(2.5)
    psutil.Process(service).kill()
    killed = time.time()
    process.kill()
    process.join()
    ours = read_metrics(tmp_path / "metrics.jsonl")
    assert killed - ours[-1]["time"] < 1.0, "metrics.jsonl lost more than its last second"
    (path,) = find_runs(tmp_path)
    run = read_run(path)
    assert run.exit_code is None
    theirs_rows = run.metrics
    assert same(theirs_rows, rows(tmp_path)[: len(theirs_rows)])
    lost = killed - ours[len(theirs_rows) - 1]["time"]
    assert lost < 2.5, f"the .wandb file lacks the last {lost:.1f} s: it is flushed every second"


def test_the_service_process_goes_with_its_worker(tmp_path):
    _, services = cell(tmp_path, steps=2)
    assert services, "the run had no service process"
    assert all(gone(pid) for pid in services)


def test_online_the_server_receives_every_row(tmp_path, online):
    with WandbStub() as stub:
        online(stub)
        warning, _ = cell(tmp_path, wandb="online", entity="lab", run_id="0a1b-1")
    assert warning == ""
    assert stub.peers == {"127.0.0.1"}
    sent = [{key: value for key, value in row.items() if not key.startswith("_")} for row in stub.history]
    numbers = [
        {key: float("nan") if value == "NaN" else value for key, value in row.items()}
        for row in sent
        if not any(isinstance(value, dict) for value in row.values())
    ]
    assert len(numbers) == 63
    assert same(numbers, rows(tmp_path))
    first = stub.upserts[0]
    assert (first["name"], first["project"], first["entity"], first["groupName"], first["jobType"]) == (
        "0a1b-1",
        "papergrid",
        "lab",
        "re/main",
        "training",
    )
    assert sorted(first["tags"]) == ["BM25, k=5", "re", "re/main"]
    assert stub.summary["macro_f1"] == 81.25
    assert stub.exit_codes == [0]
    assert any("per_class" in name for name in stub.uploads)


@pytest.mark.parametrize("fault", ["reset", pytest.param("429", marks=pytest.mark.slow)])
def test_a_server_out_of_reach_leaves_an_offline_run_and_one_line(tmp_path, online, capfd, fault):
    with WandbStub(fault=fault, where="graphql") as stub:
        online(stub)
        warning, _ = cell(tmp_path, wandb="online")
    assert stub.faults >= 2, "no request was tried again"
    (path,) = find_runs(tmp_path)
    assert warning.endswith(f"upload it later with: wandb sync {path.parent}")
    assert "goes on offline" in warning
    assert capfd.readouterr() == ("", warning + "\n")
    run = read_run(path)
    assert same(run.metrics, rows(tmp_path)) and len(run.metrics) == 63
    assert run.exit_code == 0
    assert set(run.tags) == {"BM25, k=5", "re", "re/main"}


@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        pytest.param("429", GIVES_UP, id="429, gives up"),
        pytest.param("reset", {"finish_timeout": 1}, id="reset, runs out of time"),
        pytest.param("reset", GIVES_UP, id="reset, gives up", marks=pytest.mark.slow),
        pytest.param("429", {"finish_timeout": 1}, id="429, runs out of time", marks=pytest.mark.slow),
    ],
)
def test_an_upload_that_breaks_leaves_the_whole_run_on_disk(tmp_path, online, capfd, fault, changes):
    with WandbStub(fault=fault, where="file_stream", after=1) as stub:
        online(stub, **changes)
        warning, _ = cell(tmp_path, wandb="online")
    assert stub.faults >= 1 and stub.exit_codes == []
    (path,) = find_runs(tmp_path)
    assert "not uploaded whole" in warning and warning.endswith(f"wandb sync {path.parent}")
    assert capfd.readouterr() == ("", warning + "\n")
    run = read_run(path)
    assert same(run.metrics, rows(tmp_path)) and len(run.metrics) == 63


def test_without_credentials_the_run_goes_on_offline(tmp_path, online, monkeypatch):
    with WandbStub() as stub:
        online(stub)
        monkeypatch.delenv("WANDB_API_KEY")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        warning, _ = cell(tmp_path / "run", wandb="online", steps=2)
    assert "No API key configured" in warning and "wandb sync" in warning
    assert stub.upserts == []
    (path,) = find_runs(tmp_path / "run")
    assert read_run(path).exit_code == 0


def test_a_wandb_run_that_breaks_does_not_take_the_cell_with_it(tmp_path, capfd):
    def work():
        with open_log(tmp_path, wandb="offline") as log:
            log.metrics(1, {"a": 1.0})
            log._wandb._run.finish()
            log.metrics(2, {"a": 2.0})
            log.metrics(3, {"a": 3.0})
        return log.warning

    warning = in_fork(work)
    assert "did not take a row" in warning
    assert capfd.readouterr() == ("", warning + "\n")
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is no file"):
        read_run(tmp_path / "run-x.wandb")
    (tmp_path / "run-x.wandb").write_bytes(b"")
    with pytest.raises(ValueError, match="holds no W&B run record"):
        read_run(tmp_path / "run-x.wandb")
