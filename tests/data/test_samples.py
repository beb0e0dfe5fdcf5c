"""The sample sentences: counts, tags, entity fields, lengths, and no sentence shared between files."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "data" / "samples"
DIRECTED = (
    "Cause-Effect",
    "Component-Whole",
    "Content-Container",
    "Entity-Destination",
    "Entity-Origin",
    "Instrument-Agency",
    "Member-Collection",
    "Message-Topic",
    "Product-Producer",
)
LABELS = {f"{name}{direction}" for name in DIRECTED for direction in ("(e1,e2)", "(e2,e1)")} | {"Other"}
FILES = ("relations_train", "relations_dev", "relations_test", "general_train")
# file -> (fewest sentences, fewest per label, first id, id just past the split's range)
RELATION_SPLITS = {
    "relations_train": (300, 12, 1, 5001),
    "relations_dev": (60, 2, 5001, 8001),
    "relations_test": (120, 5, 8001, 9001),
}
TAGGED = re.compile(r"[^<>]*<e1>([^<>]+)</e1>[^<>]*<e2>([^<>]+)</e2>[^<>]*")


def rows(name: str) -> list[dict[str, Any]]:
    text = (SAMPLES / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def plain(sentence: str) -> str:
    """The sentence without tags, case and punctuation: what "the same sentence" means here."""
    return " ".join(re.findall(r"\w+", re.sub(r"</?e[12]>", "", sentence).lower()))


@pytest.mark.parametrize("name", RELATION_SPLITS)
def test_relation_counts_per_split_and_label(name: str) -> None:
    fewest, fewest_per_label, _, _ = RELATION_SPLITS[name]
    counts = Counter(row["relation"] for row in rows(name))
    assert set(counts) == LABELS
    assert sum(counts.values()) >= fewest
    assert min(counts.values()) >= fewest_per_label, counts


def test_general_file_has_ten_other_relations() -> None:
    counts = Counter(row["relation"] for row in rows("general_train"))
    assert len(counts) == 10
    assert not set(counts) & LABELS
    assert sum(counts.values()) >= 120
    assert min(counts.values()) >= 12, counts


@pytest.mark.parametrize("name", RELATION_SPLITS)
def test_relation_ids_lie_in_the_range_of_their_split(name: str) -> None:
    _, _, first, end = RELATION_SPLITS[name]
    ids = [row["id"] for row in rows(name)]
    assert ids == list(range(first, first + len(ids)))
    assert ids[-1] < end


def test_general_ids() -> None:
    ids = [row["id"] for row in rows("general_train")]
    assert ids == [f"g{number}" for number in range(1, len(ids) + 1)]


@pytest.mark.parametrize("name", FILES)
def test_tags_parse_with_e1_first_and_match_the_entity_fields(name: str) -> None:
    for row in rows(name):
        assert set(row) == {"id", "sentence", "relation", "e1", "e2"}
        match = TAGGED.fullmatch(row["sentence"])
        assert match, f"{name} {row['id']}: one <e1>..</e1>, then one <e2>..</e2> wanted, got {row['sentence']!r}"
        assert match.groups() == (row["e1"], row["e2"]), f"{name} {row['id']}"
        assert row["e1"] == row["e1"].strip() and row["e2"] == row["e2"].strip()
        assert row["e1"] != row["e2"]


@pytest.mark.parametrize("name", FILES)
def test_sentences_are_8_to_30_words_and_look_like_sentences(name: str) -> None:
    for row in rows(name):
        bare = re.sub(r"</?e[12]>", "", row["sentence"])
        assert 8 <= len(bare.split()) <= 30, f"{name} {row['id']}: {len(bare.split())} words"
        assert bare[0].isupper() and bare[-1] in ".?!", f"{name} {row['id']}: {bare!r}"
        assert bare == bare.strip() and "  " not in bare and not set("[]{}") & set(bare), f"{name} {row['id']}"


def test_no_sentence_twice_in_any_file() -> None:
    counts = Counter(plain(row["sentence"]) for name in FILES for row in rows(name))
    assert [sentence for sentence, count in counts.items() if count > 1] == []


def test_entity_pairs_hardly_recur_across_splits() -> None:
    splits: dict[frozenset[str], set[str]] = {}
    for name in RELATION_SPLITS:
        for row in rows(name):
            splits.setdefault(frozenset((row["e1"].lower(), row["e2"].lower())), set()).add(name)
    assert sum(len(found) > 1 for found in splits.values()) <= 2


def test_readme_states_the_counts_of_the_files() -> None:
    text = (SAMPLES / "README.md").read_text(encoding="utf-8")
    train, dev, test, general = (len(rows(name)) for name in FILES)
    assert f"{train}, {dev} and {test} sentences" in text
    assert f"{general} sentences over ten" in text
