import gzip
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

import datasets
import pytest

from data.files import sources
from data.files.sources import DataNotFoundError, digest, locate, locate_weights, read_hub, read_rows, weights_digest


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("PAPERGRID_DATA", str(tmp_path))
    return tmp_path


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)


def test_the_first_root_that_has_the_file_wins_and_the_environment_outranks_all(tmp_path, monkeypatch):
    monkeypatch.delenv("PAPERGRID_DATA", raising=False)
    project = tmp_path / "project"
    monkeypatch.setattr(sources, "PROJECT", project)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    candidates = [
        project / "datasets",
        tmp_path / "datasets",
        tmp_path / "shared/datasets",
        tmp_path / "home/.cache/papergrid",
    ]
    project.mkdir()
    for folder in reversed(candidates):
        write_rows(folder / "re/a.jsonl", [{"x": 1}])
        assert locate("re/a.jsonl") == folder / "re/a.jsonl"
    monkeypatch.setenv("PAPERGRID_DATA", str(tmp_path / "chosen"))
    with pytest.raises(DataNotFoundError):
        locate("re/a.jsonl")
    write_rows(tmp_path / "chosen/re/a.jsonl", [{"x": 1}])
    assert locate("re/a.jsonl") == tmp_path / "chosen/re/a.jsonl"


def test_a_relative_root_is_taken_from_the_project_not_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PROJECT", tmp_path / "project")
    monkeypatch.setenv("PAPERGRID_DATA", "mine")
    write_rows(tmp_path / "project/mine/a.jsonl", [{"x": 1}])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert locate("a.jsonl") == tmp_path / "project/mine/a.jsonl"


def test_a_missing_file_is_one_line_with_both_ways_to_get_it(root):
    with pytest.raises(DataNotFoundError) as caught:
        locate("re/semeval2010_task8/train.jsonl.gz")
    message = str(caught.value)
    assert "\n" not in message and str(root) in message
    assert "PAPERGRID_DATA" in message and "SemEvalWorkshop/sem_eval_2010_task_8" in message


@pytest.mark.parametrize("file", ["/etc/passwd", "../a.jsonl", "re/../../a", "", "samples:", "samples:../scoring.py"])
def test_paths_that_leave_the_root_are_refused(root, file):
    with pytest.raises(ValueError, match="below the data root"):
        locate(file)


def test_samples_are_in_the_repository_and_a_wrong_name_lists_them():
    assert locate("samples:relations_test.jsonl").is_file()
    with pytest.raises(DataNotFoundError, match=r"no sample 'x'.*relations_train\.jsonl"):
        locate("samples:x")


def test_digest_is_sha256_and_sees_a_change(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert digest(path) == hashlib.sha256(b"abc").hexdigest()
    path.write_bytes(b"abcd")
    assert digest(path) == hashlib.sha256(b"abcd").hexdigest()
    path.write_bytes(b"abce")
    os.utime(path, ns=(1, 1))
    assert digest(path) == hashlib.sha256(b"abce").hexdigest()


def test_a_large_file_is_hashed_once_for_all_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"w" * (5 << 20))
    wanted = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest(path) == wanted
    # A new process knows only what is on disk: with the content hash forbidden it must still answer.
    monkeypatch.setattr(sources, "_digests", {})
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
    assert digest(path) == wanted
    monkeypatch.undo()
    path.write_bytes(b"v" * (5 << 20))
    assert digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_rows_come_back_as_written_without_network_or_leftovers(root, monkeypatch, name):
    rows = [{"id": 1, "text": "line\u2028separator", "h": ["a", [[0, 1]]]}, {"id": 2, "text": "x", "h": ["b", [[2]]]}]
    write_rows(root / name, rows)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("touched the network"))
    before = set(os.listdir(tempfile.gettempdir()))
    assert read_rows(name) == rows
    assert not [entry for entry in set(os.listdir(tempfile.gettempdir())) - before if "papergrid" in entry]


def test_a_file_that_is_no_json_lines_or_is_empty_is_one_clear_line(root):
    (root / "bad.jsonl").write_text("hello\n")
    (root / "empty.jsonl").write_text("")
    for name in ("bad.jsonl", "empty.jsonl"):
        with pytest.raises(ValueError, match=f"{name}.*JSON") as caught:
            read_rows(name)
        assert "\n" not in str(caught.value)


def test_a_changed_file_is_read_anew(root):
    write_rows(root / "a.jsonl", [{"x": 1}])
    assert read_rows("a.jsonl") == [{"x": 1}]
    write_rows(root / "a.jsonl", [{"x": 2}])
    assert read_rows("a.jsonl") == [{"x": 2}]


def test_seven_thousand_rows_load_in_two_seconds(needs_file):
    file = needs_file("re/semeval2010_task8/train.jsonl.gz")
    begun = time.process_time()
    assert len(read_rows(file)) == 7000
    assert time.process_time() - begun < 2.0


def test_hub_rows_carry_label_names(monkeypatch):
    labels = datasets.ClassLabel(names=["A", "B"])
    features = datasets.Features({"sentence": datasets.Value("string"), "relation": labels})
    table = datasets.Dataset.from_dict({"sentence": ["s", "t"], "relation": [1, 0]}, features=features)
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: asked.append((args, kwargs)) or table)
    rows = read_hub("owner/set", split="test", revision="v1")
    assert rows == [{"sentence": "s", "relation": "B"}, {"sentence": "t", "relation": "A"}]
    assert asked == [(("owner/set", None), {"split": "test", "revision": "v1"})]


def test_an_unreachable_hub_is_one_clear_line(monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(DataNotFoundError, match=r"'owner/set'.*no route") as caught:
        read_hub("owner/set", split="test")
    assert "\n" not in str(caught.value)


def test_weights_are_a_package_folder_or_a_local_folder(tmp_path, monkeypatch):
    model = tmp_path / "some_weights/model"
    model.mkdir(parents=True)
    (model.parent / "__init__.py").write_text("raise RuntimeError('importing weights must not run code')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert locate_weights("package:some_weights/model") == model.resolve()
    assert locate_weights(str(model)) == model.resolve()


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ("package:not_installed_here/model", "install it"),
        ("./no/such/folder", "does not exist"),
        ("nobody/nothing-like-this", "hf download nobody/nothing-like-this"),
        ("white space", "neither a folder nor"),
    ],
)
def test_missing_weights_say_what_to_do(weights, says, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("touched the network"))
    with pytest.raises(DataNotFoundError, match=says) as caught:
        locate_weights(weights)
    assert "\n" not in str(caught.value)


def test_weights_digest_follows_names_and_contents_not_places_or_notes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"1")
        (tmp_path / name / "config.json").write_bytes(b"{}")
    (tmp_path / "b/README.md").write_text("a note")
    (tmp_path / "b/.cache").mkdir()
    (tmp_path / "b/.cache/x.json").write_text("{}")
    same = weights_digest(tmp_path / "a")
    assert weights_digest(tmp_path / "b") == same
    (tmp_path / "b/config.json").write_bytes(b"{ }")
    assert weights_digest(tmp_path / "b") != same
    (tmp_path / "a/config.json").rename(tmp_path / "a/other.json")
    assert weights_digest(tmp_path / "a") != same
    with pytest.raises(ValueError, match="no model files"):
        (tmp_path / "c").mkdir()
        weights_digest(tmp_path / "c")


def test_planning_imports_no_torch():
    code = "import sys, data.files.sources, data.relations.formats, data.scoring.registry, data.relations.label_refinement, data.files.stages\n"  # noqa: E501
    code += "sys.exit('torch' in sys.modules or 'datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=sources.PROJECT, check=False).returncode == 0
