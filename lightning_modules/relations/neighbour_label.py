"""Baseline: the vote of the retrieved training sentences' labels; with one neighbour, its label is copied."""

from __future__ import annotations

from typing import Any

from data.records.relations import Prediction
from lightning_modules.base import Progress, count_words


class NeighbourLabel:
    """Answers the label with most votes among the neighbours in the prompt; with one neighbour, copies its label.

    Of labels with equally many votes the one whose neighbour is nearest wins. How many vote is ``prompt.k``.

    Args:
        weighted: a neighbour's vote counts as much as its score (and never less than nothing); else all count alike.
    """

    trains = False

    def __init__(self, *, weighted: bool = False) -> None:
        self.weighted = bool(weighted)

    def attach(self, data: Any) -> None:
        """Nothing is learnt."""
        data.count_tokens = count_words

    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[Prediction]:
        """See ``base.Method.predict``. A prompt without neighbours gets ""; ``ValueError`` if none has any."""
        prompts = data.prompts(split, limit)
        if prompts and not any(prompt.neighbours for prompt in prompts):
            raise ValueError(
                "no prompt has a neighbour to copy from: choose a retriever (retriever=sbert), a prompt that shows "
                "neighbours (prompt=labelled) and prompt.k of at least 1"
            )
        scores: dict[str, dict[str, float]] = {}
        if self.weighted:
            lists = zip(data.examples(split), data.neighbours(split), strict=True)
            scores = {example.id: {hit.id: hit.score for hit in hits} for example, hits in lists}
        predictions = []
        for prompt in prompts:
            votes: dict[str, float] = {}  # keeps the order of first appearance, so that max gives ties to the nearest
            for name in prompt.neighbours:
                weight = max(0.0, scores[prompt.example_id][name]) if self.weighted else 1.0
                label = data.lookup(name).label
                votes[label] = votes.get(label, 0.0) + weight
            answer = max(votes, key=lambda label: votes[label]) if votes else ""
            predictions.append(Prediction(prompt.example_id, prompt.target, answer, answer, prompt.neighbours))
        return predictions
