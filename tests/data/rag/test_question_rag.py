"""Real question sets with passages: what is shown, how it is spelt, and how free answers are judged."""

import math

import pytest

from data.files.stages import TemporaryStages
from data.rag.corpus import Corpus
from data.rag.order import OriginalOrder, ReversedOrder
from data.rag.question_rag import QuestionPlan, QuestionPrompt, QuestionRag, judged_text
from data.rag.question_sets import QuestionSet
from data.rag.showing import Context
from data.records.passages import Passage, RagExample
from data.records.texts import Completion
from data.retrieval.bm25 import BM25Retriever

STAGES = TemporaryStages()
PROMPT = QuestionPrompt(
    instruction="Answer.", passage="[{number}] {title}: {text}", untitled="[{number}] {text}", question="Q: {question}"
)


def samples():
    files = {split: f"samples:questions_{split}.jsonl" for split in ("train", "test")}
    return QuestionSet(name="samples", reader="paragraphs", files=files)


def plan(**changes):
    return QuestionPlan(**{"asked": samples(), "order": OriginalOrder(), "k": 4, **changes})


def retrieved(**changes):
    corpus = Corpus(name="samples", files={"all": "samples:passages.jsonl"})
    return plan(corpus=corpus, retriever=BM25Retriever(k1=0.9, b=0.4), depth=8, **changes)


def contexts(made, **more):
    return made.contexts(STAGES, PROMPT, **more)


def test_own_passages_as_they_come_or_gold_first():
    as_they_come, gold_first = contexts(plan()), contexts(plan(gold_first=True))
    places = [[p.id in one.example.gold for p in one.example.passages].index(True) for one in as_they_come]
    assert sorted(set(places)) == [0, 1, 2, 3]
    assert all(one.example.passages[0].id in one.example.gold for one in gold_first)
    assert [len(one.example.passages) for one in contexts(plan(k=2, gold_first=True))] == [2] * 12


def test_a_retriever_finds_the_gold_passages_in_the_corpus_under_the_same_ids():
    found = contexts(retrieved(k=3))
    hits = sum(set(one.example.gold) <= {p.id for p in one.example.passages} for one in found)
    assert hits >= 10 and all(len(one.example.passages) == 3 for one in found)
    removed = contexts(retrieved(k=3, gold="removed"))
    assert not any({p.id for p in one.example.passages} & set(one.example.gold) for one in removed)
    train = contexts(retrieved(k=3, split="train"))
    assert not {one.example.id for one in train} & {one.example.id for one in found}


def test_passages_that_hide_an_answer_are_dropped_where_told():
    hiding = Passage("h", "", "In short: blue it was.")
    example = RagExample("q", "What colour?", ("blue",), ("g",), (hiding, Passage("g", "", "It is blue.")))

    class One:
        name, splits = "one", ("test",)

        def examples(self, split):
            return [example]

    shown = {kind: contexts(plan(asked=One(), hidden_answers=kind))[0].example.passages for kind in ("keep", "drop")}
    assert [[p.id for p in shown[kind]] for kind in ("keep", "drop")] == [["h", "g"], ["g"]]


def test_numbers_follow_the_places_and_a_budget_drops_the_end_of_the_ranking():
    words = {"tokens": lambda text: len(text.split())}
    ranked = contexts(plan(gold_first=True, questions=1))[0].example
    room = len(PROMPT(ranked.question, ranked.passages[:2]).split())
    made = contexts(plan(gold_first=True, questions=1, budget=room, overflow="drop", order=ReversedOrder()), **words)[0]
    assert [ranked.passages.index(p) for p in made.example.passages] == [1, 0] and made.dropped == 2
    lines = PROMPT(ranked.question, made.example.passages).splitlines()
    assert [line.split()[0] for line in lines] == ["Answer.", "[1]", "[2]", "Q:"]
    assert lines[1].startswith(f"[1] {ranked.passages[1].title}: ")
    assert PROMPT("Why?", [Passage("a", "", "Because.")]).splitlines()[1] == "[1] Because."
    with pytest.raises(ValueError, match="measure the budget"):
        contexts(plan(gold_first=True, questions=1, budget=room), **words)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"retriever": BM25Retriever(k1=0.9, b=0.4)}, "corpus and retriever"),
        ({"questions": 0}, "questions"),
        ({"hidden_answers": "some"}, "hidden_answers"),
        ({"absent": "some"}, "absent"),
        ({"gold": "some"}, "gold"),
        ({"k": -1}, "k must"),
    ],
)
def test_bad_plans_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        plan(**wrong)


def test_bad_prompts_and_sets_without_passages_are_refused():
    with pytest.raises(ValueError, match="question"):
        QuestionPrompt(instruction="", passage="{text}", untitled="{text}", question="Q:")

    class Bare:
        name, splits = "bare", ("test",)

        def examples(self, split):
            return [RagExample("q", "Who?", ("me",))]

    with pytest.raises(ValueError, match="bring no passages"):
        contexts(plan(asked=Bare()))
    assert contexts(plan(asked=Bare(), k=0))[0].example.passages == ()


EXAMPLE = RagExample(
    "q", "Who?", ("Ada Prenn",), ("g",), (Passage("g", "", "By Ada Prenn."), Passage("o", "", "Mira Vance"))
)


def judge(response, example=EXAMPLE):
    return judged_text(response, Context(example, 0, False))


def test_only_the_first_line_counts_and_errors_are_told_by_where_the_answer_stands():
    good = judge("\nIt was Ada Prenn.\nQuestion: Who else? Mira Vance")
    assert good["answer_contained"] == 1 and good["exact_match"] == 0 and good["right_given_gold"] == 1
    rows = {said: judge(said) for said in ("Nobody\nAda Prenn", "Mira Vance", "  \n ")}
    errors = ("error_not_in_context", "error_other_passage", "error_malformed")
    for row, error in zip(rows.values(), errors, strict=True):
        assert [name for name in errors if row[name]] == [error] and row["answer_contained"] == 0
    assert not any(good[name] for name in errors)


def test_gold_counts_where_it_is_known():
    without = judge("Ada Prenn", EXAMPLE._replace(passages=EXAMPLE.passages[1:]))
    assert (without["gold_in_context"], without["right_given_no_gold"], without["precision_at_k"]) == (0, 1, 0)
    assert math.isnan(without["right_given_gold"]) and judge("x")["precision_at_k"] == 0.5
    unknown = judge("Ada Prenn", EXAMPLE._replace(gold=()))
    assert all(math.isnan(unknown[name]) for name in ("gold_in_context", "right_given_gold", "right_given_no_gold"))


def test_items_and_frame_belong_to_each_other():
    data = QuestionRag(name="real", train=retrieved(split="train"), test=plan(), prompt=PROMPT, batch_size=4, seed=0)
    items = data.items("test")
    frame = data.frame([Completion(one.id, 0, one.response, 3, True, 0.0) for one in items])
    assert len(frame) == len(items) == 12 and frame["answer_contained"].eq(1).all()
    train = data.items("train")
    assert len(train) == 12 and data.steps_per_epoch == 3
    assert all(one.prompt.startswith("Answer.\n[1] ") and one.response for one in train)
    with pytest.raises(ValueError, match="use test"):
        data.items("dev")
