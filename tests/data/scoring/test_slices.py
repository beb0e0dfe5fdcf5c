import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from data.files.sources import read_rows
from data.records.relations import RelationExample
from data.relations.formats import SEMEVAL_LABELS, tagged_row
from data.scoring.cues import CUES
from data.scoring.registry import all_scores, scores_of
from data.scoring.slices import SLICES, between_words, cue_between, on_slice, slice_of, with_slices

SCORES = all_scores()

CE12, CE21, CW12, OTHER = "Cause-Effect(e1,e2)", "Cause-Effect(e2,e1)", "Component-Whole(e1,e2)", "Other"
CONF = Path(__file__).parents[3] / "conf" / "data"
AUDIT = Path(__file__).parents[3] / "docs" / "re_implicit_audit.md"


def cut(text, label):
    return slice_of(text, label, SEMEVAL_LABELS, OTHER)


@pytest.mark.parametrize(
    ("text", "label", "wanted"),
    [
        ("The <e1>storm</e1> Caused a <e2>flood</e2>.", CE12, "cued"),
        ("A <e2>flood</e2> caused by the <e1>storm</e1>.", CE12, "cued"),  # whichever stands first
        ("The <e1>storm</e1> with <e2>flood</e2>.", CE12, "implicit"),
        ("What caused the <e1>storm</e1> and <e2>flood</e2>?", CE12, "implicit"),  # before the pair
        ("The <e1>cause</e1> of a <e2>flood</e2>.", CE21, "implicit"),  # inside an entity
        ("The <e1>storm</e1> becaused <e2>flood</e2>.", CE12, "implicit"),  # no whole word
        ("The <e1>fires</e1> resulted, sadly, in <e2>loss</e2>.", CE12, "implicit"),  # words in a row only
        ("The <e1>fires</e1> resulted in <e2>loss</e2>.", CE12, "cued"),
        ("The <e1>storm</e1> caused a <e2>flood</e2>.", CW12, "implicit"),  # another relation's cue
        ("The <e1>storm</e1> caused a <e2>flood</e2>.", OTHER, "cued"),  # any relation's
        ("The <e1>storm</e1> and <e2>flood</e2>.", OTHER, "implicit"),
        ("<e1>Storm</e1><e2>flood</e2>", CE12, "implicit"),
        ("The <e1>storm</e1> caused a <e2>flood</e2>.", "no list has this", ""),
    ],
)
def test_the_rule_by_hand(text, label, wanted):
    assert cut(text, label) == wanted


def test_words_between_and_the_cue_that_is_found():
    text = "A <e2>b c</e2>, D-e's <e1>f</e1> g"
    assert between_words(text) == ["d", "e", "s"]
    assert cue_between("<e1>a</e1> is part of <e2>b</e2>", ["Cause-Effect", "Component-Whole"]) == "part of"
    assert cue_between("<e1>a</e1> is <e2>b</e2>", CUES) is None
    with pytest.raises(ValueError, match="two tagged entities"):
        between_words("<e1>a</e1> b")


def test_the_lists_are_frozen():
    # The audit is of these lists: a changed list needs a new audit, on other sentences.
    digest = hashlib.sha256(json.dumps(CUES, sort_keys=True).encode()).hexdigest()
    assert digest == "d3e492212ef3fd52a0e3fddc989c61662e4a762f9e788941b46d0f3f3a8e3cb8"


def test_no_bare_function_word_is_a_cue():
    bare = {"of", "in", "with", "by", "to", "at", "for", "on", "as", "a", "an", "the"}
    bare |= {"is", "are", "was", "has", "s", "and"}
    for relation, cues in CUES.items():
        assert cues and all(cues), relation
        assert len(set(cues)) == len(cues), relation
        assert not (set(cues) & bare) - ({"and"} if relation == "CONJUNCTION" else set()), relation


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_relation_of_every_inventory_has_cues(path):
    config = yaml.safe_load(path.read_text())
    labels = set(config.get("labels") or ()) - {"Other", "no_relation"}
    assert not {label.partition("(")[0] for label in labels} - set(CUES)


class Corpus:
    labels = (CE12, CE21, CW12, OTHER)
    none_label = OTHER

    def examples(self, split):
        assert split == "test"
        texts = [
            ("The <e1>a</e1> caused <e2>b</e2>", CE12),
            ("The <e1>a</e1> of <e2>b</e2>", CW12),
            ("The <e1>a</e1> and <e2>b</e2>", OTHER),
            ("The <e1>a</e1> into <e2>b</e2>", CE21),
        ]
        return [RelationExample(str(index), text, "a", "b", label) for index, (text, label) in enumerate(texts)]


def frame(*predictions):
    gold = [example.label for example in Corpus().examples("test")]
    names = [str(index) for index in range(len(gold))]
    return pd.DataFrame({"example_id": names, "gold": gold, "prediction": list(predictions)}).iloc[::-1]


def test_frames_of_a_corpus_get_their_slices_by_id():
    found = with_slices(frame(CE12, CW12, OTHER, CE21), Corpus(), "test")
    assert dict(zip(found["example_id"], found["slice"], strict=True)) == {
        "0": "cued", "1": "implicit", "2": "implicit", "3": "implicit",
    }  # fmt: skip


def test_frames_of_anything_else_are_left_alone():
    plain = pd.DataFrame({"example_id": ["a"], "reward": [1.0]})
    assert with_slices(plain, Corpus(), "test") is plain
    assert with_slices(frame(CE12, CW12, OTHER, CE21), object(), "test").columns.tolist() == [
        "example_id", "gold", "prediction",
    ]  # fmt: skip


def test_scores_on_slices_by_hand():
    found = scores_of(with_slices(frame(CE12, OTHER, CW12, CE21), Corpus(), "test"))
    assert found["accuracy_cued"] == 100.0 and found["accuracy_implicit"] == pytest.approx(100 / 3)
    # Implicit: one right of two guessed relations and two in gold: the false alarm counts where it happened.
    assert found["micro_f1_implicit"] == pytest.approx(100 * 2 / 4)
    assert found["micro_f1_cued"] == 100.0 and "tacred_micro_f1_cued" not in found


@given(st.lists(st.sampled_from(("", *Corpus.labels)), min_size=4, max_size=4))
def test_the_slices_of_a_sum_make_the_whole(predictions):
    cut = with_slices(frame(*predictions), Corpus(), "test")
    for name in ("accuracy", "micro_f1"):
        parts = sum(SCORES[f"{name}_{part}"].contributions(cut) for part in SLICES)
        assert (parts == SCORES[name].contributions(cut)).all()


def test_runs_without_slices_say_what_to_do():
    with pytest.raises(ValueError, match=r"accuracy_cued needs the column 'slice'.*evaluation again"):
        SCORES["accuracy_cued"].of(frame(CE12, CW12, OTHER, CE21))
    with pytest.raises(ValueError, match="'whole'"):
        on_slice(SCORES["accuracy"], "whole")


def audited():
    lines = [line for line in AUDIT.read_text().splitlines() if line.startswith("| ") and line.split()[1].isdigit()]
    return [[field.strip() for field in line.strip("|").split("|")] for line in lines]


def test_the_audit_counts_its_own_rows():
    rows = audited()
    differ = sum(row[4] not in (row[2], "unclear") for row in rows)
    unclear = sum(row[4] == "unclear" for row in rows)
    assert (len(rows), len(rows) - differ - unclear, differ, unclear) == (100, 92, 6, 2)
    assert "92 agree, 6 differ, 2 are unclear" in AUDIT.read_text()


def test_the_audit_is_of_the_rule_and_of_the_sample_that_it_names(needs_file):
    examples = [
        tagged_row(row, index)
        for index, row in enumerate(read_rows(needs_file("re/semeval2010_task8/test_open.jsonl.gz")))
    ]
    drawn = sorted(examples, key=lambda one: hashlib.sha256(f"audit:{one.id}".encode()).hexdigest())[:100]
    rows = audited()
    assert [row[0] for row in rows] == [one.id for one in sorted(drawn, key=lambda one: int(one.id))]
    by_id = {one.id: one for one in examples}
    for name, gold, rule, *_ in rows:
        assert (gold, rule) == (by_id[name].label, cut(by_id[name].text, by_id[name].label))
    related = [cut(one.text, one.label) for one in examples if one.label != OTHER]
    sizes = {name: related.count(name) for name in SLICES}
    assert sizes == {"cued": 567, "implicit": 569}
