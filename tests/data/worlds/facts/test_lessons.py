"""Lessons of reading: every question is about a passage that is there, and the answer stands in it."""

import pytest

from data.worlds.facts.lessons import lesson
from data.worlds.facts.world import FactWorld

WORLD = FactWorld(seed=3, entities=24, first_names=8, surnames=6)


def test_questions_are_about_different_passages_of_the_context():
    for index in range(30):
        told = lesson(WORLD, index, k=6, questions=4, negatives={"random": 0.4, "same_entity": 0.6})
        assert len(told.passages) == 6 and len(told.turns) == 4
        holders = []
        for question, answer in told.turns:
            # Names and attribute of the question, and the answer, meet in exactly one passage.
            words = set(question.split()) & {*WORLD.first_names, *WORLD.surnames, "first", "last"} | {answer}
            heads = set(question.split()) & {name.split()[1] for name in WORLD.attributes}
            found = [p.id for p in told.passages if words | heads <= set(p.text.split())]
            assert len(found) == 1
            holders += found
        assert len(set(holders)) == 4


def test_values_are_told_anew_in_every_lesson():
    answers: dict[str, set[str]] = {}
    for index in range(300):
        for question, answer in lesson(WORLD, index, k=3, questions=3).turns:
            answers.setdefault(question, set()).add(answer)
    asked_often = [found for found in answers.values() if len(found) > 1]
    assert len(asked_often) > 20


def test_the_same_lesson_twice_and_fewer_questions_than_passages():
    assert lesson(WORLD, 5, k=2, questions=8) == lesson(WORLD, 5, k=2, questions=8)
    assert len(lesson(WORLD, 5, k=2, questions=8).turns) == 2


def test_ask_refuses_families_that_one_passage_does_not_decide():
    passage = next(WORLD.passages("test"))
    assert WORLD.ask(passage, "lookup")[1] in passage.text.split()
    with pytest.raises(ValueError, match="lookup, slot or dialogue"):
        WORLD.ask(passage, "verify")
    relation = next(one for one in WORLD.passages("test") if one.id.endswith(f".a{len(WORLD.attributes)}"))
    with pytest.raises(ValueError, match="about an attribute"):
        WORLD.ask(relation, "lookup")
