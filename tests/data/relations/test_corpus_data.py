"""The configs of corpora with a reader of their own, on the files themselves where this machine has them."""

import json

import pytest
from hydra.utils import instantiate

from data.records.relations import RelationExample, without_tags
from data.relations.corpus_data import CorpusData
from data.relations.formats import marked

LABELS = ("A", "B", "none")


class Reader:
    """Two examples per row: one of the row's label, one of none."""

    def examples(self, rows, split):
        return [
            RelationExample(f"{split}-{index}-{label}", row["text"], "x", "y", label)
            for index, row in enumerate(rows)
            for label in (row["label"], "none")
        ]


@pytest.fixture
def corpus(tmp_path, monkeypatch, relation_config):
    monkeypatch.setenv("PAPERGRID_DATA", str(tmp_path))
    settings = relation_config("data=scierc")
    shared = {key: instantiate(settings[key]) for key in ("prompt", "retriever")}

    def make(splits, **changes):
        for split, rows in splits.items():
            lines = [json.dumps({"text": f"<e1>x</e1> {text} <e2>y</e2>", "label": label}) for text, label in rows]
            (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
        files = {split: f"{split}.jsonl" for split in splits}
        options = {"name": "corpus", "files": files, "labels": LABELS, "none_label": "none", "batch_size": 2, "seed": 0}
        return CorpusData(reader=Reader(), **{**shared, **options, **changes})

    return make


def test_a_row_may_give_several_examples_and_the_splits_share_no_sentence(corpus):
    train = [("p", "A"), ("q", "B"), ("r", "A")]
    data = corpus({"train": train, "dev": [("q", "A")], "test": [("r", "B"), ("s", "A")]})
    assert [one.id for one in data.examples("train")] == ["train-0-A", "train-0-none"]
    assert data.dropped == {"dev": ["train-1-B", "train-1-none"], "test": ["train-2-A", "train-2-none"]}
    assert [one.label for one in data.examples("test")] == ["B", "none", "A", "none"]
    assert len(data.prompts("test")) == 4 and data.lookup("train-0-A").label == "A"


def test_sentences_that_recur_in_test_may_stay(corpus):
    splits = {"train": [("p", "A"), ("r", "A")], "test": [("r", "B")]}
    assert len(corpus(splits, drop_train_in_test=False).examples("train")) == 4
    assert len(corpus(splits, drop_train_in_test=False, train_limit=3).examples("train")) == 3


def test_carving_takes_whole_sentences(corpus):
    data = corpus({"train": [(f"w{index}", "A") for index in range(60)]}, carve={"test": 0.3})
    sides = [{without_tags(one.text) for one in data.examples(split)} for split in ("train", "test")]
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 60
    assert all(len(data.examples(split)) == 2 * len(side) for split, side in zip(("train", "test"), sides, strict=True))


@pytest.mark.parametrize(
    ("splits", "changes", "said"),
    [
        ({"train": [("p", "C")]}, {}, "labels \\['C'\\] are not in the inventory"),
        ({"train": [("p", "A")], "dev": [("p", "A")]}, {}, "no training example left"),
        ({"train": [("p", "A")]}, {"train_limit": 0}, "train_limit"),
        (
            {"train": [("p", "A")]},
            {"hub": {"dev": {"id": "a", "split": "b", "revision": "c", "first_id": 1, "rows": 1}}},
            "data.hub of corpus must be null",
        ),
    ],
)
def test_faults_are_named(corpus, splits, changes, said):
    with pytest.raises(ValueError, match=said):
        corpus(splits, **changes).examples("train")


# Counted in the files: train, dev, test examples and labels of the inventory.
SIZES = {
    "scierc": (3219, 455, 486, 7),
    "fewrel_wiki": (8249, 440, 411, 13),
    "fewrel_pubmed": (297, 102, 101, 5),
    "redocred_sentences": (4200, 983, 2529, 96),
    "redocred_pairs": (34515, 8854, 21158, 97),
    "redocred_pairs_frequent": (None, None, None, 13),
}


@pytest.mark.parametrize(("name", "sizes"), SIZES.items())
def test_the_corpus_loads_and_marks_every_pair(name, sizes, relation_config, needs_file):
    settings = relation_config(f"data={name}")
    for file in settings["files"].values():
        needs_file(file)
    data = instantiate(settings)
    found = [data.examples(split) for split in ("train", "dev", "test")]
    assert len(data.labels) == sizes[3]
    for examples, wanted in zip(found, sizes, strict=False):
        assert wanted is None or len(examples) == wanted
        for example in examples[:: max(1, len(examples) // 200)]:
            assert marked(example.text) == (example.head, example.tail)
    assert len({one.id for examples in found for one in examples}) == sum(map(len, found))
    if data.none_label:
        share = sum(one.label == data.none_label for one in found[2]) / len(found[2])
        # TACRED's own test has 78.6%.
        assert share == pytest.approx(0.786, abs=1e-3) if name == "redocred_pairs_frequent" else 0.86 < share < 0.92
