"""Which stages are needed, and that pruning takes nothing else."""

import json

import pytest

from sweeps.errors import UserError
from sweeps.execution.stages import StageStore
from sweeps.reporting.stage_listing import show_stages


def fill(folder):
    (folder / "a").write_text("content")


def run_folder(outputs, name, *, needs=(), done=True, stages=None):
    folder = outputs / "runs" / name
    folder.mkdir(parents=True)
    (folder / "receipt.json").write_text(json.dumps({"needs": list(needs)}))
    if done:
        (folder / "done.json").write_text(json.dumps({"training": needs[-1], **({"stages": stages} if stages else {})}))


@pytest.fixture
def outputs(tmp_path):
    store = StageStore(tmp_path / "stages")
    for key in ("base", "own", "orphan"):
        store.get("training", key, fill)
    store.get("embeddings", "read", fill)
    store.get("embeddings", "unread", fill)
    for name in ("left.partial", "goes-on.partial", "own.corrupt-1"):
        (tmp_path / "stages" / "training" / name).mkdir()
    run_folder(tmp_path, "r1", needs=("base", "own"), stages=["embeddings/read", "training/base"])
    run_folder(tmp_path, "r2", needs=("base", "goes-on"), done=False)
    return tmp_path


def left(outputs):
    return sorted(path.relative_to(outputs / "stages").as_posix() for path in outputs.glob("stages/*/*"))


def test_a_dry_run_names_what_would_go_and_deletes_nothing(outputs, capsys):
    before = left(outputs)
    assert show_stages(outputs, prune=True, yes=False) == 0
    text = capsys.readouterr().out
    for gone in ("training/orphan", "training/left.partial", "training/own.corrupt-1"):
        assert f"would delete {gone}" in text
    assert "nothing was deleted" in text and left(outputs) == before


def test_prune_deletes_what_no_run_needs_and_nothing_else(outputs):
    # An unfinished run does not say yet which data-side stages it read: those all stay.
    assert show_stages(outputs, prune=True, yes=True) == 0
    assert left(outputs) == [
        "embeddings/read",
        "embeddings/unread",
        "training/base",
        "training/goes-on.partial",
        "training/own",
    ]


def test_data_side_stages_go_once_every_run_says_what_it_read(outputs):
    (outputs / "runs" / "r2" / "done.json").write_text(json.dumps({"training": "goes-on", "stages": ["training/base"]}))
    show_stages(outputs, prune=True, yes=True)
    assert left(outputs) == ["embeddings/read", "training/base", "training/own"]


def test_the_listing_says_who_uses_a_stage(outputs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    (outputs / "sweeps" / "re-main-tiny").mkdir(parents=True)
    (outputs / "sweeps" / "re-main-tiny" / "receipt.json").write_text(json.dumps({"rows": {"row": {"0": "r1"}}}))
    show_stages(outputs, prune=False, yes=False)
    lines = {" ".join(line.split()[:2]): " ".join(line.split()) for line in capsys.readouterr().out.splitlines()}
    assert lines["training base"].endswith("2 runs (re-main-tiny)")
    assert lines["training own"].endswith("1 run (re-main-tiny)")
    assert lines["embeddings read"].endswith("1 run (re-main-tiny)")
    assert lines["training goes-on"].endswith("1 run")
    assert not lines["training orphan"].endswith("run")


def test_a_folder_without_stages_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no stages"):
        show_stages(tmp_path, prune=False, yes=False)
