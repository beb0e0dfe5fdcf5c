"""A language model that says which passages answer a question, and why: labels for fine-tuning with reasoning.

arXiv 2410.05983 takes these labels from Gemini 1.5; whether it saw the gold answer, its prompt and what was filtered
are unknown. Any endpoint that speaks OpenAI's chat completions will do here, a model of the hub behind ``transformers
serve`` or vLLM included. Off unless it has an address.

A label is written ``Relevant: [3], [17]. <why>`` and ends with ``Answer: <accepted answer>``, whatever the teacher
called the answer. Labels that cite a passage without support, or that contradict the gold answer, are no labels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from data.endpoints.chat import endpoint_at, filled
from data.files.sources import digest_of
from data.records.passages import RagExample
from data.scoring.answers import has_answer

ANSWER = "Answer:"
"""What stands before the answer of a reasoned response."""

CUT = "\n[cut at max_tokens]"
"""What stands behind a reply that was not finished."""

_RELEVANT = re.compile(r"relevant\s*:\s*(none|(?:\[?\d+\]?(?:\s|,|;|and)*)+)\.?", re.IGNORECASE)
_SHOWN = """The accepted answer is: {answer}

"""
_ASKED = """{prompt}

{shown}Say which of the numbered passages are needed to answer the question, and why, in at most three sentences.
Reply in this form and with nothing else:
Relevant: [number], [number]. <why these passages answer the question>
Answer: <the answer, in a few words>
If no passage helps, write "Relevant: none." and say so."""


class Reasoning(NamedTuple):
    """A reasoned response.

    Attributes:
        cited: numbers of the cited passages, from 1, in their order; ``None`` where no list could be read.
        why: what follows the list.
        answer: what follows the last ``Answer:``; ``None`` without it.
    """

    cited: tuple[int, ...] | None
    why: str
    answer: str | None


def read_reasoning(response: str) -> Reasoning:
    """The parts of a reasoned response; forgiving, since readers leave parts out."""
    before, marker, after = response.rpartition(ANSWER)
    reasoned = before if marker else response
    answer = next((line.strip() for line in after.splitlines() if line.strip()), "") if marker else None
    found = _RELEVANT.search(reasoned)
    if found is None:
        return Reasoning(None, " ".join(reasoned.split()), answer)
    cited = tuple(dict.fromkeys(map(int, re.findall(r"\d+", found[1]))))
    return Reasoning(cited, " ".join(reasoned[found.end() :].split()), answer)


class ChatTeacher:
    """Asks an endpoint for a label of every training question.

    Args:
        address: of the endpoint up to and without "/chat/completions", such as "http://localhost:8000/v1"; ``None``:
            there is no teacher.
        model: name of the teacher there.
        sees_answer: the teacher is told the accepted answer (unknown in the paper). Else it answers itself, and labels
            with another answer are rejected.
        max_tokens: most tokens of a reply.
        key_variable: environment variable with the key; the key itself belongs in no config. Unset: none is sent.
        attempts: before a question is given up.
        pause: seconds before the second attempt; it doubles.
        timeout: seconds that an answer may take.
    """

    def __init__(
        self,
        *,
        address: str | None,
        model: str,
        sees_answer: bool = True,
        max_tokens: int = 256,
        key_variable: str = "OPENAI_API_KEY",
        attempts: int = 5,
        pause: float = 2.0,
        timeout: float = 120.0,
    ) -> None:
        if max_tokens < 1:
            raise ValueError(f"data.teacher.max_tokens must be at least 1, got {max_tokens}")
        self.model, self.sees_answer, self.max_tokens = model, bool(sees_answer), int(max_tokens)
        self.endpoint = endpoint_at(
            "the teacher", address, key_variable=key_variable, attempts=attempts, pause=pause, timeout=timeout
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What its labels depend on: names them. Not the address, behind which the same model may move."""
        return {
            "model": self.model,
            "sees_answer": self.sees_answer,
            "max_tokens": self.max_tokens,
            "question": digest_of([_ASKED, _SHOWN]),
        }

    def reply(self, prompt: str, answer: str) -> str:
        """What the teacher says to a prompt with its passages; it ends with ``CUT`` where ``max_tokens`` ended it.

        Raises:
            ValueError: no address, an endpoint that refuses or is not there, or a reply without a text.
        """
        if self.endpoint is None:
            raise ValueError(
                "there is no teacher: give its address, such as data.teacher.address=http://localhost:8000/v1"
            )
        shown = filled(_SHOWN, answer=answer) if self.sees_answer else ""
        question = filled(_ASKED, shown=shown, prompt=prompt)
        said = self.endpoint.say(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": question}],
                "max_tokens": self.max_tokens,
                "temperature": 0.0,
            }
        )
        return said.text + CUT if said.cut else said.text

    def label(self, reply: str, example: RagExample) -> tuple[str, str]:
        """A reply as (label, "") or as ("", why it is rejected).

        Rejected are replies that were cut, that have no list of passages, that cite a number which no passage has, a
        passage that is not gold and holds no accepted answer, or none where gold is shown; and, from a teacher that
        does not see the answer, those that end with another one.
        """
        if reply.endswith(CUT):
            return "", "cut at max_tokens"
        cited, why, answer = read_reasoning(reply)
        if cited is None:
            return "", "no list of passages"
        if any(not 1 <= number <= len(example.passages) for number in cited):
            return "", "a number without a passage"
        passages = [example.passages[number - 1] for number in cited]
        if any(one.id not in example.gold and not has_answer(one.text, example.answers) for one in passages):
            return "", "a passage without support"
        if not cited and set(example.gold) & {one.id for one in example.passages}:
            return "", "gold not seen"
        if not self.sees_answer and not has_answer(answer or "", example.answers):
            return "", "another answer"
        listed = ", ".join(f"[{number}]" for number in cited) or "none"
        return f"Relevant: {listed}. {why}".rstrip() + f"\n{ANSWER} {example.answers[0]}", ""


def citation_scores(cited: Sequence[int] | None, example: RagExample) -> tuple[float, float]:
    """Precision and recall of the cited passages against the gold ones; NaN where there is nothing to divide by."""
    shown = {one.id for one in example.passages} & set(example.gold)
    numbers = [number for number in cited or () if 1 <= number <= len(example.passages)]
    found = {example.passages[number - 1].id for number in numbers} & shown
    return (len(found) / len(cited) if cited else float("nan")), (len(found) / len(shown) if shown else float("nan"))
