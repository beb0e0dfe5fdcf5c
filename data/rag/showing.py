"""What a reader is shown of a ranking: gold removed if asked to, cut to k, whole passages dropped by budget, arranged.

In this order, whatever the question is about: dropping takes the end of the ranking, and the arrangement sees what is
really shown. No text is ever cut, least of all the question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from data.loading.seeding import generator
from data.rag.order import Order
from data.records.passages import Passage, RagExample

Render = Callable[[str, Sequence[Passage]], str]
"""(question, passages in the order of the prompt) -> prompt."""


class Context(NamedTuple):
    """A question with the passages that it is shown with.

    Attributes:
        example: the question; ``passages`` in the order of the prompt.
        dropped: passages of the ranking's first k that the budget left out.
        gold_dropped: whether one of them was gold.
    """

    example: RagExample
    dropped: int
    gold_dropped: bool


class Showing:
    """How much of a ranking is shown, and in which order.

    Args:
        order: arranges what is shown.
        k: most passages; 0 shows none; ``None``: as many as fit in ``context_length``, and ``usual_k`` without one.
        k_least: each question draws its own k between this and ``k`` (or what fits); ``None``: all have ``k``.
        gold: "kept" as ranked, or "removed": there are still k passages.
        usual_k: k where neither ``k`` nor ``context_length`` is given.
        context_length: tokens of a prompt and its answer, the question included; ``None``: no limit but the network's
            own.
        answer_tokens: of them, left for the answer.
        overflow: what to do with a ranking of ``k`` passages that exceeds it: "drop" whole passages from its end, or
            "fail", so that no sweep over k measures ``context_length`` instead.
        seed: draws each question's k.
    """

    def __init__(
        self,
        *,
        order: Order,
        k: int | None = None,
        usual_k: int = 10,
        k_least: int | None = None,
        gold: Literal["kept", "removed"] = "kept",
        context_length: int | None = None,
        answer_tokens: int = 0,
        overflow: Literal["fail", "drop"] = "fail",
        seed: int = 0,
    ) -> None:
        self.derived = k is None and context_length is not None
        most = usual_k if k is None else k
        if most < 0 or (k_least is not None and (k_least < 0 or (k_least > most and not self.derived))):
            raise ValueError(f"k must be at least 0 and k_least lie in 0..k, got {most} and {k_least}")
        if context_length is not None and not 0 <= answer_tokens < context_length:
            raise ValueError(
                f"context_length must exceed the {answer_tokens} tokens of the answer or be null, got {context_length}"
            )
        for name, given, offered in (("gold", gold, ("kept", "removed")), ("overflow", overflow, ("fail", "drop"))):
            if given not in offered:
                raise ValueError(f"{name} must be {' or '.join(offered)}, got {given!r}")
        self.order, self.k, self.k_least = order, None if self.derived else int(most), k_least
        self.gold, self.overflow, self.seed = gold, overflow, int(seed)
        self.context_length, self.answer_tokens = context_length, int(answer_tokens)

    def most(self, depth: int) -> int:
        """Most passages of a ranking of ``depth`` that can be shown."""
        return depth if self.k is None else self.k

    def show(
        self,
        example: RagExample,
        ranked: Sequence[Passage],
        render: Render,
        tokens: Callable[[str], int] | None = None,
    ) -> Context:
        """The question with what it is shown with.

        Args:
            example: the question.
            ranked: passages, best first.
            render: makes the prompt.
            tokens: of a text; wanted with a context_length.

        Raises:
            ValueError: a context_length without ``tokens``, one that question and answer alone exceed, or one that
                ``k`` passages exceed with ``overflow`` "fail".
        """
        if self.context_length is not None and tokens is None:
            raise ValueError("a context_length in tokens needs a reader that counts them: attach the method first")
        if self.gold == "removed":
            ranked = [passage for passage in ranked if passage.id not in example.gold]
        if self.k is None:
            ranked = ranked[: self._fitting(example, ranked, render, tokens)]
        k = len(ranked) if self.k is None else self.k
        if self.k_least is not None and self.k_least < k:
            k = generator(self.seed, "rag", "k", example.id).randint(self.k_least, k)
        chosen = list(ranked[:k])
        kept = len(chosen) if self.k is None else self._fitting(example, chosen, render, tokens)
        lost = [passage.id for passage in chosen[kept:]]
        if lost and self.overflow == "fail":
            raise ValueError(
                f"k={k} passages of {example.id} do not fit in context_length={self.context_length} with "
                f"{self.answer_tokens} tokens for the answer, {kept} do: lower k, raise context_length, take k=null "
                "for as many as fit, or overflow=drop"
            )
        shown = self.order.arrange(chosen[:kept], example_id=example.id, gold=example.gold)
        return Context(example._replace(passages=tuple(shown)), len(lost), any(one in example.gold for one in lost))

    def _fitting(
        self,
        example: RagExample,
        chosen: Sequence[Passage],
        render: Render,
        tokens: Callable[[str], int] | None,
    ) -> int:
        """How many of the first passages fit beside question and answer: all of them without a context_length."""
        if self.context_length is None or tokens is None:
            return len(chosen)
        room = self.context_length - self.answer_tokens

        def fits(count: int) -> bool:
            return tokens(render(example.question, chosen[:count])) <= room

        if not fits(0):
            raise ValueError(
                f"the question {example.id} alone exceeds context_length={self.context_length} with "
                f"{self.answer_tokens} tokens for the answer: raise context_length, no question is ever cut"
            )
        if fits(len(chosen)):
            return len(chosen)
        low, high = 0, len(chosen)  # low fits, high does not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low
