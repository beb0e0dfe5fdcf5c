"""A cell runs under the name that it was planned under, or not at all."""

import json
import sys

import pytest

from sweeps.errors import UserError
from sweeps.run import Job, execute
from sweeps.signatures import closure, run_names, signature

LOSS = "def loss(x):\n    return x\n"


@pytest.fixture
def planned(tmp_path, monkeypatch):
    monkeypatch.setattr(closure, "_loaded", {})
    monkeypatch.setattr(run_names, "_signer", [])
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "persons_loss.py"
    path.write_text(LOSS)
    config = {"method": {"loss": {"_target_": "persons_loss.loss"}}, "evaluation": {"split": "test"}}
    blanked = {**config, "evaluation": {"split": None}}
    return path, config, blanked, signature.evaluation_signature(config, signature.training_signature(blanked))


def test_a_cell_whose_code_changed_after_the_plan_is_refused_in_one_line(planned, tmp_path):
    path, config, blanked, name = planned
    run_names.as_planned(config, blanked, name)
    closure._loaded.clear()
    path.write_text(LOSS.replace("x\n", "2 * x\n"))
    with pytest.raises(UserError, match="have changed since it was planned"):
        run_names.as_planned(config, blanked, name)
    job = Job(name, "t", "s", config, blanked, (), str(tmp_path / "out"))
    assert execute(job) == 1 and not (job.folder / "done.json").exists()
    record = json.loads((job.folder / "failed.json").read_text())
    assert record["class"] == "bad-data" and "give the same command again" in record["reason"]


def test_names_stay_those_of_the_start_whatever_is_edited_meanwhile(planned):
    path, config, blanked, name = planned
    _, code = run_names.as_planned(config, blanked, name)
    assert code[str(path)] == LOSS.encode()
    before = run_names.training_name(blanked)
    path.write_text(LOSS.replace("x\n", "2 * x\n"))
    assert run_names.training_name(blanked) == before == signature.training_signature(blanked)
    run_names.as_planned(config, blanked, name)  # the process runs what it has loaded


def test_what_was_loaded_and_not_counted_is_told(planned, capsys):
    path, config, blanked, name = planned
    _, code = run_names.as_planned(config, blanked, name)
    before = set(sys.modules)
    path.with_name("persons_other.py").write_text("x = 1\n")
    __import__("persons_loss"), __import__("persons_other")
    found = run_names.uncounted(before, code)
    assert list(found) == [str(path.with_name("persons_other.py"))]
    assert "persons_other.py was loaded, but no name of a run covers it" in capsys.readouterr().err
