"""Published sets of texts: every row format by hand, what is left out, which side a prompt is on."""

import json

import pytest

from data.preferences.text_rows import DEMONSTRATIONS, PAIRS
from data.preferences.text_sets import DemonstrationSet, PreferenceSet
from data.records.pairs import PairReading


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes rows below a data root of its own and gives the file's name."""
    monkeypatch.setenv("PAPERGRID_DATA", str(tmp_path))

    def write(*rows, name="rows.jsonl"):
        (tmp_path / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return name

    return write


def pairs_of(file, **options):
    options = {"reader": "llmbar", "batch_size": 4, "seed": 0, "name": "set", "files": {"all": file}} | options
    return PreferenceSet(**options)


def llmbar_row(prompt, first, second, label=1, subset="Natural"):
    return {"subset": subset, "input": prompt, "output_1": first, "output_2": second, "label": label}


def test_every_reader_by_hand():
    alpaca = {"instruction": " Add. ", "input": "1 2", "output": "3"}
    assert DEMONSTRATIONS["alpaca"](alpaca) == [("Add.\n1 2", "3")]
    assert DEMONSTRATIONS["alpaca"]({**alpaca, "output": " "}) == []
    talk = [("system", "s"), ("user", "q"), ("assistant", "a"), ("user", "q2"), ("assistant", "a2")]
    row = {"messages": [{"role": role, "content": content} for role, content in talk]}
    assert DEMONSTRATIONS["messages"](row) == [("q", "a")]
    assert DEMONSTRATIONS["messages"]({"messages": row["messages"][:2]}) == []
    assert PAIRS["llmbar"](llmbar_row("q", "x", "y", 2, "Manual")) == [("q", "x", "y", 2, "Manual")]
    persona = {"behaviour": "b", "question": "q", "matching": " Yes", "not_matching": " No", "confidence": 0.9}
    assert PAIRS["persona"](persona) == [("q", "Yes", "No", 1, "b")]
    both = {side: [{"role": "user", "content": "q"}, {"role": "assistant", "content": side}]
            for side in ("chosen", "rejected")}  # fmt: skip
    assert PAIRS["binarised"]({"prompt": "q", **both}) == [("q", "chosen", "rejected", 1, "")]


@pytest.mark.parametrize(
    ("annotators", "preferred"),
    [((1, 1, 1), 1), ((2, 0, 2), 2), ((0, 0, 1), 0), ((0, 1, 2), 0)],
)
def test_pandalm_takes_what_two_of_three_say(annotators, preferred):
    row = {"instruction": "i", "input": "", "response1": "a", "response2": "b", "cmp_key": "x_y"}
    row |= {f"annotator{number}": said for number, said in zip((1, 2, 3), annotators, strict=True)}
    assert PAIRS["pandalm"](row) == [("i", "a", "b", preferred, "x_y")]
    assert PAIRS["pandalm"]({**row, "response2": True}) == []


def test_qa_feedback_has_six_pairs_in_the_order_of_combinations():
    row = {"question": "q", "responses": ["a", "b", "c", "d"], "preference": [0, 1, 2, 1, 0, 2]}
    assert [one[1:4] for one in PAIRS["qa_feedback"](row)] == [
        ("a", "b", 0), ("a", "c", 1), ("a", "d", 2), ("b", "c", 1), ("b", "d", 0), ("c", "d", 2),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="preference must have 6, got 2"):
        PAIRS["qa_feedback"]({**row, "preference": [0, 1]})


def test_the_preferred_response_is_the_chosen_one_and_the_rest_is_counted(written):
    name = written(
        llmbar_row("q", "x", "y", 2),
        llmbar_row("q2", "x", "y", 1),
        llmbar_row("q3", "same", "same ", 1),
        llmbar_row("q4", "x", "y" * 30, 1),
        llmbar_row("q5", "x", "y", 0),
    )
    data = pairs_of(name, longest=20)
    items = data.items("test")
    assert [(one.prompt, one.chosen, one.rejected) for one in items] == [("q", "y", "x"), ("q2", "x", "y")]
    assert {reason: count for reason, count in data.dropped.items() if count} == {"undecided": 2, "too long": 1}


def test_the_longest_text_counts_bytes(written):
    name = written(llmbar_row("q", "éé", "y"))
    assert len(pairs_of(name, longest=5).items("test")) == 1
    with pytest.raises(ValueError, match="set has no item in test"):
        pairs_of(name, longest=4).items("test")


def test_a_prompt_is_on_one_side_and_the_share_is_about_right(written):
    name = written(*(llmbar_row(f"q{number % 200}", f"x{number}", "y") for number in range(400)))
    data = pairs_of(name, held_out=0.3)
    train, test = ({one.prompt for one in data.items(split)} for split in ("train", "test"))
    assert not train & test and len(train | test) == 200
    assert 40 < len(test) < 80  # 60 expected, standard deviation 6.5
    assert [one.prompt for one in pairs_of(name, held_out=0.3, seed=5).items("test")] == [
        one.prompt for one in data.items("test")
    ]


def test_one_pair_a_prompt_is_chosen_whatever_was_preferred(written):
    rows = [llmbar_row("q", f"x{number}", f"y{number}", 1) for number in range(6)]
    swapped = [{**row, "label": 2} for row in rows]
    one, other = (
        pairs_of(written(*rows_of, name=f"{number}.jsonl"), per_prompt=1).items("test")
        for number, rows_of in enumerate((rows, swapped))
    )
    assert len(one) == len(other) == 1
    assert one[0].chosen == other[0].rejected and one[0].rejected == other[0].chosen


def test_limits_spread_over_the_set(written):
    name = written(*(llmbar_row(f"q{number}", "x", "y") for number in range(11)))
    data = pairs_of(name, test_items=3)
    assert [one.prompt for one in data.items("test")] == ["q0", "q5", "q10"]
    assert [one.prompt for one in data.items("test", 2)] == ["q0", "q5"]


def test_demonstrations_with_their_limit(written):
    name = written(*({"instruction": f"i{n}", "input": "", "output": f" o{n} "} for n in range(4)))
    data = DemonstrationSet(
        name="demo", reader="alpaca", files={"train": name}, batch_size=2, seed=0, longest=10, limit=2
    )
    assert [(one.prompt, one.response) for one in data.items("train")] == [("i0", "o0"), ("i3", "o3")]
    assert data.steps_per_epoch == 1
    with pytest.raises(ValueError, match="demo has no split 'test': it has train"):
        data.items("test")


def test_frame_guesses_by_the_higher_estimate_and_ties_by_a_coin_of_the_texts(written):
    name = written(*(llmbar_row(f"q{number}", "x", "y") for number in range(60)))
    data = pairs_of(name)
    items = data.items("test")
    estimates = [(1.0, 0.0), (-2.0, -1.0), *[(0.0, 0.0)] * 58]
    frame = data.frame([PairReading(item.id, *one) for item, one in zip(items, estimates, strict=True)])
    assert frame["prediction"].tolist()[:2] == ["chosen", "rejected"] and frame["margin"].tolist()[:2] == [1.0, -1.0]
    assert 15 < (frame["prediction"] == "chosen").sum() < 45 and set(frame["gold"]) == {"chosen"}
    assert frame["subset"].unique().tolist() == ["Natural"]


def test_entry_checks(written):
    for options, said in (
        ({"reader": "csv"}, "data.reader must be one of llmbar, pandalm"),
        ({"files": None}, "either data.files or data.hub"),
        ({"held_out": 1.5}, "data.held_out is a share"),
        ({"longest": 0}, "data.longest must be at least 1"),
        ({"per_prompt": 0}, "data.per_prompt must be at least 1"),
    ):
        with pytest.raises(ValueError, match=said):
            pairs_of("x", **options)


@pytest.mark.parametrize(
    ("name", "file", "reader", "pairs"),
    [
        ("llmbar", "pref/llmbar/test_open.jsonl.gz", "llmbar", 308),
        ("pandalm", "pref/pandalm/train.jsonl.gz", "pandalm", None),
        ("qa_feedback", "pref/qa_feedback/train.jsonl.gz", "qa_feedback", None),
    ],
)
def test_the_real_sets_are_read(needs_file, name, file, reader, pairs):
    data = pairs_of(needs_file(file), reader=reader, name=name)
    items = data.items("test")
    assert len({one.id for one in items}) == len(items)
    if pairs is not None:
        assert len(items) == pairs
    else:
        assert 500 < len(items) < 2200 and data.dropped["undecided"] > 50
