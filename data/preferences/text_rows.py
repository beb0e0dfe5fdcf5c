"""Rows of published sets of demonstrations and of preferences, as records. One function per row format.

A reader gives a list, because one row may hold several pairs or none: a response that is empty, null, or in PandaLM no
text, is left out, and whoever reads the set counts it. Anything else that is not as the format says is an error.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from data.files.rows import among, anything, columns, listed, maybe, nullable, record, text
from data.records.pairs import JudgedPair

_INSTRUCTION = {"instruction": text, "input": maybe(text)}
_TALK = record(role=text, content=maybe(text))
"""A message; releases have some without content."""


def _instruction(row: Mapping[str, Any]) -> str:
    """Alpaca's two fields as one prompt."""
    return "\n".join(part for part in (row["instruction"].strip(), (row["input"] or "").strip()) if part)


def _are_text(*values: Any) -> bool:
    return all(isinstance(value, str) and value.strip() for value in values)


@columns(**_INSTRUCTION, output=nullable(text))
def alpaca(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Instruction, input, output."""
    return [(_instruction(row), row["output"])] if _are_text(row["output"]) else []


@columns(messages=listed(_TALK))
def messages(row: dict[str, Any]) -> list[tuple[str, str]]:
    """A conversation as a list of {role, content} (UltraChat): its first question and the answer to it."""
    talk = [one for one in row["messages"] if one["role"] != "system"]
    if len(talk) < 2 or [one["role"] for one in talk[:2]] != ["user", "assistant"]:
        return []
    asked, said = talk[0]["content"], talk[1]["content"]
    return [(asked, said)] if _are_text(asked, said) else []


@columns(input=text, output_1=text, output_2=text, label=among(0, 1, 2), subset=maybe(text))
def llmbar(row: dict[str, Any]) -> list[JudgedPair]:
    """LLMBar (arXiv 2310.07641): the label names the output that follows the instruction."""
    return [JudgedPair(row["input"], row["output_1"], row["output_2"], row["label"], row["subset"] or "")]


@columns(
    **_INSTRUCTION,
    response1=nullable(anything),
    response2=nullable(anything),
    annotator1=among(0, 1, 2),
    annotator2=among(0, 1, 2),
    annotator3=among(0, 1, 2),
    cmp_key=maybe(text),
)
def pandalm(row: dict[str, Any]) -> list[JudgedPair]:
    """PandaLM (arXiv 2306.05087): three annotators, 0 for a tie; what at least two of them say.

    Its release has responses that are no text (true, null); they are left out.
    """
    if not _are_text(row["response1"], row["response2"]):
        return []
    said, count = Counter(row[f"annotator{number}"] for number in (1, 2, 3)).most_common(1)[0]
    preferred = said if count > 1 else 0
    return [JudgedPair(_instruction(row), row["response1"], row["response2"], preferred, row["cmp_key"] or "")]


@columns(question=text, responses=listed(text, exactly=4), preference=listed(among(0, 1, 2), exactly=6))
def qa_feedback(row: dict[str, Any]) -> list[JudgedPair]:
    """QA-Feedback (arXiv 2306.01693): four responses, a preference for each of their six pairs (0 for a tie).

    The order of the six is nowhere stated; in this one no three responses form a circle in any of the rows. The
    question alone is the prompt: its passages do not fit a small model.
    """
    pairs = list(itertools.combinations(row["responses"], 2))
    return [
        JudgedPair(row["question"], first, second, preferred)
        for (first, second), preferred in zip(pairs, row["preference"], strict=True)
    ]


@columns(question=text, matching=text, not_matching=text, behaviour=text)
def persona(row: dict[str, Any]) -> list[JudgedPair]:
    """Statements of a persona (arXiv 2212.09251): the answer that matches the behaviour, and the one that does not."""
    answers = row["matching"].strip(), row["not_matching"].strip()
    return [JudgedPair(row["question"], *answers, 1, row["behaviour"])]


@columns(prompt=text, chosen=listed(_TALK, least=1), rejected=listed(_TALK, least=1))
def binarised(row: dict[str, Any]) -> list[JudgedPair]:
    """Prompt with a chosen and a rejected conversation (UltraFeedback, binarised): the last message of each."""
    chosen, rejected = row["chosen"][-1]["content"], row["rejected"][-1]["content"]
    return [JudgedPair(row["prompt"], chosen, rejected, 1)] if _are_text(chosen, rejected) else []


DEMONSTRATIONS: dict[str, Callable[[Mapping[str, Any]], list[tuple[str, str]]]] = {
    "alpaca": alpaca,
    "messages": messages,
}
"""Readers of (prompt, response)."""

PAIRS: dict[str, Callable[[Mapping[str, Any]], list[JudgedPair]]] = {
    "llmbar": llmbar,
    "pandalm": pandalm,
    "qa_feedback": qa_feedback,
    "persona": persona,
    "binarised": binarised,
}
"""Readers of pairs."""
