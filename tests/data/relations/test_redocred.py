import hashlib

import pytest

from data.relations.redocred import DocumentPairs
from data.relations.redocred_properties import PROPERTIES


def mention(sentence, start, end):
    return {"name": "x", "sent_id": sentence, "pos": [start, end], "type": "PER"}


# Sentence 0 mentions entities 0 (Ada, twice), 1 (Rome) and 2 (her son); sentence 1 mentions 0 and 3, which overlap.
ROW = {
    "title": "t",
    "sents": [["Ada", "of", "Rome", "met", "her", "son", ",", "said", "Ada"], ["Ada", "King", "slept"]],
    "vertexSet": [
        [mention(0, 8, 9), mention(0, 0, 1), mention(1, 0, 1)],
        [mention(0, 2, 3)],
        [mention(0, 4, 6)],
        [mention(1, 0, 2)],
    ],
    "labels": [
        {"h": 0, "t": 1, "r": "P19", "evidence": [0]},
        {"h": 0, "t": 2, "r": "P40", "evidence": []},
        {"h": 2, "t": 0, "r": "P25", "evidence": []},
        {"h": 2, "t": 0, "r": "P3373", "evidence": []},
        {"h": 0, "t": 3, "r": "P26", "evidence": [1]},
    ],
}

FIRST = {**ROW, "vertexSet": [[one for one in told if one["sent_id"] == 0] for told in ROW["vertexSet"]]}


def labels(none_label, **options):
    found = DocumentPairs(none_label=none_label, **options).examples([ROW], "dev")
    return {example.id: example.label for example in found}


def test_all_ordered_pairs_of_a_sentence():
    # Of six ordered pairs of three entities, (2, 0) has two relations and goes; so does the overlapping pair.
    assert labels("no_relation") == {
        "dev-0-0-0-1": "place of birth",
        "dev-0-0-0-2": "child",
        "dev-0-0-1-0": "no_relation",
        "dev-0-0-1-2": "no_relation",
        "dev-0-0-2-1": "no_relation",
    }


def test_without_a_none_label_only_related_pairs_are_left():
    assert labels(None) == {"dev-0-0-0-1": "place of birth", "dev-0-0-0-2": "child"}


def test_the_first_mention_is_marked():
    example = DocumentPairs(none_label=None).examples([ROW], "dev")[0]
    assert example.text == "<e1>Ada</e1> of <e2>Rome</e2> met her son , said Ada"
    assert (example.head, example.tail) == ("Ada", "Rome")


def test_a_limit_takes_sentences_whole_and_a_smaller_one_takes_some_of_them():
    rows = [{**FIRST, "sents": [[*ROW["sents"][0], str(index)]]} for index in range(6)]
    reader = [DocumentPairs(none_label="no", sentences={"dev": count}).examples(rows, "dev") for count in (2, 5)]
    few, more = ({example.id.rsplit("-", 2)[0] for example in found} for found in reader)
    assert few < more and (len(few), len(more)) == (2, 5)
    # A sentence that is taken gives all of its five pairs.
    assert all(len(found) == 5 * len({example.id.rsplit("-", 2)[0] for example in found}) for found in reader)
    assert len(DocumentPairs(none_label="no", sentences={"dev": 1}).examples(rows, "test")) == 6 * 5


def test_other_relations_are_left_out_and_are_not_called_unrelated():
    assert labels("no_relation", relations=["no_relation", "child"]) == {
        "dev-0-0-0-2": "child",
        "dev-0-0-1-0": "no_relation",
        "dev-0-0-1-2": "no_relation",
        "dev-0-0-2-1": "no_relation",
    }


@pytest.mark.parametrize(("share", "kept"), [(0.2, 0), (0.3, 1), (0.5, 2), (0.6, 3), (0.9, 3)])
def test_a_share_thins_unrelated_pairs_alone(share, kept):
    # Two related and three unrelated pairs: at most 2 share / (1 - share) of the latter stay, in rounded numbers.
    found = labels("no_relation", none_share=share)
    assert sum(label == "no_relation" for label in found.values()) == kept and len(found) == kept + 2
    assert found.items() <= labels("no_relation").items()


def test_a_share_survives_a_limit_that_orders_by_id():
    rows = [{**FIRST, "sents": [[*ROW["sents"][0], str(index)]]} for index in range(400)]
    found = DocumentPairs(none_label="no", none_share=0.4).examples(rows, "dev")
    limited = sorted(found, key=lambda one: hashlib.sha256(one.id.encode()).hexdigest())[:400]
    assert sum(one.label == "no" for one in limited) / 400 == pytest.approx(0.4, abs=0.08)


def test_faults_are_named():
    with pytest.raises(ValueError, match=r"relations must be names.*'P19'"):
        DocumentPairs(none_label="no", relations=["no", "P19"])
    with pytest.raises(ValueError, match="relations must be names"):
        DocumentPairs(none_label="no", relations=[])
    for none_label, share in ((None, 0.5), ("no", 1.0), ("no", 0.0)):
        with pytest.raises(ValueError, match="none_share"):
            DocumentPairs(none_label=none_label, none_share=share)
    with pytest.raises(ValueError, match=r"'P9'.*redocred_properties"):
        DocumentPairs(none_label=None).examples([{**ROW, "labels": [{"h": 0, "t": 1, "r": "P9"}]}], "dev")
    with pytest.raises(ValueError, match="sentences must be at least 1"):
        DocumentPairs(none_label=None, sentences={"dev": 0})


def test_property_names_are_96_and_different():
    assert len(PROPERTIES) == len(set(PROPERTIES.values())) == 96
