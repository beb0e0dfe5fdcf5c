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
        k: most passages; 0 shows none.
        k_least: each question draws its own k between this and ``k``; ``None``: all have ``k``.
        gold: "kept" as ranked, or "removed": there are still k passages.
        budget: tokens of a prompt, the question included; ``None``: no limit but the network's own.
        overflow: what to do with a ranking that exceeds the budget: "drop" whole passages from its end, or "fail", so
            that no sweep over k measures the budget instead.
        seed: draws each question's k.
    """

    def __init__(
        self,
        *,
        order: Order,
        k: int,
        k_least: int | None = None,
        gold: Literal["kept", "removed"] = "kept",
        budget: int | None = None,
        overflow: Literal["fail", "drop"] = "fail",
        seed: int = 0,
    ) -> None:
        if k < 0 or (k_least is not None and not 0 <= k_least <= k):
            raise ValueError(f"k must be at least 0 and k_least lie in 0..k, got {k} and {k_least}")
        if budget is not None and budget < 1:
            raise ValueError(f"budget must be at least 1 token or null, got {budget}")
        for name, given, offered in (("gold", gold, ("kept", "removed")), ("overflow", overflow, ("fail", "drop"))):
            if given not in offered:
                raise ValueError(f"{name} must be {' or '.join(offered)}, got {given!r}")
        self.order, self.k, self.k_least = order, int(k), k_least
        self.gold, self.budget, self.overflow, self.seed = gold, budget, overflow, int(seed)

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
            tokens: of a text; wanted with a budget.

        Raises:
            ValueError: a budget without ``tokens``, one that the question alone exceeds, or one that is exceeded with
                ``overflow`` "fail".
        """
        if self.budget is not None and tokens is None:
            raise ValueError("a budget of tokens needs a reader that counts them: attach the method first")
        if self.gold == "removed":
            ranked = [passage for passage in ranked if passage.id not in example.gold]
        k = self.k
        if self.k_least is not None:
            k = generator(self.seed, "rag", "k", example.id).randint(self.k_least, self.k)
        chosen = list(ranked[:k])
        kept = len(chosen) if self.budget is None or tokens is None else self._fitting(example, chosen, render, tokens)
        lost = [passage.id for passage in chosen[kept:]]
        if lost and self.overflow == "fail":
            raise ValueError(
                f"{len(lost)} of {len(chosen)} passages of {example.id} exceed the budget of {self.budget} tokens: the "
                "cell would measure the budget, not k; raise budget, lower k, or allow overflow=drop"
            )
        shown = self.order.arrange(chosen[:kept], example_id=example.id, gold=example.gold)
        return Context(example._replace(passages=tuple(shown)), len(lost), any(one in example.gold for one in lost))

    def _fitting(
        self, example: RagExample, chosen: Sequence[Passage], render: Render, tokens: Callable[[str], int]
    ) -> int:
        """How many of the first passages fit with the question."""
        assert self.budget is not None
        if tokens(render(example.question, ())) > self.budget:
            raise ValueError(
                f"the question {example.id} alone exceeds the budget of {self.budget} tokens: raise budget, no "
                "question is ever cut"
            )
        for count in range(len(chosen), 0, -1):
            if tokens(render(example.question, chosen[:count])) <= self.budget:
                return count
        return 0
