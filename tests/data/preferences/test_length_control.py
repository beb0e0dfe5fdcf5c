"""Win rates at equal length: against closed forms, a simulated judge who likes length, and the plain rate."""

import numpy as np
import pytest

from data.preferences.length_control import length_controlled


def test_without_a_difference_it_is_the_plain_win_rate():
    wins = [1.0, 0.0, 0.0, 1.0, 1.0]
    terms = length_controlled(wins, [3] * 5)
    assert terms.mean() == pytest.approx(0.6, abs=1e-3)
    # The influence of an example on a plain mean is its own distance from it.
    assert terms == pytest.approx(np.array(wins), abs=5e-3)


def test_two_lengths_have_a_closed_form():
    """Longer by 1 in half, shorter by 1 in the other: the fit goes through both rates; at 0 the logit is their mean.

    Rates 0.9 and 0.5: logits log 9 and 0, mean log 3, so 0.75 at equal length where the plain rate is 0.7."""
    wins = [1.0] * 90 + [0.0] * 10 + [1.0] * 50 + [0.0] * 50
    terms = length_controlled(wins, [1.0] * 100 + [-1.0] * 100)
    assert terms.mean() == pytest.approx(0.75, abs=2e-3)


def simulated(seed, count=400, advantage=0.0, taste=1.5):
    generator = np.random.default_rng(seed)
    apart = generator.normal(200, 150, count)
    logits = advantage + taste * np.tanh(apart / apart.std())
    return (generator.random(count) < 1 / (1 + np.exp(-logits))).astype(float), apart


def test_a_judge_who_likes_length_is_seen_through_and_the_error_is_honest():
    """The model is no better, only longer: plain wins say 0.7, controlled ones half. The terms' standard error covers
    the truth about 95 times in 100 (200 experiments: at least 180)."""
    inside, plain = 0, []
    for seed in range(200):
        wins, apart = simulated(seed)
        terms = length_controlled(wins, apart)
        plain.append(wins.mean())
        inside += abs(terms.mean() - 0.5) < 1.96 * terms.std(ddof=1) / np.sqrt(len(terms))
    assert np.mean(plain) > 0.68
    assert 180 <= inside <= 199


def test_only_the_order_of_magnitude_of_lengths_is_free():
    wins, apart = simulated(0)
    assert length_controlled(wins, apart * 4.2).mean() == pytest.approx(length_controlled(wins, apart).mean())
    assert length_controlled(wins, -apart).mean() == pytest.approx(length_controlled(wins, apart).mean())
    assert length_controlled(1 - wins, apart).mean() == pytest.approx(1 - length_controlled(wins, apart).mean())


def test_lengths_that_separate_wins_and_unanimous_judges_stay_finite():
    separated = length_controlled([1.0] * 10 + [0.0] * 10, [1.0] * 10 + [-1.0] * 10)
    assert np.isfinite(separated).all() and separated.mean() == pytest.approx(0.5, abs=1e-6)
    assert length_controlled([1.0, 1.0], [5, -3]).tolist() == [1.0, 1.0]


def test_entry_checks():
    with pytest.raises(ValueError, match="two lists of equal length"):
        length_controlled([1.0, 0.0], [1])
    with pytest.raises(ValueError, match="share from 0 to 1"):
        length_controlled([1.0, 2.0], [1, 2])
