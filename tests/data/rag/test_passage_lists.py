"""Gold passages are found in a corpus by text and by id; where none is, scores by gold are refused, never 0 unsaid."""

import json
import warnings

import pytest

from data.files.stages import TemporaryStages
from data.rag.corpus import Corpus, PassageFile, RawRow, passage_id, read_lines, write_passages
from data.rag.order import OriginalOrder
from data.rag.passage_lists import PassageLists
from data.rag.question_rag import QuestionPlan, QuestionPrompt, judged_text
from data.rag.question_sets import QuestionSet
from data.records.passages import Passage, RagExample
from data.retrieval.bm25 import BM25Retriever
from data.retrieval.oracle import OracleRetriever
from data.retrieval.trained import TrainedEncoder

STAGES = TemporaryStages()
PROMPT = QuestionPrompt(instruction="", passage="{title} {text}", untitled="{text}", question="{question}")
PASSAGES = [row.fields for row in read_lines("samples:passages.jsonl")]


@pytest.fixture
def contexts(tmp_path, monkeypatch):
    """Contexts of the sample questions over a corpus of these rows."""

    def make(rows, **options):
        (tmp_path / "mine.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        questions = QuestionSet(name="samples", reader="paragraphs", files={"test": "samples:questions_test.jsonl"})
        monkeypatch.setenv("PAPERGRID_DATA", str(tmp_path))
        plan = QuestionPlan(
            asked=questions,
            order=OriginalOrder(),
            corpus=Corpus(name="mine", files={"all": "mine.jsonl"}),
            retriever=options.pop("retriever", BM25Retriever()),
            k=4,
            depth=8,
            **options,
        )
        return plan.contexts(STAGES, PROMPT)

    return make


def recall(found):
    return [judged_text("", one)["gold_in_context"] for one in found]


OWN_IDS = {
    "no ids": lambda number, row: row,
    "ids": lambda number, row: {**row, "id": f"doc-{number}"},
    "numbers": lambda number, row: {**row, "id": number},
    "another title": lambda number, row: {**row, "id": number, "title": "Another"},
    "other white space and case": lambda number, row: {"id": number, "text": row["text"].upper().replace(" ", "\n ")},
    "another Unicode form": lambda number, row: {"id": number, "text": row["text"].replace("fi", "\ufb01")},
}


@pytest.mark.parametrize("change", OWN_IDS)
def test_recall_does_not_depend_on_how_a_corpus_names_its_passages(change, contexts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = contexts([OWN_IDS[change](number, row) for number, row in enumerate(PASSAGES)])
    assert len(found) == 12 and recall(found) == [1.0] * 12


def test_gold_is_removed_ranked_first_and_handed_to_the_oracle_by_text_too(contexts):
    rows = [{**row, "id": f"doc-{number}"} for number, row in enumerate(PASSAGES)]
    removed = contexts(rows, gold="removed")
    assert recall(removed) == [0.0] * 12 and all(len(one.example.passages) == 4 for one in removed)
    first = contexts(rows, gold_first=True)
    assert all(one.example.passages[0].id in one.example.gold for one in first)
    oracle = contexts(rows, retriever=OracleRetriever(negatives=BM25Retriever()))
    assert all(one.example.passages[0].id in one.example.gold for one in oracle)


def test_a_corpus_without_any_gold_passage_is_refused_unless_gold_is_unknown(contexts):
    rows = [{"id": number, "text": f"text {number}"} for number in range(20)]
    with pytest.raises(ValueError, match=r"^questions samples over corpus mine: none of 12 questions .* gold=unknown"):
        contexts(rows)
    found = contexts(rows, gold="unknown")
    assert all(one.example.gold == () for one in found) and all(score != score for score in recall(found))
    assert "answer_contained" in judged_text("x", found[0])


def test_some_missing_gold_passages_are_warned_of_with_their_share(contexts):
    kept = [row for row in PASSAGES if "stable" not in row["text"] and "peat" not in row["text"]]
    rows = [{**row, "id": f"doc-{number}"} for number, row in enumerate(kept)]
    with pytest.warns(UserWarning, match=r"2 of 12 questions \(16\.7%\) lack gold .* cannot exceed 83\.3%"):
        found = contexts(rows)
    assert sum(recall(found)) == 10


@pytest.mark.parametrize("bad", [{"gold": "some"}, {"gold": "unknown", "gold_first": True},
                                 {"gold": "unknown", "absent": "drop"}])  # fmt: skip
def test_what_does_not_go_together_is_refused(bad, contexts):
    with pytest.raises(ValueError, match="gold"):
        contexts(PASSAGES, **bad)


def lists(tmp_path, rows, **options):
    write_passages(map(RawRow, rows), tmp_path)
    return PassageLists(BM25Retriever(), PassageFile(tmp_path), STAGES, **options)


def asked(gold, *passages):
    return RagExample("q", "Where is it?", ("there",), gold, passages)


def test_by_text_before_the_id_and_by_the_title_among_equal_texts(tmp_path):
    rows = [
        {"id": "1", "title": "A", "text": "It is there."},
        {"id": "2", "title": "B", "text": "It is there."},
        {"id": "7", "title": "C", "text": "Nothing at all."},
        {"id": passage_id("Only its id."), "title": "D", "text": "Only its id."},
    ]
    made = lists(tmp_path, rows)
    right = Passage("7", "B", "It is  there.")
    wanted = {
        # The id 7 is another passage's in this corpus.
        ("7",): ("2",),
        ("x",): ("1",),
    }
    found = [made.located([asked(gold, right._replace(id=gold[0], title="B" if gold == ("7",) else "Z"))], name="t")
             for gold in wanted]  # fmt: skip
    assert [one.gold for (one,) in found] == list(wanted.values())
    # Questions without their passages name them by id alone.
    assert made.located([asked(("7",))], name="t")[0].gold == ("7",)
    assert made.located([asked((passage_id("Only its id."),))], name="t")[0].gold == (passage_id("Only its id."),)
    assert made.located([asked(())], name="t")[0].gold == ()


def test_two_gold_passages_of_which_one_is_there_are_not_found_whole(tmp_path):
    both = (Passage("a", "", "It is there."), Passage("b", "", "It is gone."))
    made = lists(tmp_path, [{"id": "1", "text": "It is there."}, {"id": "2", "text": "More."}])
    with pytest.raises(ValueError, match="none of 1 questions has its gold passages"):
        made.located([asked(("a", "b"), *both)], name="t")


def test_a_retriever_learns_from_gold_passages_that_the_corpus_names_otherwise(tmp_path):
    class Training:
        def key(self):
            return {}

    write_passages(map(RawRow, [{"id": "1", "text": "It is there."}]), tmp_path)
    encoder = TrainedEncoder(training=Training())
    encoder.view = "sentence"
    PassageLists(encoder, PassageFile(tmp_path), STAGES, training=[asked(("a",), Passage("a", "", "It is there."))])
    assert encoder._pairs == [("Where is it?", "It is there.")]
