"""Scores of relation extraction, as smooth functions of sums over examples. numpy and pandas only.

The official scorer of SemEval-2010 Task 8 (semeval2010_task8_scorer-v1.2.pl) is reproduced to its last printed digit.
What it does with an example without an answer ("skipped") is what every score here does with an invalid answer: it
stays in the denominators of recall and accuracy, and enters no denominator of precision. Averages run over the
relations that occur in the gold labels of the evaluated examples; on the real test all nine do.

Frames of examples have the columns ``gold`` and ``prediction``; a prediction "" is invalid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from data.column_scores import COLUMN_SCORES, Score, ratio, share_of_sums
from data.relations import SEMEVAL_LABELS, SEMEVAL_RELATIONS
from data.scoring_policies import POLICY_SCORES
from data.scoring_probes import PROBE_SCORES
from data.scoring_rag import RAG_SCORES
from data.scoring_skills import SKILL_SCORES
from data.scoring_tabular import TABULAR_SCORES
from data.scoring_values import VALUE_SCORES
from data.slices import SLICES, on_slice

INVALID = ""
INVALID_COLUMN = "(invalid)"


def relation_of(label: str) -> str:
    """Label without its direction: "Cause-Effect(e2,e1)" -> "Cause-Effect"."""
    return label.partition("(")[0]


def _labelled(frame: pd.DataFrame) -> bool:
    return {"gold", "prediction"} <= set(frame.columns)


def _semeval(frame: pd.DataFrame) -> bool:
    return _labelled(frame) and set(frame["gold"]) <= set(SEMEVAL_LABELS)


def _tacred(frame: pd.DataFrame) -> bool:
    return _labelled(frame) and "no_relation" in set(frame["gold"])


def answers(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Gold labels and predictions, (N,) each; ``ValueError`` where a frame lacks them."""
    missing = [name for name in ("gold", "prediction") if name not in frame.columns]
    if missing:
        raise ValueError(f"a frame of examples needs the columns gold and prediction, {missing} are missing")
    return frame["gold"].to_numpy(dtype=object), frame["prediction"].to_numpy(dtype=object)


def _share(name: str, hit: Callable[[np.ndarray, np.ndarray], np.ndarray], *, higher_is_better: bool = True) -> Score:
    """Share of the examples for which ``hit(gold, prediction)`` holds; D = 2: hits, examples."""

    def contributions(frame: pd.DataFrame) -> np.ndarray:
        hits = hit(*answers(frame)).astype(np.float64)
        return np.stack([hits, np.ones_like(hits)], axis=1)

    return Score(name, contributions, share_of_sums, True, higher_is_better, _labelled)


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


_ACCURACY = _share("accuracy", lambda gold, prediction: gold == prediction)
_MICRO_F1 = micro_f1("Other")._replace(applies=_semeval)
_TACRED_MICRO_F1 = micro_f1("no_relation", name="tacred_micro_f1", invalid_is_a_guess=True)._replace(applies=_tacred)

SCORES: dict[str, Score] = {
    score.name: score
    for score in (
        _macro_f1(),
        _ACCURACY,
        _share("invalid_rate", lambda gold, prediction: prediction == INVALID, higher_is_better=False),
        _MICRO_F1,
        single_class_f1("Other", name="other_f1")._replace(applies=_semeval),
        _TACRED_MICRO_F1,
        single_class_f1("no_relation", name="no_relation_f1")._replace(applies=_tacred),
        *COLUMN_SCORES,
        *(on_slice(score, name) for score in (_ACCURACY, _MICRO_F1, _TACRED_MICRO_F1) for name in SLICES),
        *TABULAR_SCORES,
        *RAG_SCORES,
        *POLICY_SCORES,
        *PROBE_SCORES,
        *SKILL_SCORES,
        *VALUE_SCORES,
    )
}
"""Scores by name."""


def scores_of(frame: pd.DataFrame) -> dict[str, float]:
    """Every score that applies to a frame of examples, in table units (percent for a score that says so)."""
    return {
        name: (100.0 if score.percent else 1.0) * score.of(frame)
        for name, score in SCORES.items()
        if score.applies(frame)
    }


def summarise(frame: pd.DataFrame, data: Any) -> dict[str, Any]:
    """What a finished run reports of its examples.

    Args:
        frame: one row per example.
        data: the data object; one with an inventory (``labels``) gets a table per class.

    Returns:
        ``scores``: as ``scores_of``; ``tables``: frames by name; ``labels``: the inventory for a confusion matrix, or
        None.
    """
    labels = list(getattr(data, "labels", ()))
    tables = {"per_class": per_class(frame, labels).reset_index()} if labels and _labelled(frame) else {}
    return {"scores": scores_of(frame), "tables": tables, "labels": labels or None}


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
    gold, prediction = answers(frame)
    strangers = sorted((set(gold) | set(prediction)) - set(labels) - {INVALID})
    if strangers or INVALID in set(gold):
        raise ValueError(f"confusion: {strangers[:3] or 'an empty gold label'} is not in the {len(labels)} labels")
    columns = [*labels, INVALID_COLUMN]
    column = {label: index for index, label in enumerate([*labels, INVALID])}
    table = np.zeros((len(labels), len(columns)), dtype=np.int64)
    np.add.at(table, ([column[label] for label in gold], [column[label] for label in prediction]), 1)
    return pd.DataFrame(table, index=pd.Index(labels, name="gold"), columns=columns)
