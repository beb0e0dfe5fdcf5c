"""All that a config names and a cell reads is an input, under whatever key it stands."""

import pytest

from sweeps.errors import UserError
from sweeps.signatures import named_inputs as inputs
from sweeps.signatures import signature
from sweeps.signatures.named_inputs import named_inputs


def kinds(config):
    return {(one.kind, one.label) for one in named_inputs(config)}


def test_files_weights_tokenizers_and_hub_data_are_found_at_any_depth():
    config = {
        "data": {"files": {"train": "a.jsonl", "test": None}, "judge": {"weights": "own/judge", "revision": "r1"}},
        "more": [{"files": "b.jsonl"}, {"files": ["c.jsonl", "d.jsonl"]}, {"files": None}],
        "corpus": {"hub": {"id": "o/wiki", "split": "train", "config": None, "revision": "main"}},
        "hub": {"train": {"id": "o/set", "split": "train"}, "test": {"id": "o/set", "split": "test", "revision": "v1"}},
        "chunk": {"tokenizer": "o/bert", "revision": None}, "words": {"tokenizer": "words", "revision": None},
        "model": {"weights": "package:p/model", "tokenizer": {"weights": "o/tok", "revision": None}},
    }  # fmt: skip
    assert kinds(config) == {
        ("file", "a.jsonl"), ("file", "b.jsonl"), ("file", "c.jsonl"), ("file", "d.jsonl"),
        ("weights", "own/judge@r1"), ("weights", "o/bert"), ("weights", "package:p/model"), ("weights", "o/tok"),
        ("hub", "hub:o/wiki@main"), ("hub", "hub:o/set@main"), ("hub", "hub:o/set@v1"),
    }  # fmt: skip


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "PROJECT", tmp_path / "project")
    monkeypatch.setenv("PAPERGRID_DATA", str(tmp_path / "root"))
    for name in ("project/own/rows.csv", "project/plain.txt", "root/re/rows.jsonl", "far.csv", "project/tasks/a.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one")
    return tmp_path


def test_a_text_that_is_the_path_of_a_file_is_an_input_under_any_key(places):
    config = {"data": {"mine": "own/rows.csv", "others": ["plain.txt", "re/rows.jsonl", str(places / "far.csv")],
                       "name": "own", "said": "a/b", "rate": 0.1, "long": "/" * 5000, "tasks": "own/"}}  # fmt: skip
    assert kinds(config) == {("path", "own/rows.csv"), ("path", "plain.txt"), ("path", "re/rows.jsonl"),
                             ("path", str(places / "far.csv"))}  # fmt: skip


@pytest.mark.parametrize("config", [{"mine": "own/rows.csv"}, {"include": "tasks"}])
def test_an_edited_file_or_folder_names_another_run(places, config):
    before = signature.training_signature({"data": config})
    for path in places.joinpath("project").rglob("*.*"):
        path.write_text("other words")
    assert signature.training_signature({"data": config}) != before


def test_two_revisions_of_one_model_are_two_inputs(monkeypatch):
    monkeypatch.setattr(signature, "locate_weights", lambda name, revision: f"{name} {revision}")
    monkeypatch.setattr(signature, "weights_digest", lambda folder: folder)
    config = {"a": {"weights": "o/m", "revision": "r1"}, "b": {"weights": "o/m", "revision": "r2"}}
    assert signature.inputs(config) == {"o/m@r1": "o/m r1", "o/m@r2": "o/m r2"}


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def hub(**more):
    return {"data": {"hub": {"train": {"id": "o/set", "split": "train", **more}}}}


def test_a_folder_in_place_of_a_hub_id_counts_by_its_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.csv").write_text("a\n1\n")
    config = {"data": {"hub": {"train": {"id": "./mine", "split": "train"}}}}
    before = signature.training_signature(config)
    assert kinds(config) == {("folder", "./mine")}
    (tmp_path / "mine" / "train.csv").write_text("a\n2\n")
    assert signature.training_signature(config) != before


def test_hub_data_count_by_their_commit(monkeypatch):
    now = [COMMIT]
    monkeypatch.setattr(signature, "hub_commit", lambda name, revision, ask: now[0])
    before = signature.training_signature(hub(revision="main"))
    assert signature.inputs(hub(revision="main")) == {"hub:o/set@main": COMMIT}
    now[0] = COMMIT[::-1]
    assert signature.training_signature(hub(revision="main")) != before


def test_hub_data_of_an_unknown_commit_are_absent_from_a_plan_and_refused_by_a_run(monkeypatch, tmp_path):
    for name in ("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    lenient = signature.Signer(lenient=True)
    assert lenient.training(hub())
    (line,) = lenient.absent(hub())
    assert "'o/set' (main) were never loaded on this machine" in line and "revision" in line
    with pytest.raises(UserError, match="were never loaded on this machine"):
        signature.training_signature(hub())
    assert signature.inputs(hub(revision=COMMIT)) == {f"hub:o/set@{COMMIT}": COMMIT}
