from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.files.sources import read_rows
from data.records.relations import RelationExample, without_tags
from data.relations.formats import (
    SEMEVAL_LABELS,
    SEMEVAL_RELATIONS,
    carve,
    check,
    drop_recurring,
    marked,
    subset,
    tagged_row,
    token_row,
)

ROW = {"id": 7, "sentence": "A <e1>b c</e1> d <e2>e</e2>.", "relation": "Other", "e1": "b c", "e2": "e"}
TOKENS = {
    "relation": "P1",
    "name": "part of",
    "tokens": ["A", "b", "c", "d", "e"],
    "h": ["e", "Q1", [[4]]],
    "t": ["b c", "Q2", [[1, 2], [3]]],
}


def make(index, text, label="Other"):
    return RelationExample(str(index), text, "a", "b", label)


def test_the_nineteen_labels_are_frozen():
    assert len(SEMEVAL_RELATIONS) == 9 and len(SEMEVAL_LABELS) == 19
    assert SEMEVAL_LABELS[:3] == ("Cause-Effect(e1,e2)", "Cause-Effect(e2,e1)", "Component-Whole(e1,e2)")
    assert SEMEVAL_LABELS[-1] == "Other"


def test_a_tagged_row_becomes_an_example():
    assert tagged_row(ROW, 0) == RelationExample("7", ROW["sentence"], "b c", "e", "Other")
    without = {"sentence": ROW["sentence"], "relation": "Other"}
    assert tagged_row(without, 8000).id == "8001"


@pytest.mark.parametrize(
    "sentence",
    [
        "A b <e2>c</e2>.",
        "<e1>a</e1> <e1>b</e1> <e2>c</e2>",
        "<e1>a <e2>b</e2></e1>",
        "<e1></e1> <e2>b</e2>",
        "</e1>a<e1> <e2>b</e2>",
        "<e1>a</e1> <e2>b",
        "<e1>a</e1> b</e1> <e2>c</e2>",
        "<e1>a <e2>b</e1> c</e2>",
    ],
)
def test_broken_tags_are_refused(sentence):
    with pytest.raises(ValueError, match="sentence: "):
        tagged_row({**ROW, "sentence": sentence, "e1": None, "e2": None}, 0)


def test_entities_that_contradict_the_tags_are_refused():
    with pytest.raises(ValueError, match="e1 is 'b' but the tags mark 'b c'"):
        tagged_row({**ROW, "e1": "b"}, 0)


def test_a_token_row_gets_tags_at_its_first_mentions_in_either_order():
    made = token_row(TOKENS, 3)
    assert made == RelationExample("P1-3", "A <e2>b c</e2> d <e1>e</e1>", "e", "b c", "part of")


@pytest.mark.parametrize("h", [[[4, 6]], [[5]], [[]], [[-1]], [[1, 2]], [[2, 3]]])
def test_token_positions_must_be_one_run_apart_from_the_other_entity(h):
    with pytest.raises(ValueError, match=r"positions|overlap"):
        token_row({**TOKENS, "h": ["e", "Q1", h]}, 3)


@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=9), st.data())
def test_token_rows_lose_nothing_and_mark_what_they_say(tokens, data):
    cut = sorted(data.draw(st.sets(st.integers(0, len(tokens)), min_size=2, max_size=4)))
    first, second = (cut[0], cut[1]), (cut[-2], cut[-1])
    if first[1] > second[0]:
        second = None
    if second is None or first == second:
        return
    row = {**TOKENS, "tokens": tokens, "h": ["", "", [list(range(*second))]], "t": ["", "", [list(range(*first))]]}
    made = token_row(row, 0)
    assert without_tags(made.text) == " ".join(tokens)
    assert made.head == " ".join(tokens[slice(*second)]) and made.tail == " ".join(tokens[slice(*first)])
    assert marked(made.text) == (made.head, made.tail)


def test_check_names_doubled_ids_and_unknown_labels():
    check([make(1, "x"), make(2, "x")], ["Other"], where="t")
    with pytest.raises(ValueError, match=r"t: ids must be unique, \['1'\]"):
        check([make(1, "x"), make(1, "y")], ["Other"], where="t")
    with pytest.raises(ValueError, match=r"t: labels \['Other'\]"):
        check([make(1, "x")], ["A"], where="t")


def test_a_sentence_that_recurs_under_other_marks_is_dropped():
    train = [make(1, "<e1>a</e1> b <e2>c</e2>"), make(2, "a b d")]
    kept, dropped = drop_recurring(train, [make(9, "a <e1>b</e1> <e2>c</e2>")])
    assert [item.id for item in kept] == ["2"] and dropped == ["1"]


def test_carving_keeps_sentences_whole_and_does_not_depend_on_the_other_rows():
    examples = [make(index, f"<e1>s</e1> number {index // 2} <e2>t</e2>") for index in range(4000)]
    rest, aside = carve(examples, 0.1, name="dev")
    assert not {without_tags(item.text) for item in rest} & {without_tags(item.text) for item in aside}
    # 2,000 sentences at 0.1: a standard deviation is 13.4, five of them are 67.
    assert abs(len(aside) / 2 - 200) < 67
    assert carve(examples[:100], 0.1, name="dev")[1] == [item for item in aside if int(item.id) < 100]
    assert carve(examples, 0.1, name="test")[1] != aside
    with pytest.raises(ValueError, match="between 0 and 1"):
        carve(examples, 1.0, name="dev")


@given(st.integers(1, 30), st.integers(1, 30))
def test_subsets_are_nested_and_keep_the_order(small, large):
    examples = [make(index, "x") for index in range(25)]
    small, large = sorted((small, large))
    little, much = subset(examples, small), subset(examples, large)
    assert len(little) == min(small, 25) and set(little) <= set(much)
    assert [int(item.id) for item in much] == sorted(int(item.id) for item in much)


def test_a_limit_below_one_is_refused_and_none_means_all():
    examples = [make(1, "x")]
    assert subset(examples, None) == examples
    with pytest.raises(ValueError, match="limit"):
        subset(examples, 0)


def test_semeval_has_the_sheets_counts(needs_file):
    # Train counts of the release by label, as the sheet measured them on 8,000 = our train and dev.
    counts = Counter()
    for name in ("train", "dev"):
        rows = read_rows(needs_file(f"re/semeval2010_task8/{name}.jsonl.gz"))
        counts.update(tagged_row(row, index).label for index, row in enumerate(rows))
    pairs = [(344, 659), (470, 471), (374, 166), (844, 1), (568, 148), (97, 407), (78, 612), (490, 144), (323, 394)]
    wanted = {}
    for relation, (forward, backward) in zip(SEMEVAL_RELATIONS, pairs, strict=True):
        wanted[f"{relation}(e1,e2)"], wanted[f"{relation}(e2,e1)"] = forward, backward
    assert counts == Counter({**wanted, "Other": 1410})


def test_fewrel_becomes_seven_thousand_marked_sentences(needs_file):
    rows = read_rows(needs_file("re/fewrel_wiki/train.jsonl.gz"))
    examples = [token_row(row, index) for index, row in enumerate(rows)]
    assert Counter(item.label for item in examples) == Counter({name: 700 for name in {row["name"] for row in rows}})
    assert len({item.label for item in examples}) == 10
    for item, row in zip(examples, rows, strict=True):
        assert item.head.casefold() == " ".join(row["tokens"][i] for i in row["h"][2][0]).casefold()
        assert without_tags(item.text) == " ".join(row["tokens"])
