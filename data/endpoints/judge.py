"""A language model as judge, behind any endpoint that speaks OpenAI's chat completions. Off unless it has an address.

The question is ours, not AlpacaEval's template: the judge sees the instruction and two answers called m and M and is to
say one letter. Which answer is m follows from the texts. Where the endpoint returns log-probabilities of the letter,
the preference is their share, as in AlpacaEval 2; else it is all or nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from data.endpoints.chat import endpoint_at, filled
from data.files.sources import digest_of

_QUESTION = """Two assistants answered the same instruction. Decide which answer you would rather have received.
Judge what it says and whether it does what was asked; length alone is no merit.

Instruction:
{instruction}

Answer m:
{first}

Answer M:
{second}

Reply with one letter and nothing else: m or M."""


class ChatJudge:
    """Asks an endpoint which of two answers is better.

    Args:
        address: of the endpoint up to and without "/chat/completions", such as "http://localhost:8000/v1"; ``None``:
            there is no judge.
        model: name of the judge there.
        key_variable: environment variable with the key; the key itself belongs in no config. Unset: none is sent.
        both_orders: ask twice with the answers changed over, and take the mean.
        attempts: before a question is given up.
        pause: seconds before the second attempt; it doubles.
        timeout: seconds that an answer may take.
    """

    def __init__(
        self,
        *,
        address: str | None,
        model: str,
        key_variable: str = "OPENAI_API_KEY",
        both_orders: bool = False,
        attempts: int = 5,
        pause: float = 2.0,
        timeout: float = 60.0,
    ) -> None:
        self.model, self.both_orders = model, bool(both_orders)
        self.endpoint = endpoint_at(
            "the judge", address, key_variable=key_variable, attempts=attempts, pause=pause, timeout=timeout
        )

    @property
    def identity(self) -> dict[str, Any]:
        """What its judgements depend on: names them. Not the address, behind which the same model may move."""
        return {"model": self.model, "both_orders": self.both_orders, "question": digest_of([_QUESTION])}

    def preference(self, instruction: str, answer: str, other: str) -> float:
        """Share from 0 to 1 in which ``answer`` is preferred.

        Raises:
            ValueError: no address, an endpoint that refuses or is not there, or a reply that is no letter.
        """
        if self.endpoint is None:
            raise ValueError("there is no judge: give its address, such as data.judge.address=http://localhost:8000/v1")
        orders = [True, False] if self.both_orders else [_answer_first(instruction, answer, other)]
        found = []
        for answer_first in orders:
            first, second = (answer, other) if answer_first else (other, answer)
            share = self._share_of_first(instruction, first, second)
            found.append(share if answer_first else 1 - share)
        return sum(found) / len(found)

    def _share_of_first(self, instruction: str, first: str, second: str) -> float:
        question = filled(_QUESTION, second=second, first=first, instruction=instruction)
        assert self.endpoint is not None
        said = self.endpoint.say(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": question}],
                "max_tokens": 1,
                "temperature": 0.0,
                "logprobs": True,
                "top_logprobs": 5,
            }
        )
        shares = {"m": 0.0, "M": 0.0}
        for token, logprob in _likeliest(said.choice):
            if (letter := token.strip()) in shares:
                shares[letter] += math.exp(logprob)
        if sum(shares.values()) > 0:
            return shares["m"] / sum(shares.values())
        if (letter := said.text.strip()) not in shares:
            raise ValueError(f"the judge was asked for m or M and said {letter[:60]!r}: take a model that obeys")
        return float(letter == "m")


def _likeliest(choice: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The likeliest first tokens and their log-probabilities; [] where the endpoint does not tell."""
    try:
        told = choice["logprobs"]["content"][0]["top_logprobs"]
        return [(str(one["token"]), float(one["logprob"])) for one in told]
    except (KeyError, IndexError, TypeError, ValueError):
        return []


def _answer_first(instruction: str, answer: str, other: str) -> bool:
    """Which answer comes first, by the texts alone: no order is favoured, and asking again asks the same."""
    texts = "\x1f".join((instruction, *sorted((answer, other))))
    return (hashlib.sha256(texts.encode()).digest()[0] % 2 == 0) == (answer <= other)
