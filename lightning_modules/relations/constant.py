"""Baseline: the same label for every example. What a score is worth shows against it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from data.records.relations import Prediction
from lightning_modules.base import Progress, count_words


class Constant:
    """Answers the most frequent training label, or a given one.

    Args:
        answer: the label to answer; ``None``: the most frequent of the training examples, the first in the inventory of
            those that are equally frequent.
    """

    trains = False

    def __init__(self, *, answer: str | None = None) -> None:
        self._answer = answer

    def attach(self, data: Any) -> None:
        """Choose the label. ``ValueError`` for a given one that is not in the inventory."""
        if self._answer is not None and self._answer not in data.labels:
            raise ValueError(f"method.answer is {self._answer!r}, which is none of the labels {', '.join(data.labels)}")
        data.count_tokens = count_words
        counts = Counter(example.label for example in data.examples("train"))
        self._label = self._answer or max(data.labels, key=lambda label: counts[label])

    def predict(self, data: Any, *, split: str, limit: int | None, progress: Progress | None) -> list[Prediction]:
        """See ``base.Method.predict``."""
        return [
            Prediction(prompt.example_id, prompt.target, self._label, self._label, ())
            for prompt in data.prompts(split, limit)
        ]
