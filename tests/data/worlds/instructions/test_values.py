"""Prefix pairs of the instruction world, and the scores that values are tested by, on numbers made by hand."""

import numpy as np
import pytest

from data.records.values import ValueReading
from data.scoring.registry import all_scores
from data.worlds.instructions.values import InstructionValues, concordance
from data.worlds.instructions.world import Instructions

SCORES = all_scores()


def made():
    return InstructionValues(
        world=Instructions(seed=0), part="demonstrations", items=8, batch_size=8, seed=0, test_items=12
    )


def test_prefixes_differ_in_their_last_digit_alone_and_only_one_can_become_right():
    data = made()
    answers = {item.id: item.response for item in data.items("test")}
    for pair in data.prefixes("test"):
        good, corrupted = pair.good.split(" "), pair.corrupted.split(" ")
        assert len(good) == len(corrupted) and good[:-1] == corrupted[:-1] and good[-1] != corrupted[-1]
        assert answers[pair.id].startswith(pair.good + " ") and not answers[pair.id].startswith(pair.corrupted + " ")
        assert data.vocabulary.encode(pair.corrupted)


def frame_of(values, *, ends=(), ways=()):
    data = made()
    answers = [item.response for item in data.items("test")]
    readings = [
        ValueReading(
            pair.id,
            (0.0, good),
            (0.0, bad),
            (answer,),
            (pair.corrupted + " .",),
            (answer, "x"),
            (good, bad),
            ends,
            ways,
        )
        for pair, answer, (good, bad) in zip(data.prefixes("test"), answers, values, strict=True)
    ]
    return data.frame(readings)


def test_estimates_that_follow_the_return_pass_and_their_opposite_fails():
    right, wrong = frame_of([(1.0, 0.0)] * 12), frame_of([(0.0, 1.0)] * 12)
    assert (right["good_return"] > right["corrupted_return"]).all()
    for name, high, low in (("separates", 1.0, 0.0), ("reward_concordance", 1.0, 0.0)):
        assert (SCORES[name].of(right), SCORES[name].of(wrong)) == (high, low)
    assert SCORES["return_correlation"].of(right) > 0.9 and SCORES["return_correlation"].of(wrong) < -0.9


def test_correlation_is_that_of_numpy():
    values = [(float(one), float(other)) for one, other in np.random.default_rng(0).normal(size=(12, 2))]
    frame = frame_of(values)
    wanted = np.corrcoef(
        frame[["good_value", "corrupted_value"]].to_numpy().ravel(),
        frame[["good_return", "corrupted_return"]].to_numpy().ravel(),
    )[0, 1]
    assert SCORES["return_correlation"].of(frame) == pytest.approx(wanted)


def test_end_spread_is_zero_for_one_terminal_value_and_absent_without_ends():
    assert SCORES["end_spread"].of(frame_of([(1.0, 0.0)] * 12, ends=(2.0, 2.0), ways=(0.0, 1.0))) == 0
    # Ends of spread 2 against ways of spread 1/2, both about a mean.
    assert SCORES["end_spread"].of(frame_of([(1.0, 0.0)] * 12, ends=(1.0, 5.0), ways=(0.0, 1.0))) == pytest.approx(4)
    assert not SCORES["end_spread"].applies(frame_of([(1.0, 0.0)] * 12))


def test_concordance_counts_pairs_of_different_truth():
    assert concordance([3.0, 1.0, 2.0], [1.0, 0.0, 0.0]) == 1.0
    assert concordance([1.0, 1.0], [1.0, 0.0]) == 0.5
    assert np.isnan(concordance([1.0, 2.0], [1.0, 1.0]))
