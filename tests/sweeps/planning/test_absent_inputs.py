"""A plan is useful where weights or data are missing; a sweep refuses in one line."""

import json

import pytest

from sweeps import cli
from sweeps.errors import UserError
from sweeps.planning.plan import Planner
from sweeps.signatures import signature

SELECTION = ("sweep=re/main", "scale=smoke", "seeds=0")
LACKING = [
    ("model=flan_t5_xl", "hf download google/flan-t5-xl"),
    ("data.files={train: no/such.jsonl, dev: no/such.jsonl, test: no/such.jsonl}", "no/such.jsonl"),
]


@pytest.fixture(autouse=True)
def empty_hub(tmp_path, monkeypatch):
    """A hub cache without anything in it, whatever this machine has."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize(("override", "said"), LACKING)
def test_plan_lists_the_cells_and_says_what_they_lack(tmp_path, capsys, override, said):
    outputs = f"paths.outputs={tmp_path}/outputs"
    assert cli.main(["plan", *SELECTION, override, outputs, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    lacking = [cell for cell in plan["cells"] if cell["remarks"]]
    assert lacking and all(cell["state"] == "missing" and cell["signature"] is None for cell in lacking)
    assert any(said in remark for cell in lacking for remark in cell["remarks"])
    assert cli.main(["plan", *SELECTION, override, outputs, "--cells"]) == 0
    text = capsys.readouterr().out
    assert said in " ".join(text.split()) and " - " in text
    assert cli.main(["status", *SELECTION, override, outputs]) == 0
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(("override", "said"), LACKING)
def test_sweep_refuses_in_one_line(tmp_path, capsys, override, said):
    assert cli.main(["sweep", *SELECTION, override, f"paths.outputs={tmp_path}/outputs"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("papergrid: ") and said in lines[0]
    assert not (tmp_path / "outputs").exists()


def test_provisional_names_are_those_of_no_run(tmp_path):
    overrides = ("scale=smoke", "experiment=re_smoke")
    there, lacking = Planner().cell(overrides), Planner(lenient=True).cell((*overrides, "model=flan_t5_xl"))
    assert lacking.absent and not there.absent
    assert Planner(lenient=True).cell(overrides) == there
    with pytest.raises(UserError, match="flan-t5-xl"):
        Planner().cell((*overrides, "model=flan_t5_xl"))


def test_a_file_name_that_is_wrong_is_refused_even_by_a_plan():
    with pytest.raises(UserError, match="below the data root"):
        Planner(lenient=True).cell(("data=samples", "data.files={train: /etc/passwd}"))


def test_a_signer_looks_every_input_up_once(monkeypatch):
    looked = []
    monkeypatch.setattr(signature, "locate", lambda name: looked.append(name) or name)
    monkeypatch.setattr(signature, "digest", lambda path: f"digest of {path}")
    signer = signature.Signer()
    config = {"data": {"files": {"train": "a", "test": "b"}}, "base": {"data": {"files": "a"}}}
    assert signer.inputs(config) == signer.inputs(config) == {"a": "digest of a", "b": "digest of b"}
    assert looked == ["a", "b"]
