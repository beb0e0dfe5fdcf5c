"""Preference files: what is dropped and counted, what is held out, what is refused in one line; recorded scores."""

import json

import pytest

from data.files.stages import TemporaryStages
from data.preferences.pair_files import PreferenceFiles
from data.records.preferences import PreferenceReading, RecordedScore
from data.records.texts import Completion, Demonstration

ROWS = [{"prompt": f"What is {one}?", "chosen": f"It is {one}.", "rejected": f"It is {one + 1}."} for one in range(40)]
SCORES = {
    "ref_chosen_logps": -10.0,
    "ref_rejected_logps": -8.0,
    "fuse_chosen_logps": [-9.0, -6.0],
    "fuse_mean_chosen_logps": [-3.0, -1.0],
    "fuse_rejected_logps": [-12.0, -7.0],
    "fuse_mean_rejected_logps": [-2.0, -7.0],
}


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("PAPERGRID_DATA", str(tmp_path))

    def make(rows, **options):
        (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        options = {"seed": 0, "batch_size": 4, "files": {"train": "pairs.jsonl", "test": None}, **options}
        data = PreferenceFiles(**options)
        data.prepare(TemporaryStages())
        return data

    return make


def test_a_share_is_held_out_by_prompt_and_nothing_is_lost(made):
    data = made(ROWS, held_out=0.3)
    train, test = data.items("train"), data.items("test")
    assert len(train) + len(test) == 40 and 5 <= len(test) <= 20
    assert not {pair.prompt for pair in train} & {item.prompt for item in test}
    assert all(isinstance(item, Demonstration) and item.response.startswith("It is") for item in test)
    assert data.items("train") == made(ROWS, held_out=0.3).items("train")


def test_the_halves_share_no_prompt_and_sft_imitates_the_chosen(made):
    sft, preference = made(ROWS, half="sft"), made(ROWS, half="preference")
    whole = {pair.prompt for pair in made(ROWS).items("train")}
    first, second = ({item.prompt for item in data.items("train")} for data in (sft, preference))
    assert first | second == whole and not first & second and min(len(first), len(second)) > 5
    assert all(isinstance(item, Demonstration) for item in sft.items("train"))
    assert {item.prompt for item in sft.items("test")} == {item.prompt for item in preference.items("test")}


def test_what_is_no_preference_is_dropped_and_counted(made):
    bad = [
        {"prompt": "Same?", "chosen": "yes", "rejected": "yes"},
        {"prompt": "Empty?", "chosen": "", "rejected": "no"},
        {"prompt": "Tied?", "chosen": "yes", "rejected": "no", "score_chosen": 3.0, "score_rejected": 3.0},
        {"prompt": "Long " * 50, "chosen": "yes", "rejected": "no"},
    ]
    data = made([*ROWS, *bad], max_bytes=100)
    assert data.report()["dropped"] == {
        "the same response twice": 1, "an empty response": 1, "ties": 1, "longer than max_bytes": 1,
    }  # fmt: skip
    assert sum(data.report()["pairs"].values()) == 40


def test_a_bad_row_is_named_by_its_number_or_dropped(made):
    rows = [*ROWS[:6], {"prompt": "?", "chosen": "x"}, *ROWS[6:], {"prompt": "?", "rejected": "x"}]
    with pytest.raises(
        ValueError, match=r"^pairs.jsonl, row 7: rejected is missing: .* 1 more bad rows of 42"
    ) as caught:
        made(rows)
    assert "\n" not in str(caught.value)
    assert made(rows, bad_rows="drop").report()["dropped"] == {"bad rows": 2}


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"held_out": 1.0}, "held_out"),
        ({"half": "third"}, "half"),
        ({"max_bytes": 0}, "max_bytes"),
        ({"turn": "{content}"}, "turn"),
        ({"files": {"test": "pairs.jsonl"}}, "train is wanted"),
        ({"files": {"train": "pairs.jsonl", "dev": "pairs.jsonl"}}, "train is wanted"),
        ({"hub": {"train": {"id": "a/b", "split": "train"}}}, "train is wanted"),
        ({"files": {"train": "none.jsonl"}}, "none.jsonl"),
        ({"sources": ["one", "one"]}, "twice"),
        ({"sources": ["one"]}, "row train/1: it has scores of 0 sources"),
        ({"reference": "recorded"}, "ref_chosen_logps is missing"),
        ({"max_bytes": 3}, "no pair to train on"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(made, options, wanted):
    with pytest.raises(ValueError, match=wanted) as caught:
        made(ROWS, **options)
    assert "\n" not in str(caught.value)


def test_held_out_pairs_are_refused_where_there_are_none(made):
    data = made(ROWS, held_out=0.0)
    with pytest.raises(ValueError, match="holds nothing out"):
        data.items("test")
    with pytest.raises(ValueError, match=r"evaluation\.split=dev"):
        data.items("dev")


def test_a_hub_id_is_read_split_by_split(monkeypatch):
    asked = []

    def read(hub, *, split, revision):
        asked.append((hub, split, revision))
        return ROWS[:30] if split == "train_prefs" else ROWS[30:]

    monkeypatch.setattr("data.preferences.pair_files.read_hub", read)
    hub = {key: {"id": "a/b", "split": f"{key}_prefs", "revision": "main"} for key in ("train", "test")}
    data = PreferenceFiles(seed=0, batch_size=4, files={"train": None}, hub=hub, held_out=0.0, test_size=5)
    data.prepare(TemporaryStages())
    assert asked == [("a/b", "train_prefs", "main"), ("a/b", "test_prefs", "main")]
    assert len(data.items("train")) == 30 and data.items("test")[0].id == "test/1"
    assert data.report()["pairs"] == {"train": 30, "test": 5}


def test_recorded_scores_are_found_by_text_whatever_the_order(made):
    rows = [{**row, **SCORES, "fuse_chosen_logps": [-9.0 - 3 * place, -6.0]} for place, row in enumerate(ROWS)]
    for place, row in enumerate(rows):
        row["fuse_mean_chosen_logps"] = [-3.0 - place, -1.0]
    data = made(rows, sources=["math", "code"], held_out=0.0)
    assert list(data.authors) == ["math", "code"]
    texts = [("What is 5?", "It is 6."), ("What is 7?", "It is 7.")]
    scores = data.authors["math"].scores(None, texts, None)
    assert (
        scores.sums.tolist() == [-12.0, -30.0] and scores.tokens.tolist() == [6, 3] and scores.bytes.tolist() == [8, 8]
    )
    assert data.authors["math"].identity != data.authors["code"].identity
    with pytest.raises(ValueError, match="math has no recorded score of 'It is 99"):
        data.authors["math"].scores(None, [("What is 5?", "It is 99.")], None)
    assert data.recorded_reference() is None


def test_recorded_references_cover_every_pair(made):
    data = made([{**row, **SCORES} for row in ROWS], reference="recorded")
    found = data.recorded_reference()
    assert set(found) == {*data.items("train"), *data.held_out_pairs("test")}
    assert set(found.values()) == {(RecordedScore(-10.0, None), RecordedScore(-8.0, None))}


def test_a_text_with_two_recorded_scores_keeps_the_first_and_is_counted(made):
    twice = [{**ROWS[0], **SCORES}, {**ROWS[0], **SCORES, "fuse_chosen_logps": [-9.0, -5.0]}]
    twice[1]["fuse_mean_chosen_logps"] = [-3.0, -1.0]
    data = made(twice, sources=["math", "code"], held_out=0.0)
    assert data.report()["dropped"] == {"scores of a text that has others already": 1}
    assert data.authors["code"].scores(None, [("What is 0?", "It is 0.")], None).sums.tolist() == [-6.0]


def test_success_is_a_margin_above_nought(made):
    data = made(ROWS, held_out=0.3)
    written = [
        Completion(item.id, copy, "It is", 3 + copy, True, -1.0) for item in data.items("test") for copy in (0, 1)
    ]
    readings = [
        PreferenceReading(tuple(written[2 * row : 2 * row + 2]), margin)
        for row, margin in enumerate([0.5, -0.5, *[0.1] * (len(written) // 2 - 2)])
    ]
    frame = data.frame(readings)
    assert frame["success"].tolist()[:3] == [1.0, 0.0, 1.0] and frame["reward"].tolist()[:2] == [0.5, -0.5]
    assert set(frame["response_tokens"]) == {3.5} and list(frame["example_id"]) == [
        one.id for one in data.items("test")
    ]
    assert "success" not in data.frame(written)
