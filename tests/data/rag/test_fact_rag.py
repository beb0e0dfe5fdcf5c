"""Contexts of the fact world: ranks, budgets, order, gold; what a reader is given and how its answers are judged."""

import math
from types import SimpleNamespace

import pytest

from data.files.stages import TemporaryStages
from data.rag.fact_contexts import QUESTION, ContextPlan, prompt_of, world_corpus
from data.rag.fact_rag import ANSWER, RELEVANT, FactRag, Lessons
from data.rag.order import GoldAtOrder, OriginalOrder, ReorderedOrder, ReversedOrder
from data.records.passages import Passage, RagExample
from data.records.texts import Completion
from data.retrieval.bm25 import BM25Retriever
from data.scoring.rag import ERRORS, error_of, judged, parsed
from data.scoring.registry import scores_of
from data.worlds.facts.world import FactWorld

WORLD = FactWorld(seed=0, entities=24, first_names=8, surnames=6, phrasings=2)
STAGES = TemporaryStages()


def plan(**changes):
    settings = {"order": OriginalOrder(), "negatives": {"random": 1.0}, "k": 5, "questions": 8}
    return ContextPlan(**{**settings, **changes})


def retrieved(**changes):
    return plan(negatives=None, retriever=BM25Retriever(k1=0.9, b=0.4), depth=20, **changes)


def contexts(made, split="test", **more):
    return made.contexts(WORLD, split, STAGES, **more)


def gold_shown(made):
    return sum(set(one.example.gold) <= {passage.id for passage in one.example.passages} for one in made)


def test_ranked_by_the_retriever_and_cut_to_k():
    few, many = contexts(retrieved(k=3)), contexts(retrieved(k=10))
    for one, other in zip(few, many, strict=True):
        assert [p.id for p in one.example.passages] == [p.id for p in other.example.passages][:3]
    # Every name and attribute is spelt out, so that BM25 has the gold passage among its ten.
    assert gold_shown(many) == 8


def test_the_corpus_of_a_split_holds_no_fact_of_the_other_questions():
    tune, test = ({p.id for p in world_corpus(WORLD, split, STAGES)} for split in ("tune", "test"))
    assert tune & test == {p.id for p in WORLD.passages("base")}
    for split, corpus in (("tune", test), ("test", tune)):
        assert not any(set(one.example.gold) & corpus for one in contexts(retrieved(), split))


def test_gold_first_balanced_or_removed_at_equal_k():
    first, balanced = contexts(plan(k=4)), contexts(plan(k=4, order=GoldAtOrder(seed=1), questions=40))
    assert all(one.example.passages[0].id in one.example.gold for one in first)
    places = {[p.id in one.example.gold for p in one.example.passages].index(True) for one in balanced}
    assert places == {0, 1, 2, 3}
    removed = contexts(plan(k=4, gold="removed")), contexts(retrieved(k=4, gold="removed"))
    for made in removed:
        assert all(len(one.example.passages) == 4 for one in made) and gold_shown(made) == 0


@pytest.mark.parametrize("gold", ["kept", "removed"])
def test_substitutes_leave_gold_where_the_retriever_put_it_and_nothing_else(gold):
    settings = {"k": 6, "k_least": 2, "questions": 20, "gold": gold}
    as_found = contexts(retrieved(**settings))
    replaced = contexts(retrieved(**settings, substitutes={"random": 1.0}))
    kept = 0
    for one, other in zip(as_found, replaced, strict=True):
        assert len(one.example.passages) == len(other.example.passages)
        for before, after in zip(one.example.passages, other.example.passages, strict=True):
            is_gold = before.id in one.example.gold
            assert is_gold == (after.id in one.example.gold)
            kept += is_gold
            if not is_gold:  # no name and no kind of attribute in common with what is asked
                asked = set(one.example.question.split()) - {"what", "is", "the", "of", "?", "first", "last"}
                assert not asked & set(after.text.split())
    assert (kept > 10) if gold == "kept" else (kept == 0)
    with pytest.raises(ValueError, match="substitutes"):
        plan(substitutes={"random": 1.0})


def test_order_comes_after_dropping_and_drops_the_worst_rank():
    ranked = contexts(plan(k=6))[0].example
    words = {"tokens": lambda text: len(text.split())}
    room = len(prompt_of(ranked.question, ranked.passages[:4]).split())
    for order, wanted in ((ReversedOrder(), [3, 2, 1, 0]), (ReorderedOrder(), [0, 2, 3, 1])):
        made = contexts(plan(k=6, order=order, budget=room, overflow="drop", questions=1), **words)[0]
        assert [ranked.passages.index(p) for p in made.example.passages] == wanted
        assert (made.dropped, made.gold_dropped) == (2, False)


def test_a_cell_fails_that_would_measure_its_budget_and_counts_lost_gold():
    words = {"tokens": lambda text: len(text.split())}
    with pytest.raises(ValueError, match="measure the budget"):
        contexts(plan(k=6, budget=30), **words)
    with pytest.raises(ValueError, match=r"question .* alone exceeds"):
        contexts(plan(budget=3, overflow="drop"), **words)
    lost = contexts(plan(k=3, budget=10, overflow="drop"), **words)
    assert [(one.dropped, one.gold_dropped) for one in lost] == [(3, True)] * 8 and gold_shown(lost) == 0


def test_each_question_draws_the_same_k_under_every_kind_of_negatives():
    one = contexts(plan(k=9, k_least=2, questions=30))
    other = contexts(retrieved(k=9, k_least=2, questions=30))
    sizes = [len(each.example.passages) for each in one]
    assert sizes == [len(each.example.passages) for each in other]
    assert min(sizes) == 2 and max(sizes) == 9


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"negatives": None}, "exactly one"),
        ({"negatives": {"odd": 1.0}}, "shares of"),
        ({"k": -1}, "k must"),
        ({"k_least": 7}, "k_least"),
        ({"families": ("sums",)}, "families"),
        ({"questions": 0}, "questions"),
        ({"gold": "maybe"}, "gold must be"),
        ({"budget": 0}, "budget"),
    ],
)
def test_bad_plans_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        plan(**wrong)


def data(train=None, **changes):
    settings = {"name": "facts", "world": WORLD, "test": plan(), "batch_size": 4, "seed": 0}
    return FactRag(train=train or Lessons(count=20, k=3), **{**settings, **changes})


def test_lessons_are_about_their_own_passages_and_never_twice_the_same():
    items = list(data().items("train"))
    assert len(items) == 20 and {1 + len(item.turns) for item in items} == {1, 2, 3}
    for item in items:
        turns = [(item.prompt[item.prompt.index(QUESTION) :], item.response), *item.turns]
        assert all(
            question.split().count(QUESTION) == question.startswith(f"{QUESTION} ") == 1 for question, _ in turns
        )
        assert len({question for question, _ in turns}) == len(turns)
        assert all(answer in item.prompt.split() for _, answer in turns)
    assert [item.prompt for item in items] != [item.prompt for item in data(seed=1).items("train")]


def test_lessons_have_as_many_passages_as_they_are_told():
    def sizes(**changes):
        items = data(Lessons(count=12, **changes)).items("train")
        return [1 + len(item.turns) for item in items]

    assert sizes(k=3) == [1, 2, 3] * 4 and sizes(k=5, k_least=4) == [4, 5] * 6
    with pytest.raises(ValueError, match="k_least"):
        Lessons(count=1, k=2, k_least=3)
    with pytest.raises(ValueError, match="shares of"):
        Lessons(count=1, negatives={"random": 0.5})


def test_lessons_show_the_kinds_that_they_are_told():
    def shared(kind):
        """Passages besides the asked one that have its person or its attribute."""
        items = data(Lessons(count=30, k=4, k_least=4, questions=4, negatives={kind: 1.0})).items("train")
        asked = [[set(turn.split()) for turn in (one.prompt, *(each.prompt for each in one.turns))] for one in items]
        names = {name for person in range(24) for name in WORLD.name(person).split()}
        return sum(len(set.intersection(*turns) & names) > 0 for turns in asked)

    assert shared("same_entity") > 20 > 5 > shared("random")


def test_reasoning_quotes_the_gold_passage_or_says_that_there_is_none():
    made = data(plan(k=3), response="reasoning").items("train")[0]
    words = made.response.split()
    assert words[0] == RELEVANT and words[-2] == ANSWER and " ".join(words[1:-2]) in made.prompt
    none = data(plan(k=3, gold="removed"), response="reasoning").items("train")[0]
    assert none.response.split()[:3] == [RELEVANT, "nothing", ANSWER]
    with pytest.raises(ValueError, match="ContextPlan"):
        data(response="reasoning")


def test_questions_without_gold_are_kept_or_dropped_as_told():
    assert len(data(plan(gold="removed", absent="keep")).items("train")) == 8
    with pytest.raises(ValueError, match="absent=keep"):
        data(plan(gold="removed", absent="drop")).items("train")


def test_vocabulary_holds_every_prompt_and_response():
    made = data(plan(k=3, families=("lookup", "verify", "choice", "dialogue", "two_hop")), response="reasoning")
    for item in made.items("train"):
        made.vocabulary.encode(item.prompt)
        made.vocabulary.encode(item.response)


GOLD = Passage("e1.a2", "", "the first town of mo po is gu .")
SAME_PERSON = Passage("e1.a5", "", "the last song of mo po is ra .")
SAME_ATTRIBUTE = Passage("e7.a2", "", "the first town of li po is zi .")
OTHER = Passage("e9.a9", "", "the last dish of li da is fe .")
EXAMPLE = RagExample(
    "q", "what is the first town of mo po ?", ("gu",), ("e1.a2",), (OTHER, GOLD, SAME_PERSON, SAME_ATTRIBUTE)
)
VALUES = {"gu", "ra", "zi", "fe", "hu"}


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("ra", "error_same_entity"),
        ("zi", "error_same_attribute"),
        ("fe", "error_other_passage"),
        ("hu", "error_not_in_context"),
        ("the", "error_malformed"),
        ("", "error_malformed"),
    ],
)
def test_errors_are_told_by_where_the_wrong_answer_stands(said, error):
    assert error_of(said, EXAMPLE, VALUES) == error


def judge(response, example=EXAMPLE):
    return judged(
        response, SimpleNamespace(example=example, dropped=0, gold_dropped=False), VALUES, marks=("see", "so")
    )


def test_accuracy_is_the_sum_of_its_parts_and_errors_are_the_rest():
    import pandas as pd

    removed = EXAMPLE._replace(passages=(OTHER, SAME_PERSON))
    said = [("gu", EXAMPLE), ("ra", EXAMPLE), ("gu", removed), ("fe", removed), ("hu", removed)]
    frame = pd.DataFrame(
        [judge(response, example) | {"example_id": str(n)} for n, (response, example) in enumerate(said)]
    )
    found = scores_of(frame)
    assert found["gold_in_context"] == pytest.approx(40)
    assert found["right_given_gold"] == pytest.approx(50)
    assert found["right_given_no_gold"] == pytest.approx(100 / 3)
    assert found["exact_match"] == pytest.approx(0.4 * 50 + 0.6 * 100 / 3)
    assert sum(found[name] for name in ERRORS) == pytest.approx(100 - found["exact_match"])
    assert found["precision_at_k"] == pytest.approx(100 * (2 * 0.25 + 3 * 0) / 5)


def test_a_reasoned_response_is_scored_by_its_answer_alone():
    good = judge(f"see {GOLD.text} so gu")
    assert good["exact_match"] == 1 and good["quote_is_gold"] == 1
    assert judge(f"see {OTHER.text} so gu")["quote_is_gold"] == 0
    assert math.isnan(judge("gu")["quote_is_gold"])
    assert parsed("see the first town gu", ("see", "so")) == ("the first town gu", "gu")
    assert judge("see gu so ra")["exact_match"] == 0


def test_a_frame_has_a_row_for_every_question_that_was_asked():
    made = data()
    completions = [Completion(item.id, 0, item.response, 2, True, 0.0) for item in made.items("test")]
    frame = made.frame(completions)
    assert len(frame) == 8 and frame["exact_match"].eq(1).all() and frame["passages"].eq(5).all()
    assert frame["gold_in_context"].eq(1).all()
