import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from data.relations.formats import SEMEVAL_LABELS
from data.scoring.registry import all_scores, by_name, completed, lists_beside, scores_of, summarise
from data.scoring.relations import INVALID_COLUMN, confusion, micro_f1, per_class, single_class_f1

SCORES = all_scores()

CE12, CE21, CW12, OTHER = "Cause-Effect(e1,e2)", "Cause-Effect(e2,e1)", "Component-Whole(e1,e2)", "Other"


def frame(*pairs):
    return pd.DataFrame(pairs, columns=["gold", "prediction"])


PAIRS = st.lists(
    st.tuples(st.sampled_from(SEMEVAL_LABELS), st.sampled_from((*SEMEVAL_LABELS, ""))), min_size=1, max_size=40
)


def test_macro_f1_by_hand():
    # Cause-Effect: 1 right, predicted 3 times (one the wrong way round, one for Other), gold 2 -> F1 = 2*1/(3+2) = 0.4.
    # Component-Whole: gold 2, predicted once and right; the other is invalid -> F1 = 2*1/(1+2) = 2/3.
    # The seven relations without gold do not enter: (0.4 + 2/3) / 2 = 8/15.
    examples = frame((CE12, CE12), (CE12, CE21), (OTHER, CE21), (CW12, CW12), (CW12, ""), (OTHER, OTHER))
    assert SCORES["macro_f1"].of(examples) == pytest.approx(8 / 15, abs=1e-15)


def test_a_wrong_direction_is_worse_than_other():
    # F1 of Cause-Effect with 1 of 2 right: wrong direction 2*1/(2+2), Other 2*1/(1+2).
    wrong, other = frame((CE12, CE12), (CE12, CE21)), frame((CE12, CE12), (CE12, OTHER))
    assert SCORES["macro_f1"].of(wrong) == pytest.approx(0.5)
    assert SCORES["macro_f1"].of(other) == pytest.approx(2 / 3)


def test_an_invalid_answer_counts_in_recall_and_accuracy_but_not_in_precision():
    examples = frame((CE12, CE12), (CE12, ""))
    table = per_class(examples, SEMEVAL_LABELS).loc[CE12]
    assert (table.precision, table.recall, table.true_positives, table.predicted, table.gold) == (1.0, 0.5, 1, 1, 2)
    assert scores_of(examples)["accuracy"] == 50.0
    assert scores_of(examples)["invalid_rate"] == 50.0
    assert SCORES["macro_f1"].of(examples) == pytest.approx(2 / 3)
    assert not SCORES["invalid_rate"].higher_is_better and SCORES["macro_f1"].higher_is_better


def test_the_constant_other_predictor_scores_zero():
    examples = frame(*[(label, OTHER) for label in SEMEVAL_LABELS])
    assert SCORES["macro_f1"].of(examples) == 0.0
    assert SCORES["accuracy"].of(examples) == pytest.approx(1 / 19)
    assert SCORES["other_f1"].of(examples) == pytest.approx(2 / 20)


@given(PAIRS)
def test_scores_are_shares_and_do_not_depend_on_order_or_repetition(pairs):
    examples = frame(*pairs)
    for name, value in scores_of(examples).items():
        assert 0.0 <= value <= 100.0 and math.isfinite(value), name
        assert scores_of(examples[::-1])[name] == pytest.approx(value, abs=1e-9)
        assert scores_of(pd.concat([examples, examples]))[name] == pytest.approx(value, abs=1e-9)


@given(PAIRS)
def test_value_is_vectorised_over_leading_axes(pairs):
    examples = frame(*pairs)
    for score in (SCORES["macro_f1"], SCORES["accuracy"], SCORES["micro_f1"], SCORES["other_f1"]):
        parts = score.contributions(examples)
        assert parts.dtype == np.float64 and len(parts) == len(examples)
        leave_one_out = parts.sum(axis=0) - parts
        together = score.value(leave_one_out.reshape(1, *leave_one_out.shape))
        assert together.shape == (1, len(examples))
        apart = [float(score.value(row)) for row in leave_one_out]
        np.testing.assert_allclose(together[0], apart, rtol=0, atol=1e-12)


@given(PAIRS)
def test_micro_and_single_class_f1_agree_with_scikit_learn(pairs):
    examples = frame(*pairs)
    kept = [label for label in SEMEVAL_LABELS if label != OTHER]
    for score, labels in ((micro_f1(OTHER), kept), (single_class_f1(CE12), [CE12])):
        wanted = f1_score(examples.gold, examples.prediction, labels=labels, average="micro", zero_division=0)
        assert score.of(examples) == pytest.approx(wanted, abs=1e-12)


def test_the_release_scores_no_relation_alone_and_calls_it_micro_f1():
    # RAG4RE strips "per:" from gold and predictions but passes the labels with it, so only no_relation can match.
    labels = ["no_relation", "per:title", "org:founded"]
    examples = frame(
        ("no_relation", "no_relation"),
        ("no_relation", "no_relation"),
        ("no_relation", "per:title"),
        ("per:title", "no_relation"),
        ("per:title", "per:title"),
        ("org:founded", "org:founded"),
    )
    bare = examples.map(lambda label: label.rpartition(":")[2])
    faulty = f1_score(bare.gold, bare.prediction, labels=labels, average="micro", zero_division=0)
    found = scores_of(examples)
    assert found["no_relation_f1"] == pytest.approx(100 * faulty) == pytest.approx(100 * 2 / 3)
    # Official: 2 right of 3 predicted relations and 3 gold ones.
    assert found["tacred_micro_f1"] == pytest.approx(100 * 2 / 3)
    constant = frame(*[("no_relation", "no_relation")] * 8, *[("per:title", "no_relation")] * 2)
    assert scores_of(constant)["no_relation_f1"] == pytest.approx(100 * 16 / 18)
    assert scores_of(constant)["tacred_micro_f1"] == 0.0


def test_only_scores_that_mean_something_are_reported():
    assert set(scores_of(frame((CE12, CE12)))) == {"macro_f1", "accuracy", "invalid_rate", "micro_f1", "other_f1"}
    assert set(scores_of(frame(("spouse", "child")))) == {"accuracy", "invalid_rate"}
    with pytest.raises(ValueError, match="SemEval's: gold has \\['spouse'\\]"):
        SCORES["macro_f1"].of(frame(("spouse", "child")))


def test_confusion_counts_everything_once():
    table = confusion(frame((CE12, CE21), (CE12, ""), (OTHER, OTHER), (OTHER, OTHER)), SEMEVAL_LABELS)
    assert table.shape == (19, 20) and table.to_numpy().sum() == 4
    assert table.loc[CE12, CE21] == 1 and table.loc[CE12, INVALID_COLUMN] == 1 and table.loc[OTHER, OTHER] == 2
    with pytest.raises(ValueError, match="'spouse'"):
        confusion(frame((CE12, "spouse")), SEMEVAL_LABELS)


def test_summaries_hold_scores_and_the_class_table():
    class Corpus:
        labels = SEMEVAL_LABELS

    examples = frame((CE12, CE12), (OTHER, ""))
    summary = summarise(examples, Corpus())
    assert summary["scores"] == scores_of(examples) and summary["labels"] == list(SEMEVAL_LABELS)
    assert list(summary["tables"]["per_class"].columns[:4]) == ["label", "precision", "recall", "f1"]
    assert len(summary["tables"]["per_class"]) == 19


def test_missing_columns_and_empty_frames_are_refused():
    with pytest.raises(ValueError, match=r"\['prediction'\]"):
        SCORES["accuracy"].of(pd.DataFrame({"gold": [OTHER]}))
    with pytest.raises(ValueError, match="no example"):
        SCORES["accuracy"].of(frame())


def data_scored_by(*names):
    return type("Data", (), {"scored_by": names, "labels": SEMEVAL_LABELS})()


def test_a_run_is_scored_by_the_lists_that_its_data_name_and_no_others():
    examples = frame((CE12, CE12), (OTHER, "")).assign(success=1.0)
    assert set(summarise(examples, data_scored_by("data.scoring.labels"))["scores"]) == {"accuracy", "invalid_rate"}
    assert set(summarise(examples, data_scored_by("data.scoring.columns"))["scores"]) == {"success"}
    assert {"success", "accuracy", "macro_f1"} <= set(summarise(examples, object())["scores"]), "else by all"


def test_lists_are_found_beside_the_registry_without_loading_them():
    assert {"data.scoring.relations", "data.scoring.policies"} <= set(lists_beside())
    assert "data.scoring.registry" not in lists_beside() and "data.scoring.score" not in lists_beside()


def test_two_scores_of_one_name_are_refused_with_their_lists():
    one, two = (SimpleNamespace(__name__=name, SCORES=(micro_f1("Other"),)) for name in ("one", "two"))
    with pytest.raises(ValueError, match="one and two both define micro_f1: rename one of them"):
        by_name([one, two])
    assert list(by_name([one, one])) == ["micro_f1"]


def test_a_list_may_complete_the_frame_that_it_scores():
    class Corpus:
        scored_by = ("data.scoring.relations", "data.scoring.labels")
        labels, none_label = SEMEVAL_LABELS, OTHER

        @staticmethod
        def examples(split):
            return [SimpleNamespace(id="0", text="The <e1>fire</e1> was caused by <e2>a spark</e2>.")]

    plain = frame((CE12, CE12)).assign(example_id=["0"])
    assert "slice" in completed(plain, Corpus(), "test") and "slice" not in completed(plain, object.__new__(
        type("Other", (), {"scored_by": ("data.scoring.columns",)})), "test")  # fmt: skip
