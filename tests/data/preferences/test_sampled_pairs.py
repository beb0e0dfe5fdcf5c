"""Pairs of sampled responses: who is chosen, what is dropped and counted, which prompt is on which side, resume."""

import json

import pytest

from data.files.stages import TemporaryStages
from data.preferences.prompt_sets import PromptSets, prompt_text
from data.preferences.sampled_pairs import SampledPairs
from data.records.texts import Completion, Demonstration
from sweeps.execution.stages import StageStore

PROMPTS = [f"What is {number}?" for number in range(60)]


class Writer:
    """Writes a function of prompt and copy; reads what is at most 80 characters long."""

    def __init__(self, name, write):
        self.identity = {"weights": name}
        self.asked = []
        self._write = write

    def reads(self, prompts, *, room):
        return [len(prompt) <= 80 for prompt in prompts]

    def write(self, items, *, copies, temperature, max_tokens, seed, batch=None):
        self.asked += [one.prompt for one in items]
        found = []
        for one in items:
            for copy in range(copies):
                text = self._write(one.prompt, copy)
                finished = not text.endswith("...")
                found.append(Completion(one.id, copy, text, len(text), finished, -1.0))
        return found


class ByLength:
    """Pays the characters of a response; cannot read one with an x."""

    def __init__(self):
        self.seen = []

    def rewards(self, stages, texts, progress=None):
        self.seen += texts
        return [float("nan") if "x" in text else float(len(text)) for _, text in texts]


def long(prompt, copy):
    return f"At length: {prompt}{'!' * copy}"


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("PAPERGRID_DATA", str(tmp_path))

    def make(rows=None, *, stages=None, source=long, pivot=lambda prompt, copy: "Yes", authors=None, **options):
        rows = [{"prompt": prompt} for prompt in PROMPTS] if rows is None else rows
        (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        options = {
            "half": "preference", "writers": ["source"], "copies": 2, "pivot_copies": 3, "judge": ByLength(),
            "files": {"own": "prompts.jsonl"}, "seed": 0, "batch_size": 4, "sampling_shard": 8, **options,
        }  # fmt: skip
        data = SampledPairs(**options)
        data.take_authors(authors or {"source": Writer("s", source), "pivot": Writer("p", pivot)})
        data.prepare(stages or TemporaryStages())
        return data

    return make


def test_the_chosen_response_is_the_one_that_is_paid_more(made):
    pairs = [*made().items("train"), *made().held_out_pairs("test")]
    assert len(pairs) > 25
    for pair in pairs:
        assert (pair.chosen, pair.rejected) == (f"At length: {pair.prompt}!", "Yes")
        assert (pair.chosen_author, pair.rejected_author) == ("source", "pivot")


def test_halves_and_held_out_prompts_share_none_and_nothing_is_lost(made):
    sft, preference = made(half="sft", held_out=0.3), made(held_out=0.3)
    sides = [
        {one.prompt for one in found}
        for found in (sft.items("train"), preference.items("train"), preference.held_out_pairs("test"))
    ]
    assert set.union(*sides) == set(PROMPTS) and sum(map(len, sides)) == len(PROMPTS) and min(map(len, sides)) > 8
    assert all(isinstance(one, Demonstration) and one.response.startswith("At length") for one in sft.items("train"))
    assert sft.held_out_pairs("test") == preference.held_out_pairs("test") and sft.examples(
        "test"
    ) == preference.examples("test")
    assert preference.items("test")[0].response == preference.held_out_pairs("test")[0].chosen


def test_unusable_responses_are_dropped_and_counted_by_reason(made):
    kinds = ["", "  ", "and then...", "e\u0301", "x", "y" * 200, "No", "No"]
    data = made(source=lambda prompt, copy: kinds[copy], copies=8, held_out=0.0, max_bytes=100)
    prompts = len(data.items("train"))
    assert data.report()["dropped"] == {
        "empty": 2 * prompts, "unfinished": prompts, "not in NFC": prompts, "longer than the judge reads": prompts,
        "longer than max_bytes": prompts, "the same response again": 3 * prompts,
    }  # fmt: skip
    assert {(one.chosen, one.rejected) for one in data.items("train")} == {("Yes", "No")}
    assert len(data.judge.seen) == len(set(data.judge.seen)) == 3 * prompts


def test_ties_and_lone_responses_make_no_pair(made):
    tied = made(held_out=0.0, source=lambda prompt, copy: "Nay" if "1" in prompt else long(prompt, copy))
    assert tied.report()["dropped"]["prompts whose responses are all paid alike"] > 3
    alone = made(held_out=0.0, source=lambda prompt, copy: "Yes" if "1" in prompt else long(prompt, copy))
    assert alone.report()["dropped"]["prompts with fewer than two responses"] > 3
    assert not any("1" in pair.prompt for data in (tied, alone) for pair in data.items("train"))


def test_prompts_that_an_author_cannot_read_are_asked_of_nobody(made):
    rows = [*({"prompt": one} for one in PROMPTS), {"prompt": "long " * 20}]
    halves = [made(rows, half=half, held_out=0.0) for half in ("sft", "preference")]
    dropped = [data.report()["dropped"].get("prompts that an author cannot read", 0) for data in halves]
    assert sorted(dropped) == [0, 1]
    assert not any("long " in prompt for data in halves for one in data.authors.values() for prompt in one.asked)


def test_an_interrupted_author_goes_on_and_the_others_are_not_asked_again(made, tmp_path):
    def falls_over(prompt, copy):
        if len(first["pivot"].asked) > 8:
            raise KeyboardInterrupt
        return "Yes"

    first = {"source": Writer("s", long), "pivot": Writer("p", falls_over)}
    with pytest.raises(KeyboardInterrupt):
        made(stages=StageStore(tmp_path), authors=first, held_out=0.0)
    again = {"source": Writer("s", long), "pivot": Writer("p", lambda prompt, copy: "Yes")}
    data = made(stages=StageStore(tmp_path), authors=again, held_out=0.0)
    assert again["source"].asked == [] and not set(again["pivot"].asked) & set(first["pivot"].asked[:8])
    assert data.items("train") == made(held_out=0.0).items("train")


def test_one_source_more_leaves_the_others_responses_as_they_are(made):
    stages = TemporaryStages()
    made(stages=stages)
    authors = {"source": Writer("s", long), "pivot": Writer("p", lambda *_: "Yes"), "new": Writer("n", lambda *_: "Hm")}
    data = made(stages=stages, authors=authors, writers=["source", "new"])
    assert authors["source"].asked == authors["pivot"].asked == [] and authors["new"].asked
    assert {pair.rejected_author for pair in data.items("train")} == {"new"}


def test_the_best_of_each_side_and_what_is_left_out(made):
    data = made(pivot=lambda prompt, copy: "Yes" + "s" * copy)
    pair = data.items("train")[0]
    by_source, by_pivot = data.blend(pair)
    assert (by_source.chosen, by_pivot.chosen, by_pivot.rejected) == (pair.chosen, "Yesss", "Yes")
    before, held_out = len(data.items("train")), data.held_out_pairs("test")
    data.leave_out([pair.id, held_out[0].id], "too long")
    assert len(data.items("train")) == before - 1 and data.held_out_pairs("test") == held_out[1:]
    assert data.report()["dropped"]["too long"] == 2 and data.report()["held_out"] == len(held_out) - 1


def test_prompts_may_be_conversations_and_come_once():
    talk = [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]
    assert prompt_text({"conversations": talk}, "conversations") == "Hi"
    assert prompt_text({"m": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}, "m") == "Hi"


def test_a_choice_of_rows_does_not_depend_on_their_order():
    rows, sets = [{"prompt": prompt} for prompt in PROMPTS], PromptSets(files={"own": "x"})
    one, other = (sets._taken(order, "own.jsonl", "prompt", 20)[0] for order in (rows, rows[::-1]))
    assert {text for _, text in one} == {text for _, text in other} and len(one) == 20
    assert [number for number, _ in one] == sorted(number for number, _ in one)


def test_sets_of_the_hub_are_read_once(made, monkeypatch):
    asked = []

    def stream(hub, **options):
        asked.append((hub, options))
        yield from ({"problem": prompt} for prompt in [*PROMPTS, PROMPTS[0], None])

    monkeypatch.setattr("data.preferences.prompt_sets.stream_hub", stream)
    source = {"id": "owner/set", "split": "train", "config": "Gen", "column": "problem", "rows": 40}
    stages = TemporaryStages()
    for _ in range(2):
        data = made(stages=stages, files={}, hub={"maths": source}, bad_rows="drop")
    assert asked == [("owner/set", {"split": "train", "config": "Gen", "revision": None})]
    assert data.report()["dropped"] == {"bad rows": 1, "prompts that came before": 1, "the same response again":
        2 * (len(data.items("train")) + len(data.held_out_pairs("test")))}  # fmt: skip
    assert data.items("train")[0].id.startswith("maths/")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"question": "Hi"}, "prompt is missing: found question; wanted prompt; data.column names"),
        ({"prompt": " "}, "prompt is empty"),
        ({"prompt": 7}, "prompt must be text or a list of messages, got a number: 7"),
        ({"prompt": [{"role": "assistant", "content": "Ho"}]}, "prompt has no message of the user"),
        ({"prompt": "\ud800"}, "prompt holds half a character"),
    ],
)
def test_a_bad_row_is_named_by_its_number(row, said):
    sets = PromptSets(files={"own": "x"})
    with pytest.raises(ValueError, match=rf"^own.jsonl, row 2: {said}.*data\.bad_rows=drop") as caught:
        sets._taken([{"prompt": "Hi"}, row], "own.jsonl", "prompt", None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"half": "both"}, r"data\.half must be sft or preference, got 'both'"),
        ({"files": {}}, r"data\.files and data\.hub name no prompts"),
        ({"hub": {"maths": {"id": "a/b"}}}, r"data\.hub\.maths has id: id and split are wanted"),
        ({"hub": {"own": {"id": "a/b", "split": "train"}}}, r"data\.files and data\.hub both have own"),
        ({"copies": 0}, r"data\.copies must be at least 1"),
        ({"sampling_shard": 0}, r"data\.sampling_shard must be at least 1"),
        ({"sampling_temperature": 0.0}, r"data\.sampling_temperature"),
        ({"held_out": 1.0}, r"data\.held_out is a share"),
        ({"max_bytes": 0}, r"data\.max_bytes"),
        ({"bad_rows": "keep"}, r"data\.bad_rows must be fail or drop"),
        ({"writers": ["nobody"]}, r"data\.writers names \['nobody'\], which are no sources: there are source, pivot"),
        ({"source": lambda *_: "Yes"}, r"has no pair to train on; left out: .*fewer than two responses"),
    ],
)
def test_what_cannot_work_is_refused(made, options, said):
    with pytest.raises(ValueError, match=said):
        made(**options)


def test_without_authors_and_without_held_out_pairs_it_says_what_to_do(made):
    data = SampledPairs(half="sft", writers=[], judge=ByLength(), files={"own": "prompts.jsonl"}, seed=0, batch_size=1)
    with pytest.raises(ValueError, match="experiment=preferences_sampled"):
        data.prepare(TemporaryStages())
    with pytest.raises(ValueError, match=r"holds nothing out: raise data\.held_out"):
        made(held_out=0.0).held_out_pairs("test")
    with pytest.raises(ValueError, match=r"splits train and test, got evaluation\.split=dev"):
        made().items("dev")
