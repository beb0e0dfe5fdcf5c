"""A finished table as data: complete, the same every time, silent about the machine; refused where it is not whole."""

import csv
import json
import socket
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest

from data.relations.formats import SEMEVAL_LABELS
from sweeps import cli
from sweeps.errors import UserError
from sweeps.reporting.pages import index, write_pages
from sweeps.reporting.publish import _changed_code, publish
from sweeps.reporting.published_records import named, rounded
from sweeps.signatures.signature import ROOT

COMMIT = "0123456789abcdef0123456789abcdef01234567"
STARTED = 1_795_934_700.0  # 2026-11-29 UTC


def select(outputs, *arguments):
    flags = {"--accept-code-drift"}
    return cli.select(["sweep=re/main", "scale=smoke", f"paths.outputs={outputs}", *arguments], flags=flags)


def finish(selection, *, leave=0, **changed):
    """Leaves results with receipts of all cells but the last ``leave``; ``changed``: fields of every receipt."""
    cells = list({cell.signature: cell for cell in selection.cells}.values())
    for number, cell in enumerate(cells[: len(cells) - leave]):
        folder = selection.ledger.outputs / "runs" / cell.signature
        folder.mkdir(parents=True)
        gold = [SEMEVAL_LABELS[place % 7] for place in range(40)]
        said = [label if (place + number) % 3 else SEMEVAL_LABELS[(place + 1) % 7] for place, label in enumerate(gold)]
        examples = {"example_id": [f"{place:03d}" for place in range(40)], "gold": gold, "prediction": said}
        pd.DataFrame(examples).to_parquet(folder / "examples.parquet")
        done = {"finished": STARTED + 10 * number, "seconds": 4.0, "stages": []}
        receipt = {
            "training": cell.training,
            "commit": COMMIT,
            "patch_sha256": "",
            "left_out": {},
            "inputs": {"/home/somebody/datasets/re/train.jsonl.gz": "aa", "re/test.jsonl.gz": "bb"},
            "packages": {"torch": "2.13.0", "unrelated": "1"},
            "hardware": {
                "system": f"Linux-of-{socket.gethostname()}",
                "processor": "CPU",
                "cores": 2,
                "python": "3.11.7",
            },
            "attempts": [{"started": STARTED + 10 * number - 4, "pid": 7}],
            **changed,
        }
        (folder / "done.json").write_text(json.dumps(done))
        (folder / "receipt.json").write_text(json.dumps(receipt))
        (folder / "summary.json").write_text(json.dumps({"macro_f1": 100 / 3, "accuracy": 50.0 + number}))


def published(selection, folder, **options):
    path = publish(selection, folder=folder, **{"tree": "", **options})
    return json.loads(path.read_text())


def test_every_cell_row_and_claim_is_there_with_commit_command_and_versions(tmp_path):
    selection = select(tmp_path / "outputs")
    finish(selection)
    data = published(selection, tmp_path / "results")
    assert data["name"] == "re-main-smoke" and data["command"] == "make re-main SCALE=smoke"
    assert (data["commit"], data["commits"], data["dirty"], data["date"]) == (COMMIT, [COMMIT], False, "2026-11-29")
    assert data["versions"] == {"python": ["3.11.7"], "torch": ["2.13.0"]}
    assert data["hardware"] == [{"processor": "CPU", "cores": 2}]
    assert data["data"] == {"re/test.jsonl.gz": "bb", "re/train.jsonl.gz": "aa"}
    assert data["config"]["file"] == "sweeps/papers/re/main.yaml" and (ROOT / data["config"]["file"]).is_file()
    runs = len({cell.signature for cell in selection.cells})
    assert data["seconds"]["cells"] == 4.0 * runs and data["seconds"]["elapsed"] == 10 * (runs - 1) + 4
    wanted = [(cell.row, cell.seed, cell.signature, cell.science) for cell in selection.cells]
    assert [(one["row"], one["seed"], one["signature"], one["science"]) for one in data["cells"]] == wanted
    assert all(one["status"] == "done" and one["commit"] == COMMIT and one["overrides"] for one in data["cells"])
    assert data["cells"][0]["scores"]["macro_f1"] == 33.3333
    printed = [score["published"] for row in data["rows"] for score in row["scores"].values() if score["published"]]
    assert printed and all(one["source"] for one in printed)
    assert {claim["id"] for claim in data["claims"]} <= {claim["id"] for claim in selection.definition.claims}
    assert {"estimate", "p", "verdict", "smallest_detectable"} <= set(data["claims"][0])
    assert (tmp_path / "results" / "re-main-smoke-rows.svg").is_file() and "re-main-smoke-rows.svg" in data["figures"]


def test_the_difference_is_ours_minus_the_papers_where_both_are_comparable(tmp_path):
    selection = select(tmp_path / "outputs")
    finish(selection)
    data = published(selection, tmp_path / "results")
    scores = [score for row in data["rows"] for score in row["scores"].values()]
    compared = [score for score in scores if score["difference"] is not None]
    for score in compared:
        assert score["difference"] == pytest.approx(score["ours"]["value"] - score["published"]["value"], abs=1e-3)
    apart = [score for score in scores if score["published"] and not score["published"]["comparable"]]
    assert all(score["difference"] is None for score in apart) and (compared or apart)


def test_the_same_runs_give_the_same_bytes_from_any_folder(tmp_path):
    one, other = select(tmp_path / "one"), select(tmp_path / "other" / "deeper")
    finish(one)
    finish(other)
    publish(one, folder=tmp_path / "a", tree="")
    publish(other, folder=tmp_path / "b", tree="")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir()) and len(names) >= 3
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_no_machine_person_or_folder_is_named(tmp_path):
    selection = select(tmp_path / "outputs")
    finish(selection)
    data = json.dumps(published(selection, tmp_path / "results"))
    for private in (str(tmp_path), str(ROOT), "somebody", "Linux-of", "paths.outputs"):
        assert private not in data


def test_a_setting_that_names_a_folder_of_this_machine_is_refused(tmp_path):
    selection = select(tmp_path / "outputs")
    base = (*selection.definition.base, f"model.path={ROOT}/own")
    selection.definition = replace(selection.definition, base=base)
    finish(selection)
    with pytest.raises(UserError, match="of this machine: give settings with paths relative"):
        publish(selection, folder=tmp_path / "results", tree="")
    assert not list((tmp_path / "results").glob("*"))


def test_unfinished_cells_are_refused_or_said(tmp_path):
    selection = select(tmp_path / "outputs")
    finish(selection, leave=1)
    with pytest.raises(UserError, match=r"unfinished, the first .*--partial"):
        publish(selection, folder=tmp_path / "results", tree="")
    data = published(selection, tmp_path / "results", partial=True)
    last = data["cells"][-1]
    assert last["status"] == "missing" and last["scores"] == {} and data["missing"]
    assert "(partial)" in index(tmp_path / "results")
    with (tmp_path / "results" / "re-main-smoke.csv").open() as file:
        assert {"done", "partial", "missing"} & {line["status"] for line in csv.DictReader(file)} >= {"done", "missing"}


def test_a_sweep_without_any_run_is_refused_even_with_gaps_allowed(tmp_path):
    with pytest.raises(UserError, match="has no finished run: make re-main SCALE=smoke"):
        publish(select(tmp_path / "outputs"), partial=True, folder=tmp_path / "results", tree="")


@pytest.mark.parametrize(
    ("receipt", "tree"),
    [({"patch_sha256": "ab"}, ""), ({"left_out": {"big.py": 9}}, ""), ({}, "diff --git a/sweeps/x.py b/sweeps/x.py")],
)
def test_code_that_is_not_committed_is_refused_or_said(tmp_path, receipt, tree):
    selection = select(tmp_path / "outputs")
    finish(selection, **receipt)
    with pytest.raises(UserError, match=r"not committed: .*--dirty"):
        publish(selection, folder=tmp_path / "results", tree=tree)
    assert published(selection, tmp_path / "results", tree=tree, dirty=True)["dirty"] is True


def test_a_change_of_pages_alone_is_no_change_of_code():
    assert not _changed_code("diff --git a/docs/re.md b/docs/re.md\n+ sweeps/x.py\n")
    assert _changed_code("diff --git a/docs/re.md b/docs/re.md\ndiff --git a/conf/a.yaml b/conf/a.yaml\n")


def test_runs_without_a_commit_are_refused(tmp_path):
    selection = select(tmp_path / "outputs")
    finish(selection, commit="")
    with pytest.raises(UserError, match="no commit in their receipt"):
        publish(selection, folder=tmp_path / "results", tree="", dirty=True)


def test_a_changed_table_has_a_name_and_a_command_of_its_own(tmp_path):
    selection = select(tmp_path / "outputs", "seeds=3,4", "model.optimiser.learning_rate=0.5")
    finish(selection)
    data = published(selection, tmp_path / "results")
    assert data["name"].startswith("re-main-smoke-with-")
    assert data["command"] == "make re-main SCALE=smoke SEEDS=3,4 ARGS='model.optimiser.learning_rate=0.5'"


def test_numbers_have_six_digits_and_no_negative_zero():
    assert rounded({"a": [1 / 3, -0.0, float("nan"), 7, True, None]}) == {"a": [0.333333, 0.0, None, 7, True, None]}
    assert str(rounded(-0.0)) == "0.0"


def test_a_data_file_is_named_below_the_data_root():
    assert named("/somewhere/datasets/re/x.gz") == "re/x.gz"
    assert named("/somewhere/x.gz") == "x.gz" and named("re/x.gz") == "re/x.gz"


def test_the_command_refuses_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sweeps.cli", "publish", "sweep=re/main", "scale=smoke", f"paths.outputs={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "no finished run" in done.stderr


def test_pages_and_index_follow_what_was_published(tmp_path):
    selection = select(tmp_path / "outputs")
    finish(selection)
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "re.md"
    page.write_text("<!-- results: re-main-smoke verdicts -->\n<!-- end -->\n")
    publish(selection, folder=tmp_path / "docs" / "results", tree="")
    assert write_pages(tmp_path) == 0
    assert "`make re-main SCALE=smoke`" in page.read_text()
    assert "| re/main | smoke |" in (tmp_path / "docs" / "results" / "README.md").read_text()
