"""Which commit a branch of hub data stands for: from what this machine has, else from the hub; and what was read."""

import json
import os
import sys
import types

import pytest

from data.files import hub_commits, sources
from data.files.hub_commits import asked_commit, known_commit, loaded_commit, noting, read_digests
from data.files.sources import DataNotFoundError, hub_commit, read_hub, stream_hub

ONE, TWO, THREE = (letter * 40 for letter in "123")


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(hub_commits, "_MEMORY", tmp_path / "hub.json")
    monkeypatch.setattr(hub_commits, "_unreachable", [])
    monkeypatch.setattr(hub_commits, "_read", {})
    return tmp_path


def referred(machine, commit, revision="main"):
    place = machine / "hf" / "hub" / "datasets--owner--SomeSet" / "refs" / revision
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(commit)


def prepared(machine, commit, when=0):
    place = machine / "hf" / "datasets" / "owner___some_set" / "default" / "0.0.0" / commit
    place.mkdir(parents=True)
    os.utime(place, (when, when))


@pytest.fixture
def asked(monkeypatch):
    """Stands for the hub: a commit, or an error."""
    answers, questions = [], []

    class HfApi:
        def dataset_info(self, hub, *, revision, timeout):
            questions.append((hub, revision))
            if isinstance(answers[0], Exception):
                raise answers[0]
            return types.SimpleNamespace(sha=answers[0])

    monkeypatch.setattr("huggingface_hub.HfApi", HfApi)
    return answers, questions


def test_a_commit_is_its_own(machine):
    referred(machine, TWO, ONE)
    assert known_commit("owner/SomeSet", ONE) == ONE


def test_the_hubs_own_cache_knows_its_branches(machine):
    referred(machine, ONE)
    referred(machine, TWO, "v1")
    assert known_commit("owner/SomeSet") == known_commit("owner/SomeSet", "main") == ONE
    assert known_commit("owner/SomeSet", "v1") == TWO and known_commit("owner/SomeSet", "v2") is None


def test_what_the_library_prepared_last_is_what_it_reads_without_a_network(machine, monkeypatch):
    prepared(machine, ONE, 100)
    prepared(machine, TWO, 200)
    assert known_commit("owner/SomeSet") == TWO
    referred(machine, THREE)
    assert known_commit("owner/SomeSet") == THREE
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert known_commit("owner/SomeSet") == TWO


def test_the_hub_is_asked_once_and_its_answer_stays(machine, asked):
    answers, questions = asked
    answers.append(ONE)
    assert asked_commit("owner/SomeSet") == ONE
    answers[0] = TWO  # the branch has moved: a half-made table keeps its data
    assert asked_commit("owner/SomeSet", "main") == known_commit("owner/SomeSet") == ONE
    assert questions == [("owner/SomeSet", None)] and json.loads((machine / "hub.json").read_text())
    referred(machine, THREE)
    assert known_commit("owner/SomeSet") == THREE, "what was loaded since counts"


def test_without_a_network_one_question_is_enough(asked, monkeypatch):
    answers, questions = asked
    answers.append(OSError("no route"))
    assert asked_commit("owner/a") is asked_commit("owner/b") is None and len(questions) == 1
    with pytest.raises(DataNotFoundError, match=r"'owner/a' \(main\) were never loaded") as caught:
        hub_commit("owner/a", ask=True)
    assert "set the revision to a commit" in str(caught.value) and "\n" not in str(caught.value)


def test_offline_nobody_is_asked(asked, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert asked_commit("owner/a") is None and asked[1] == []


def test_looking_up_needs_no_library_of_the_hub(machine):
    import subprocess

    code = (
        "import sys; from data.files.sources import hub_commit, DataNotFoundError\n"
        "try: hub_commit('owner/never')\n"
        "except DataNotFoundError: print({'datasets', 'huggingface_hub', 'torch'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=sources.PROJECT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr


class Loaded:
    """What the library gives: rows, and the folder in which it prepared them."""

    def __init__(self, rows, commit):
        self.features = {}
        self.rows = rows
        self.cache_files = [{"filename": f"/c/owner___some_set/default/0.0.0/{commit}/set-test.arrow"}]

    def to_list(self):
        return self.rows

    def __iter__(self):
        return iter(self.rows)


@pytest.fixture
def library(monkeypatch):
    datasets = pytest.importorskip("datasets")
    calls, gives = [], [Loaded([{"a": 1}, {"a": 2}], ONE)]

    def load_dataset(hub, config, *, split, revision, **options):
        calls.append(revision)
        return gives[0]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls, gives


def test_a_branch_is_read_at_its_commit_and_what_was_read_is_digested(machine, library):
    calls, gives = library
    referred(machine, ONE)
    assert read_hub("owner/SomeSet", split="test", revision="main") == [{"a": 1}, {"a": 2}]
    ((name, first),) = read_digests().items()
    assert calls == [ONE] and name == f"hub:owner/SomeSet@{ONE} default test" and len(first) == 64
    gives[0] = Loaded([{"a": 1}, {"a": 3}], ONE)
    read_hub("owner/SomeSet", split="test")
    assert read_digests()[name] != first, "other rows under the same commit show"


def test_another_commit_than_the_planned_one_is_refused(machine, library):
    referred(machine, TWO)
    with pytest.raises(DataNotFoundError, match=f"wanted at commit {TWO[:12]}, the local cache has {ONE[:12]}"):
        read_hub("owner/SomeSet", split="test")


def test_an_unknown_branch_is_read_as_it_is_and_noted_by_the_commit_that_came(library):
    read_hub("owner/SomeSet", split="test", revision="v1", config="some")
    assert library[0] == ["v1"] and list(read_digests()) == [f"hub:owner/SomeSet@{ONE} some test"]


def test_of_a_stream_the_rows_that_were_taken_are_digested(machine, library):
    referred(machine, ONE)
    stream = stream_hub("owner/SomeSet", split="test")
    assert next(stream) == {"a": 1}
    stream.close()
    part = dict(read_digests())
    assert list(stream_hub("owner/SomeSet", split="test")) == [{"a": 1}, {"a": 2}]
    assert set(part) == set(read_digests()) and part != read_digests() and library[0] == [ONE, ONE]


def test_rows_of_any_values_are_digested():
    assert list(noting([{"b": b"\0", "a": None, "c": {1, 2}}], "x")) and len(read_digests()["x"]) == 64


def test_a_data_set_of_several_folders_has_no_commit():
    assert loaded_commit(types.SimpleNamespace()) is None
    assert loaded_commit(types.SimpleNamespace(cache_files=[{"filename": f"/{c}/x"} for c in (ONE, TWO)])) is None
