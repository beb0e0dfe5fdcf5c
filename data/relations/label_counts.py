"""A test set of which only the gold labels' counts are known: enough to score a predictor that reads nothing.

TACRED's text is licensed, its label counts are not: a constant predictor scores on the counts exactly what it scores on
the corpus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from data.files.stages import Stages
from data.records.relations import Prediction, Prompt, RelationExample
from data.relations.formats import subset
from data.relations.relation_data import RelationData
from data.retrieval.base import Progress


class GoldCounts:
    """One example without text per counted label. Methods that read their prompts get nothing from it.

    Args:
        name: what the set is called in messages.
        counts: test examples by label.
        none_label: the label that means "none of these relations".
        source: where the counts are from.
        seed: decides nothing; every data object takes one.
    """

    scored_by: tuple[str, ...] = ("data.scoring.relations", "data.scoring.labels")

    def __init__(self, *, name: str, counts: Mapping[str, int], none_label: str, source: str, seed: int) -> None:
        small = {label: count for label, count in counts.items() if count < 1}
        if small or len(counts) < 2:
            raise ValueError(f"data.counts must give at least two labels at least 1 example each, got {dict(counts)}")
        if none_label not in counts:
            raise ValueError(f"data.none_label {none_label!r} must be in data.counts, which has {sorted(counts)}")
        self.name = name
        self.labels: tuple[str, ...] = tuple(counts)
        self.none_label = none_label
        self.source = source
        self.seed = seed
        self.counts = dict(counts)

    def prepare(self, stages: Stages, progress: Progress | None = None) -> None:
        """Nothing is built."""

    def examples(self, split: str) -> list[RelationExample]:
        """The counted examples, whatever the split; their text is empty."""
        return [
            RelationExample(f"{label}-{index}", "", "", "", label)
            for label, count in self.counts.items()
            for index in range(count)
        ]

    def prompts(self, split: str, limit: int | None = None) -> list[Prompt]:
        """Empty prompts; with ``limit`` a fixed choice of so many."""
        return [Prompt(one.id, "", one.label, ()) for one in subset(self.examples(split), limit)]

    @staticmethod
    def frame(predictions: Sequence[Prediction]) -> pd.DataFrame:
        """As ``RelationData.frame``."""
        return RelationData.frame(predictions)
