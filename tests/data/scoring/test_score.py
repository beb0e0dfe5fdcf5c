import numpy as np
import pandas as pd
import pytest

from data.scoring.columns import SCORES as COLUMN_SCORES
from data.scoring.registry import all_scores, scores_of, summarise
from data.scoring.score import mean_of

SCORES = all_scores()


def frame(**columns):
    return pd.DataFrame(columns)


def test_mean_of_a_column_leaves_rows_without_a_value_out():
    score = mean_of("reward", percent=False)
    # (1 + 0 + 0.5) / 3: the fourth row has no value and is in neither sum.
    assert score.of(frame(reward=[1.0, 0.0, 0.5, np.nan])) == pytest.approx(0.5)
    assert score.contributions(frame(reward=[2.0, np.nan])).tolist() == [[2.0, 1.0], [0.0, 0.0]]


def test_a_column_without_any_value_has_no_score_and_an_empty_frame_is_refused():
    assert not mean_of("reward").applies(frame(reward=[np.nan])) and scores_of(frame(reward=[np.nan])) == {}
    with pytest.raises(ValueError, match="at least one row"):
        mean_of("reward").of(frame(reward=[]))


def test_a_frame_gets_the_scores_of_its_columns_and_no_others():
    found = scores_of(frame(example_id=["a", "b"], success=[True, False], reward=[3.0, 1.0]))
    assert found == {"success": 50.0, "reward": 2.0}


def test_relation_frames_get_none_of_them():
    assert not {score.name for score in COLUMN_SCORES} & set(scores_of(frame(gold=["Other"], prediction=["Other"])))


def test_every_column_score_is_registered_once():
    assert all(SCORES[score.name] is score for score in COLUMN_SCORES)


def test_a_summary_without_an_inventory_has_no_class_table():
    summary = summarise(frame(success=[1.0]), object())
    assert summary == {"scores": {"success": 100.0}, "tables": {}, "labels": None}
