"""Rows of published sets of demonstrations and of preferences, as records. One function per row format.

A reader gives a list, because one row may hold several pairs or none that is text; what cannot be used is left out.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from data.records.pairs import JudgedPair

Row = Mapping[str, Any]


def _instruction(row: Row) -> str:
    """Alpaca's two fields as one prompt."""
    return "\n".join(part for part in (str(row["instruction"]).strip(), str(row.get("input") or "").strip()) if part)


def _are_text(*values: Any) -> bool:
    return all(isinstance(value, str) and value.strip() for value in values)


def alpaca(row: Row) -> list[tuple[str, str]]:
    """Instruction, input, output."""
    return [(_instruction(row), row["output"])] if _are_text(row["output"]) else []


def messages(row: Row) -> list[tuple[str, str]]:
    """A conversation as a list of {role, content} (UltraChat): its first question and the answer to it."""
    talk = [one for one in row["messages"] if one["role"] != "system"]
    if len(talk) < 2 or [one["role"] for one in talk[:2]] != ["user", "assistant"]:
        return []
    return [(talk[0]["content"], talk[1]["content"])] if _are_text(talk[1]["content"]) else []


def llmbar(row: Row) -> list[JudgedPair]:
    """LLMBar (arXiv 2310.07641): the label names the output that follows the instruction."""
    return [JudgedPair(row["input"], row["output_1"], row["output_2"], int(row["label"]), row.get("subset", ""))]


def pandalm(row: Row) -> list[JudgedPair]:
    """PandaLM (arXiv 2306.05087): three annotators, 0 for a tie; what at least two of them say."""
    if not _are_text(row["response1"], row["response2"]):
        return []
    said, count = Counter(int(row[f"annotator{number}"]) for number in (1, 2, 3)).most_common(1)[0]
    preferred = said if count > 1 else 0
    return [JudgedPair(_instruction(row), row["response1"], row["response2"], preferred, str(row.get("cmp_key", "")))]


def qa_feedback(row: Row) -> list[JudgedPair]:
    """QA-Feedback (arXiv 2306.01693): four responses, a preference for each of their six pairs (0 for a tie).

    The order of the six is nowhere stated; in this one no three responses form a circle in any of the rows. The
    question alone is the prompt: its passages do not fit a small model.
    """
    pairs = list(itertools.combinations(row["responses"], 2))
    return [
        JudgedPair(row["question"], first, second, int(preferred))
        for (first, second), preferred in zip(pairs, row["preference"], strict=True)
    ]


def persona(row: Row) -> list[JudgedPair]:
    """Statements of a persona (arXiv 2212.09251): the answer that matches the behaviour, and the one that does not."""
    answers = row["matching"].strip(), row["not_matching"].strip()
    return [JudgedPair(row["question"], *answers, 1, row["behaviour"])]


def binarised(row: Row) -> list[JudgedPair]:
    """Prompt with a chosen and a rejected conversation (UltraFeedback, binarised): the last message of each."""
    chosen, rejected = row["chosen"][-1]["content"], row["rejected"][-1]["content"]
    return [JudgedPair(row["prompt"], chosen, rejected, 1)] if _are_text(chosen, rejected) else []


DEMONSTRATIONS: dict[str, Callable[[Row], list[tuple[str, str]]]] = {"alpaca": alpaca, "messages": messages}
"""Readers of (prompt, response)."""

PAIRS: dict[str, Callable[[Row], list[JudgedPair]]] = {
    "llmbar": llmbar,
    "pandalm": pandalm,
    "qa_feedback": qa_feedback,
    "persona": persona,
    "binarised": binarised,
}
"""Readers of pairs."""
