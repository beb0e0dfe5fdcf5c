"""The three evaluations of SemEval-2010 Task 8's official scorer (semeval2010_task8_scorer-v1.2.pl), as numbers.

``scoring_relations`` has the official score in the form that statistics need; this is everything else that the scorer
prints, to check ours against its output. An empty prediction is an example that it calls skipped.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from data.relations.formats import SEMEVAL_LABELS
from data.scoring.labels import INVALID, answers
from data.scoring.relations import COUNTS, class_table, relation_of


class Section(NamedTuple):
    """One of the three evaluations that the official scorer prints.

    Attributes:
        classes: as ``per_class``; rows are the classes that occur in gold, Other (where it occurs) last.
        micro: (precision, recall, F1), Other excluded.
        macro: the same, means over the classes without Other.
        coverage: share of the examples with an answer.
        accuracy: accuracy among the answered examples.
        accuracy_skipped_wrong: accuracy with unanswered examples counted as wrong.
        accuracy_skipped_other: accuracy with unanswered examples counted as answered by Other.
    """

    classes: pd.DataFrame
    micro: tuple[float, float, float]
    macro: tuple[float, float, float]
    coverage: float
    accuracy: float
    accuracy_skipped_wrong: float
    accuracy_skipped_other: float


def semeval_sections(frame: pd.DataFrame) -> dict[str, Section]:
    """The three evaluations: "directed" (18+1 classes), "undirected" (9+1), "official" (9+1 with direction).

    Fractions throughout. Predictions of a class that gold lacks leave the micro average, as in the scorer.
    """
    gold, prediction = answers(frame)
    gold_relation, predicted_relation = (
        np.array([relation_of(label) for label in column], dtype=object) for column in (gold, prediction)
    )
    labels = [label for label in SEMEVAL_LABELS if label in set(gold)]
    undirected = list(dict.fromkeys(relation_of(label) for label in labels))
    return {
        "directed": _section(labels, gold, prediction, gold == prediction),
        "undirected": _section(undirected, gold_relation, predicted_relation, gold_relation == predicted_relation),
        "official": _section(undirected, gold_relation, predicted_relation, gold == prediction),
    }


def _section(classes: list[str], gold: np.ndarray, prediction: np.ndarray, right: np.ndarray) -> Section:
    table = class_table(classes, gold, prediction, right)
    averaged = table[table.index != "Other"]
    hits, predicted, relevant = (int(averaged[name].sum()) for name in COUNTS)
    means = averaged[["precision", "recall", "f1"]].mean() if len(averaged) else (0.0, 0.0, 0.0)
    precision, recall, f1 = map(float, means)
    answered = int((prediction != INVALID).sum())
    as_other = int(right.sum() + ((prediction == INVALID) & (gold == "Other")).sum())
    return Section(
        classes=table,
        micro=(
            hits / predicted if predicted else 0.0,
            hits / relevant if relevant else 0.0,
            2 * hits / (predicted + relevant) if predicted + relevant else 0.0,
        ),
        macro=(precision, recall, f1),
        coverage=answered / len(gold),
        accuracy=int(right.sum()) / answered if answered else 0.0,
        accuracy_skipped_wrong=int(right.sum()) / len(gold),
        accuracy_skipped_other=as_other / len(gold),
    )
