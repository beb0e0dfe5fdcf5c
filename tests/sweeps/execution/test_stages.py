import errno
import importlib
import json
import multiprocessing
import os
import time

import pytest

from data.records.builders import MadeBy
from sweeps.execution.stages import StageStore, damage


def _fill(folder):
    (folder / "part").mkdir(exist_ok=True)
    (folder / "part" / "a.bin").write_bytes(b"0123456789")


def test_built_once_and_found_again(tmp_path):
    built = []
    store = StageStore(tmp_path)
    for _ in range(2):
        folder = store.get("index", {"data": "x", "k": 3}, lambda folder: (built.append(1), _fill(folder)))
    assert len(built) == 1 and (folder / "part" / "a.bin").read_bytes() == b"0123456789"
    other = store.get("index", {"data": "x", "k": 4}, _fill)
    assert other != folder


def test_key_order_does_not_matter_and_kinds_differ(tmp_path):
    store = StageStore(tmp_path)
    assert store.key("index", {"a": 1, "b": 2}) == store.key("index", {"b": 2, "a": 1})
    assert store.key("index", {"a": 1}) != store.key("base_model", {"a": 1})


def test_a_stage_is_named_by_the_code_of_its_builder_and_of_what_that_asks(tmp_path, monkeypatch):
    for name, text in {"build": "def build(folder): (folder / 'a').touch()\n", "maker": "class Maker: x = 1\n"}.items():
        (tmp_path / f"persons_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    builder, maker = (importlib.import_module(f"persons_{name}") for name in ("build", "maker"))

    def names():
        store = StageStore(tmp_path / "stages")  # a process looks at a file once
        plain = store.get("index", {"k": 3}, builder.build).name
        made = [store.get("index", {"k": 3}, MadeBy(builder.build, (one,))).name for one in (maker.Maker(), [1])]
        assert made[1] == plain
        return plain, made[0]

    before = names()
    assert names() == before and len(set(before)) == 2
    (tmp_path / "persons_maker.py").write_text("class Maker: x = 2\n")
    edited = names()
    assert edited[0] == before[0] and edited[1] != before[1]
    (tmp_path / "persons_build.py").write_text("def build(folder): (folder / 'b').touch()\n")
    assert not set(names()) & {*before, *edited}


def test_flipped_byte_is_found_and_the_stage_built_again(tmp_path):
    folder = StageStore(tmp_path).get("index", {"a": 1}, _fill)
    path = folder / "part" / "a.bin"
    path.write_bytes(b"0123456780")
    lines = []
    again = StageStore(tmp_path, say=lines.append).get("index", {"a": 1}, _fill)
    assert again == folder and path.read_bytes() == b"0123456789"
    assert "damaged" in lines[0] and "part/a.bin has changed" in lines[0]
    assert {state.state for state in StageStore(tmp_path).states()} == {"done", "corrupt"}


@pytest.mark.parametrize("harm", ["truncate", "remove", "manifest"])
def test_other_damage_is_found(tmp_path, harm):
    folder = StageStore(tmp_path).get("index", {"a": 1}, _fill)
    if harm == "truncate":
        (folder / "part" / "a.bin").write_bytes(b"0")
    elif harm == "remove":
        (folder / "part" / "a.bin").unlink()
    else:
        (folder / "stage.json").write_text("{")
    assert damage(folder)
    assert damage(StageStore(tmp_path).get("index", {"a": 1}, _fill)) is None


def test_a_failed_build_leaves_its_parts_for_the_next(tmp_path):
    store = StageStore(tmp_path)

    def half(folder):
        (folder / "shard-0").write_text("0")
        raise KeyError("lost")

    with pytest.raises(KeyError):
        store.get("embeddings", {"a": 1}, half)
    assert [state.state for state in store.states()] == ["partial"]

    def rest(folder):
        assert (folder / "shard-0").read_text() == "0"
        (folder / "shard-1").write_text("1")

    folder = store.get("embeddings", {"a": 1}, rest)
    assert sorted(json.loads((folder / "stage.json").read_text())["files"]) == ["shard-0", "shard-1"]


def _racer(root, barrier, key):
    barrier.wait()

    def build(folder):
        time.sleep(0.05)
        with open(root / f"builds-{key}", "a") as file:
            file.write("x")
        _fill(folder)

    StageStore(root / "stages").get("index", {"key": key}, build)


def test_thirty_two_racers_on_eight_keys_build_eight_stages(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(32)
    racers = [context.Process(target=_racer, args=(tmp_path, barrier, number % 8)) for number in range(32)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
        assert racer.exitcode == 0
    assert [os.path.getsize(tmp_path / f"builds-{key}") for key in range(8)] == [1] * 8
    assert len(list(StageStore(tmp_path / "stages").states())) == 8


def test_prune_keeps_what_it_is_told_to(tmp_path):
    store = StageStore(tmp_path)
    kept = store.get("index", {"a": 1}, _fill)
    gone = store.get("index", {"a": 2}, _fill)
    assert [state.key for state in store.prune(keep=lambda state: state.key == kept.name)] == [gone.name]
    assert kept.is_dir() and not gone.exists()


@pytest.mark.parametrize("full", ["fsync", "rename"])
def test_a_full_disk_publishes_nothing_and_the_next_build_finishes(tmp_path, monkeypatch, full):
    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    store = StageStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(f"sweeps.execution.stages.os.{full}", no_space)
        with pytest.raises(OSError, match="No space left"):
            store.get("index", {"a": 1}, _fill)
    assert [state.state for state in store.states()] == ["partial"]
    assert damage(store.get("index", {"a": 1}, _fill)) is None
