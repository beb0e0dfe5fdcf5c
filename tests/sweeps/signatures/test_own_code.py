"""A person's own package, outside of the repository: an edit of it is never answered with an old result."""

import json
import os
import subprocess
import sys

import pytest

from sweeps.signatures.modules import ROOT

RETRIEVER = """
from data.retrieval.random import RandomRetriever
from .inner import rules


class Mine(RandomRetriever):
    def search(self, queries, k, *rest, **more):
        return rules.changed(super().search(queries, k, *rest, **more))
"""
KEEPS = "def changed(hits):\n    return hits\n"
TURNS = "def changed(hits):\n    return hits._replace(indices=hits.indices[:, ::-1].copy())\n"
MADE_UP = """
from data.retrieval.random import RandomRetriever


class Mine(RandomRetriever):
    def search(self, queries, k, *rest, **more):
        exec("import importlib; self.rules = importlib.import_module(self.made_up())")
        return self.rules.changed(super().search(queries, k, *rest, **more))

    def made_up(self):
        return ".".join(reversed(["rules", "inner", "persons"]))
"""


@pytest.fixture
def person(tmp_path):
    """Writes a package, and runs a cell whose retriever it is; gives the record that the run prints."""

    def write(**modules):
        for name, text in modules.items():
            path = tmp_path / "elsewhere" / "persons" / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            (path.parent / "__init__.py").touch()

    def run(*more):
        command = [sys.executable, "-m", "sweeps.run", "data=samples", "method=neighbour_label", "retriever=random",
                   "prompt=labelled", "logger=none", f"paths.outputs={tmp_path / 'out'}", "seed=1",
                   "retriever._target_=persons.retriever.Mine", *more]  # fmt: skip
        path = os.pathsep.join([str(ROOT), str(tmp_path / "elsewhere")])
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
        assert done.returncode == 0, done.stderr[-2000:]
        found = json.loads(done.stdout[done.stdout.index("{") :])
        receipt = json.loads((tmp_path / "out" / "runs" / found["signature"] / "receipt.json").read_text())
        return found, receipt

    return write, run


def test_an_edited_retriever_is_run_and_its_lists_are_made_anew(person, tmp_path):
    write, run = person
    write(retriever=RETRIEVER, inner__rules=KEEPS)
    before, _ = run()
    write(inner__rules=KEEPS.replace("return", "# as it was\n    return"))
    assert run()[0] == before, "a comment changes nothing"
    write(inner__rules=TURNS)
    after, receipt = run()
    assert after["signature"] != before["signature"] and after["scores"] != before["scores"]
    plain, _ = run("retriever._target_=data.retrieval.random.RandomRetriever")
    assert plain["scores"] == before["scores"] and plain["signature"] != before["signature"]
    assert any(path.endswith("inner/rules.py") for path in receipt["code"]) and receipt["uncounted"] == {}
    patch = (tmp_path / "out" / "runs" / after["signature"] / "dirty.patch").read_text()
    assert "+    return hits._replace(indices=hits.indices[:, ::-1].copy())" in patch


def test_code_whose_name_is_made_up_as_it_runs_is_told_and_fails_verification(person, tmp_path, capsys):
    from sweeps.reporting.verify import run_faults

    write, run = person
    write(retriever=MADE_UP, inner__rules=KEEPS)
    found, receipt = run()
    assert [name.rpartition("/")[2] for name in receipt["uncounted"]] == ["__init__.py", "rules.py"]
    faults = list(run_faults(tmp_path / "out" / "runs" / found["signature"]))
    assert len(faults) == 2 and "its name does not cover" in faults[1]
