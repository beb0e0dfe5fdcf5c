"""Scores of reading with passages: right or not, and why not.

accuracy = P(gold in context) P(right | gold) + P(no gold) P(right | no gold): ``exact_match``, ``gold_in_context``,
``right_given_gold`` and ``right_given_no_gold`` are the parts. Errors are told by where the wrong answer stands.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from data.records.passages import Passage, RagExample
from data.scoring.answers import measure
from data.scoring.score import Score, mean_of

if TYPE_CHECKING:
    from data.rag.showing import Context

ERRORS = ("error_same_entity", "error_same_attribute", "error_other_passage", "error_not_in_context", "error_malformed")
"""Kinds of wrong answers; they exclude each other and add up to 1 - exact_match.

A wrong value that stands in a passage about the asked person counts as ``error_same_entity``, else in one about the
asked attribute as ``error_same_attribute``, else in any passage as ``error_other_passage``, else as
``error_not_in_context``. What is no answer of the world's is ``error_malformed``.
"""

SCORES: tuple[Score, ...] = (
    mean_of("gold_in_context"),
    mean_of("precision_at_k"),
    mean_of("right_given_gold"),
    mean_of("right_given_no_gold"),
    *(mean_of(name, higher_is_better=False) for name in ERRORS),
    mean_of("quote_is_gold"),
    mean_of("citation_precision"),
    mean_of("citation_recall"),
    mean_of("passages", percent=False),
    mean_of("dropped_passages", percent=False, higher_is_better=False),
    mean_of("gold_dropped", higher_is_better=False),
)
"""Columns of ``FactRag.frame`` and ``QuestionRag.frame``; exact match and token F1 are of ``scoring_columns``."""


def judged(response: str, context: Context, values: Collection[str], *, marks: tuple[str, str]) -> dict[str, Any]:
    """One row of an examples frame.

    Args:
        response: what the reader wrote.
        context: the question with the passages that it was shown.
        values: all possible answers besides yes and no.
        marks: words before the quoted passages and before the answer of a reasoned response.
    """
    example = context.example
    quoted, said = parsed(response, marks)
    scores = measure(said, example.answers)
    right = scores["exact_match"]
    shown = {passage.id for passage in example.passages}
    gold_shown = bool(example.gold) and set(example.gold) <= shown
    row: dict[str, Any] = {"example_id": example.id, "answer": example.answers[0], "response": response, **scores}
    row["gold_in_context"] = float(gold_shown)
    row["precision_at_k"] = len(shown & set(example.gold)) / len(shown) if shown else math.nan
    row["right_given_gold"] = right if gold_shown else math.nan
    row["right_given_no_gold"] = math.nan if gold_shown else right
    error = "" if right else error_of(said, example, values)
    row.update({name: float(name == error) for name in ERRORS})
    texts = [passage.text for passage in example.passages if passage.id in example.gold]
    row["quote_is_gold"] = math.nan if quoted is None or not gold_shown else float(quoted == " ".join(texts))
    row["passages"] = len(shown)
    row["dropped_passages"], row["gold_dropped"] = context.dropped, float(context.gold_dropped)
    return row


def parsed(response: str, marks: tuple[str, str]) -> tuple[str | None, str]:
    """The quoted passages (None where nothing is quoted) and the answer, from "relevant ... answer ...".

    Without the second mark the last word is taken for the answer, so that a forgotten mark costs no right answer.
    """
    words = response.split()
    if not words or words[0] != marks[0]:
        return None, response
    if marks[1] in words:
        place = len(words) - 1 - words[::-1].index(marks[1])
        return " ".join(words[1:place]), " ".join(words[place + 1 :])
    return " ".join(words[1:]), words[-1]


def error_of(said: str, example: RagExample, values: Collection[str]) -> str:
    """One of ``ERRORS`` for a wrong answer."""
    if said not in values and said not in ("yes", "no"):
        return "error_malformed"
    holders = [passage for passage in example.passages if said in passage.text.split()]
    if not holders:
        return "error_not_in_context"
    person, attribute = _fact(example.gold[-1])
    facts = [_fact(passage.id) for passage in _without_gold(holders, example.gold)]
    if any(fact[0] == person for fact in facts):
        return "error_same_entity"
    return "error_same_attribute" if any(fact[1] == attribute for fact in facts) else "error_other_passage"


def _without_gold(passages: Sequence[Passage], gold: Collection[str]) -> list[Passage]:
    return [passage for passage in passages if passage.id not in gold]


def _fact(passage_id: str) -> tuple[str, str]:
    """Person and attribute of a passage id such as e12.a3."""
    person, _, attribute = passage_id.partition("@")[0].partition(".")
    return person, attribute
