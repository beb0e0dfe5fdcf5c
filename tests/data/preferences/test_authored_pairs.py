"""What authors write to prompts is kept whole, goes on where it was interrupted, and is never drawn twice alike."""

import json

import pytest

from data.files.stages import TemporaryStages
from data.preferences.authored_pairs import CANDIDATES_FILE, candidates
from data.records.texts import Completion, Demonstration
from sweeps.execution.stages import StageStore

PROMPTS = [Demonstration(str(number), f"prompt {number}", "") for number in range(7)]
SAMPLING = {"temperature": 0.8, "max_tokens": 4, "seed": 11}


class Writer:
    """Writes the seed and the copy; notes what it was asked; falls over when it is asked for the ``fatal``-th time."""

    def __init__(self, name, *, fatal=None):
        self.identity = {"weights": name}
        self.fatal, self.asked = fatal, []

    def write(self, items, *, copies, temperature, max_tokens, seed, batch=None):
        if self.fatal == len(self.asked):
            raise KeyboardInterrupt
        self.asked.append(([one.id for one in items], seed, batch))
        return [Completion(one.id, copy, f"{seed}-{copy}", 2, True, -1.0) for one in items for copy in range(copies)]


def written(stages, authors, **options):
    return candidates(stages, authors, PROMPTS, copies={"one": 2, "two": 1}, sampling=SAMPLING, **options)


def test_every_author_writes_its_copies_to_every_prompt_and_signs_them():
    rows = written(TemporaryStages(), {"one": Writer("a"), "two": Writer("b"), "idle": Writer("c", fatal=0)})
    assert [row["author"] for row in rows] == ["one"] * 14 + ["two"] * 7
    assert [row["example_id"] for row in rows[14:]] == [one.id for one in PROMPTS]


def test_without_shards_an_author_is_asked_once_with_the_seed_as_it_is():
    authors = {"one": Writer("a"), "two": Writer("b")}
    written(TemporaryStages(), authors)
    assert authors["one"].asked == [([one.id for one in PROMPTS], 11, None)]


def test_every_shard_draws_other_numbers():
    authors = {"one": Writer("a"), "two": Writer("b")}
    written(TemporaryStages(), authors, shard=3, batch=5)
    assert [ids for ids, *_ in authors["one"].asked] == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    seeds = [seed for _, seed, _ in authors["one"].asked]
    assert seeds[0] == 11 and len(set(seeds)) == 3 and {batch for *_, batch in authors["one"].asked} == {5}


def test_interrupted_writing_goes_on_from_the_last_whole_shard(tmp_path):
    first = {"one": Writer("a"), "two": Writer("b", fatal=1)}
    with pytest.raises(KeyboardInterrupt):
        written(StageStore(tmp_path), first, shard=3)
    again, whole = ({"one": Writer("a"), "two": Writer("b")} for _ in range(2))
    told = []
    rows = written(StageStore(tmp_path), again, shard=3, progress=lambda *done: told.append(done))
    assert again["one"].asked == [] and [ids for ids, *_ in again["two"].asked] == [["3", "4", "5"], ["6"]]
    assert rows == written(TemporaryStages(), whole, shard=3) and told[-1] == (6, 6)
    (folder,) = (path for path in (tmp_path / "preference_candidates").iterdir() if path.is_dir())
    assert sorted(path.name for path in folder.iterdir()) == [CANDIDATES_FILE, "stage.json"]


def test_the_stage_is_named_by_whatever_changes_a_response():
    class Noting(TemporaryStages):
        def get(self, kind, key, build):
            names.add(json.dumps(key, sort_keys=True))
            return super().get(kind, key, build)

    names, stages = set(), Noting()
    authors = {"one": Writer("a"), "two": Writer("b")}
    for options in ({}, {"batch": 3}, {"shard": 3}):
        written(stages, authors, **options)
    assert len(names) == 2  # how many rows go together changes nothing
    written(stages, {**authors, "two": Writer("c")})
    candidates(stages, authors, PROMPTS[:3], copies={"one": 2, "two": 1}, sampling=SAMPLING)
    candidates(stages, authors, PROMPTS, copies={"one": 2, "two": 2}, sampling=SAMPLING)
    candidates(stages, authors, PROMPTS, copies={"one": 2, "two": 1}, sampling={**SAMPLING, "seed": 12})
    assert len(names) == 6
