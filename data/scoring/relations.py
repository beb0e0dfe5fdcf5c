"""Scores of relation extraction, as smooth functions of sums over examples. numpy and pandas only.

The official scorer of SemEval-2010 Task 8 (semeval2010_task8_scorer-v1.2.pl) is reproduced to its last printed digit.
What it does with an example without an answer ("skipped") is what every score here does with an invalid answer: it
stays in the denominators of recall and accuracy, and enters no denominator of precision. Averages run over the
relations that occur in the gold labels of the evaluated examples; on the real test all nine do.

Frames of examples have the columns ``gold`` and ``prediction``; a prediction "" is invalid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from data.relations.formats import SEMEVAL_LABELS, SEMEVAL_RELATIONS
from data.scoring.labels import ACCURACY, INVALID, answers, labelled
from data.scoring.score import Score, ratio
from data.scoring.slices import SLICES, on_slice, with_slices

if TYPE_CHECKING:
    import pandas as pd

INVALID_COLUMN = "(invalid)"


def relation_of(label: str) -> str:
    """Label without its direction: "Cause-Effect(e2,e1)" -> "Cause-Effect"."""
    return label.partition("(")[0]


def _semeval(frame: pd.DataFrame) -> bool:
    return labelled(frame) and set(frame["gold"]) <= set(SEMEVAL_LABELS)


def _tacred(frame: pd.DataFrame) -> bool:
    return labelled(frame) and "no_relation" in set(frame["gold"])


def _f1(sums: np.ndarray) -> np.ndarray:
    """F1 from (..., 3) true positives, predicted, gold: 2 PR/(P+R) = 2 tp / (predicted + gold)."""
    return ratio(2.0 * sums[..., 0], sums[..., 1] + sums[..., 2])


def _macro_f1() -> Score:
    """(9+1)-way macro-F1 with direction, Other excluded: the official score. D = 27: tp, predicted, gold per relation.

    A prediction with the right relation and the wrong direction counts in both denominators and in no numerator.
    """

    def contributions(frame: pd.DataFrame) -> np.ndarray:
        gold, prediction = answers(frame)
        _require_labels(gold, SEMEVAL_LABELS, "gold")
        _require_labels(prediction, (*SEMEVAL_LABELS, INVALID), "prediction")
        gold_relation = np.array([relation_of(label) for label in gold], dtype=object)
        predicted_relation = np.array([relation_of(label) for label in prediction], dtype=object)
        right = gold == prediction
        columns = []
        for relation in SEMEVAL_RELATIONS:
            columns += [right & (gold_relation == relation), predicted_relation == relation, gold_relation == relation]
        return np.stack(columns, axis=1).astype(np.float64)

    def value(sums: np.ndarray) -> np.ndarray:
        by_relation = sums.reshape(*sums.shape[:-1], len(SEMEVAL_RELATIONS), 3)
        present = by_relation[..., 2] > 0
        return ratio((_f1(by_relation) * present).sum(axis=-1), present.sum(axis=-1))

    def classes(contributions: np.ndarray) -> np.ndarray:
        return contributions[:, 2::3].sum(axis=0)

    return Score("macro_f1", contributions, value, applies=_semeval, classes=classes)


def _require_labels(found: np.ndarray, labels: Sequence[str], column: str) -> None:
    unknown = sorted(set(found) - set(labels))
    if unknown:
        raise ValueError(
            f"macro_f1 is SemEval's: {column} has {unknown[:3]}, which its 19 labels lack; use accuracy instead"
        )


def micro_f1(na_label: str, *, name: str = "micro_f1", invalid_is_a_guess: bool = False) -> Score:
    """Micro-F1 over everything but ``na_label``: SemEval's micro average with "Other", TACRED's official score.

    Any valid prediction other than ``na_label`` counts as predicted. D = 3: tp, predicted, gold.

    Args:
        na_label: the label that is no relation.
        name: of the score.
        invalid_is_a_guess: an invalid answer counts as predicted too, as in TACRED's official scorer, to which any
            string but "no_relation" is a guess.
    """

    def contributions(frame: pd.DataFrame) -> np.ndarray:
        gold, prediction = answers(frame)
        relevant = gold != na_label
        predicted = prediction != na_label
        if not invalid_is_a_guess:
            predicted &= prediction != INVALID
        return np.stack([relevant & (gold == prediction), predicted, relevant], axis=1).astype(np.float64)

    return Score(name, contributions, _f1)


def single_class_f1(label: str, *, name: str | None = None) -> Score:
    """F1 of one label alone: with "no_relation" what the RAG4RE release prints as micro-F1 of the TACRED family."""

    def contributions(frame: pd.DataFrame) -> np.ndarray:
        gold, prediction = answers(frame)
        columns = [(gold == label) & (prediction == label), prediction == label, gold == label]
        return np.stack(columns, axis=1).astype(np.float64)

    return Score(name or f"f1:{label}", contributions, _f1)


_MICRO_F1 = micro_f1("Other")._replace(applies=_semeval)
_TACRED_MICRO_F1 = micro_f1("no_relation", name="tacred_micro_f1", invalid_is_a_guess=True)._replace(applies=_tacred)

SCORES: tuple[Score, ...] = (
    _macro_f1(),
    _MICRO_F1,
    single_class_f1("Other", name="other_f1")._replace(applies=_semeval),
    _TACRED_MICRO_F1,
    single_class_f1("no_relation", name="no_relation_f1")._replace(applies=_tacred),
    *(on_slice(score, name) for score in (ACCURACY, _MICRO_F1, _TACRED_MICRO_F1) for name in SLICES),
)
"""Scores of relation extraction beside those of any labels."""

completed = with_slices
"""See ``scoring.completed``."""


def tables(frame: pd.DataFrame, data: Any) -> dict[str, pd.DataFrame]:
    """See ``scoring.summarise``: precision, recall and F1 of every class of the inventory, where there is one."""
    labels = list(getattr(data, "labels", ()))
    return {"per_class": per_class(frame, labels).reset_index()} if labels and labelled(frame) else {}


def per_class(frame: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Precision, recall and F1 (fractions) and their counts, one row per label in the order of ``labels``.

    Columns: precision, recall, f1, true_positives, predicted, gold. Direction counts: each of the labels is a class.
    """
    gold, prediction = answers(frame)
    return class_table(labels, gold, prediction, gold == prediction)


COUNTS = ["true_positives", "predicted", "gold"]


def class_table(classes: Sequence[str], gold: np.ndarray, prediction: np.ndarray, right: np.ndarray) -> pd.DataFrame:
    """As ``per_class``, for classes and a notion of right that need not be equality of labels.

    Args:
        classes: rows, in order.
        gold: (N,) gold classes.
        prediction: (N,) predicted classes, "" for none.
        right: (N,) bool; which predictions are true positives of their class.
    """
    import pandas as pd  # here, since plans look up names of scores and must answer at once

    counts = np.array(
        [[(right & (gold == name)).sum(), (prediction == name).sum(), (gold == name).sum()] for name in classes],
        dtype=np.int64,
    ).reshape(len(classes), len(COUNTS))
    hits, predicted, relevant = counts.T.astype(np.float64)
    columns = {
        "precision": ratio(hits, predicted),
        "recall": ratio(hits, relevant),
        "f1": ratio(2.0 * hits, predicted + relevant),
        **dict(zip(COUNTS, counts.T, strict=True)),
    }
    return pd.DataFrame(columns, index=pd.Index(classes, name="label"))


def confusion(frame: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Counts with gold labels as rows and predictions as columns; the last column holds the invalid answers.

    Raises:
        ValueError: a gold label or a prediction that is not in ``labels``.
    """
    import pandas as pd

    gold, prediction = answers(frame)
    strangers = sorted((set(gold) | set(prediction)) - set(labels) - {INVALID})
    if strangers or INVALID in set(gold):
        raise ValueError(f"confusion: {strangers[:3] or 'an empty gold label'} is not in the {len(labels)} labels")
    columns = [*labels, INVALID_COLUMN]
    column = {label: index for index, label in enumerate([*labels, INVALID])}
    table = np.zeros((len(labels), len(columns)), dtype=np.int64)
    np.add.at(table, ([column[label] for label in gold], [column[label] for label in prediction]), 1)
    return pd.DataFrame(table, index=pd.Index(labels, name="gold"), columns=columns)
