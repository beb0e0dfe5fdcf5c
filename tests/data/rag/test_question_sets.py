import pytest

from data.rag import question_sets as questions
from data.rag.chunking import Chunker
from data.rag.corpus import passage_id, read_lines
from data.rag.question_sets import READERS, QuestionMix, QuestionSet
from data.records.passages import Passage, RagExample
from data.scoring.answers import has_answer


def read(name, row, chunk=None):
    return READERS[name](row, 0, chunk or Chunker())


def test_gold_rows_name_their_passage_by_its_text():
    (made,) = read("gold", {"id": 1, "question": "q", "answers": ["x", "y"], "gold": {"title": "T", "text": "a  b"}})
    assert made == RagExample("1", "q", ("x", "y"), (passage_id("a b"),), (Passage(passage_id("a b"), "T", "a b"),))


@pytest.mark.parametrize("field", ["answer", "answers", "golden_answers"])
def test_open_rows_have_no_passage(field):
    (made,) = read("open", {"question": "q", field: ["x"]})
    assert made == RagExample("q0", "q", ("x",))


def test_paragraphs_keep_their_order_and_mark_the_supporting_ones():
    paragraphs = [{"title": "T", "text": text, "is_supporting": text in "bc"} for text in "abcb"]
    (made,) = read("paragraphs", {"id": "m", "question": "q", "answers": ["x"], "paragraphs": paragraphs})
    assert [passage.text for passage in made.passages] == ["a", "b", "c"]  # a repeated paragraph once
    assert made.gold == (passage_id("b"), passage_id("c"))


def test_documents_are_cut_and_every_chunk_an_answer_touches_is_gold():
    text = "zero one two three four five"
    asked = {"id": 7, "question": "q", "answers": [{"text": "two three", "answer_start": 9}]}
    (made,) = read("document", {"doc_id": "d", "context": text, "qas": [asked]}, Chunker(size=2))
    assert [passage.text for passage in made.passages] == ["zero one", "two three", "four five"]
    assert made.gold == ("d#1",) and made.id == "d-7" and made.answers == ("two three",)
    (wide,) = read("document", {"doc_id": "d", "context": text, "qas": [asked]}, Chunker(size=3, overlap=1))
    assert wide.gold == ("d#0", "d#1") and wide.passages[1].text == "two three four"


def test_abstracts_squad_qed_pairs_and_choices():
    abstract = {"id": 1, "question": "q", "labels": ["AIM", "END"], "contexts": ["a", "b"], "answer": "no"}
    (made,) = read("abstract", abstract)
    assert made.answers == ("no",) and made.gold == tuple(passage.id for passage in made.passages)
    assert [passage.title for passage in made.passages] == ["AIM", "END"]
    (made,) = read("squad", {"id": 1, "title": "A_b", "context": "c", "question": "q", "answers": [{"text": "c"}]})
    assert made.passages[0].title == "A b" and made.answers == ("c",)
    (made,) = read("qed", {"id": 1, "title": "T", "paragraph": "p", "question": "q", "answers": [["x", "y"], ["x"]]})
    assert made.answers == ("x, y", "x")
    (made,) = read("key_value", {"ordered_kv_records": [["k", "v"], ["l", "w"]], "key": "l", "value": "w"})
    assert made.gold == ("l",) and made.passages[1] == Passage("l", "", '"l": "w"') and made.answers == ("w",)
    (made,) = read("choices", {"question": "q", "choices": ["red", "blue"], "answer": 1, "subject": "art"})
    assert made == RagExample("art-0", "q\nA. red\nB. blue", ("B", "blue"))


def rows_of(monkeypatch, rows):
    monkeypatch.setattr(questions, "read_rows", lambda file: rows)


def test_a_set_leaves_out_what_cannot_be_asked_and_says_so(monkeypatch):
    rows_of(monkeypatch, [
        {"id": "a", "question": "q", "answers": ["x", " x", ""]},
        {"id": "b", "question": " ", "answers": ["x"]},
        {"id": "c", "question": "q", "answers": [""]},
    ])  # fmt: skip
    made = QuestionSet(name="s", reader="open", files={"dev": "f"})
    assert made.examples("dev") == [RagExample("a", "q", ("x",))] and made.left_out == {"dev": ["b", "c"]}


def test_a_set_is_filtered_limited_and_checked(monkeypatch):
    rows = [{"id": str(n), "question": "q", "answers": ["x"], "source": "ab"[n % 2]} for n in range(20)]
    rows_of(monkeypatch, rows)
    every = QuestionSet(name="s", reader="open", files={"dev": "f"}, only={"source": ["a"]}).examples("dev")
    some = QuestionSet(name="s", reader="open", files={"dev": "f"}, only={"source": ["a"]}, limit=4).examples("dev")
    assert [int(example.id) % 2 for example in every] == [0] * 10 and len(some) == 4 and set(some) < set(every)
    rows_of(monkeypatch, rows[:1] * 2)
    with pytest.raises(ValueError, match="unique"):
        QuestionSet(name="s", reader="open", files={"dev": "f"}).examples("dev")
    with pytest.raises(ValueError, match="no question is left"):
        QuestionSet(name="s", reader="open", files={"dev": "f"}, only={"source": ["z"]}).examples("dev")
    with pytest.raises(ValueError, match="no split 'test'"):
        QuestionSet(name="s", reader="open", files={"dev": "f"}).examples("test")


def test_a_hub_set_names_its_configuration_split_and_revision(monkeypatch):
    asked = []
    row = {"id": "test_0", "question": "q", "golden_answers": ["x", "y"], "metadata": {}}
    monkeypatch.setattr(questions, "read_hub", lambda hub, **options: asked.append((hub, options)) or [row])
    source = {"id": "owner/sets", "config": "popqa", "split": "test", "revision": "v1"}
    made = QuestionSet(name="s", reader="open", hub={"dev": source})
    assert made.splits == ("dev",) and made.examples("dev") == [RagExample("test_0", "q", ("x", "y"))]
    assert asked == [("owner/sets", {"config": "popqa", "split": "test", "revision": "v1"})]


def test_a_mixture_takes_equally_many_of_each(monkeypatch):
    rows_of(monkeypatch, [{"id": str(n), "question": "q", "answers": ["x"]} for n in range(9)])
    parts = {name: QuestionSet(name=name, reader="open", files={"train": "f"}) for name in ("nq", "wow")}
    mixed = QuestionMix(name="m", parts=parts, per_part=4).examples("train")
    assert [example.id.partition(":")[0] for example in mixed] == ["nq"] * 4 + ["wow"] * 4
    with pytest.raises(ValueError, match="has 9 of the 10 wanted"):
        QuestionMix(name="m", parts=parts, per_part=10).examples("train")


@pytest.mark.parametrize(
    "bad",
    [{"reader": "open"}, {"reader": "nobody", "files": {"dev": "f"}}, {"reader": "open", "hub": {"dev": {"id": "x"}}},
     {"reader": "open", "files": {"dev": "f"}, "limit": 0}],
)  # fmt: skip
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match="questions s"):
        QuestionSet(name="s", **bad)


REAL = {
    ("gold", "qa/nq_gold/dev.jsonl.gz"): (250, True),
    ("open", "qa/nq_open/dev_open.jsonl.gz"): (2853, False),
    ("open", "qa/triviaqa/dev.jsonl.gz"): (731, False),
    ("open", "qa/webquestions/dev.jsonl.gz"): (755, False),
    ("paragraphs", "qa/multihop/train.jsonl.gz"): (214, True),
    ("abstract", "qa/pubmedqa/dev.jsonl.gz"): (98, True),
    ("document", "qa/covidqa_long/dev.jsonl.gz"): (None, True),
    ("squad", "qa/squad_xquad_en/dev.jsonl.gz"): (139, True),
    ("qed", "qa/qed/train.jsonl.gz"): (1082, True),
    ("key_value", "qa/kv_retrieval/keys75.jsonl.gz"): (200, True),
    ("snippets", "qa/retrievalqa/test_open.jsonl.gz"): (114, False),
}


@pytest.mark.parametrize(("reader", "file"), REAL, ids=[file for _, file in REAL])
def test_real_sets(reader, file, needs_file):
    made = QuestionSet(name="s", reader=reader, files={"dev": needs_file(file)})
    examples = made.examples("dev")
    rows, gold = REAL[reader, file]
    if rows is not None:
        assert len(examples) + len(made.left_out["dev"]) == rows and len(made.left_out["dev"]) <= rows // 20
    for example in examples:
        known = [passage.id for passage in example.passages]
        assert len(set(known)) == len(known) and set(example.gold) <= set(known) and bool(example.gold) == gold
    if reader in ("gold", "squad", "key_value"):
        passages = {passage.id: passage for example in examples for passage in example.passages}
        held = [any(has_answer(passages[name].text, example.answers) for name in example.gold) for example in examples]
        assert sum(held) / len(held) > 0.9


def test_gold_passages_are_in_the_corpus(needs_file):
    known = {row.fields["id"] for row in read_lines(needs_file("qa/corpus/passages.jsonl.gz"))}
    for reader, file in (("gold", "qa/nq_gold/dev.jsonl.gz"), ("paragraphs", "qa/multihop/train.jsonl.gz")):
        examples = QuestionSet(name="s", reader=reader, files={"dev": needs_file(file)}).examples("dev")
        assert all(passage.id in known for example in examples for passage in example.passages)
