"""Judges that err: exact by default, wrong as often as their error says, the same text always paid the same."""

import math

import pytest

from data.worlds.skills.simulated_reward import SimulatedReward

TEXTS = [(f"{one}+1=", str(one + right)) for one in range(1000) for right in (1, 2)]
PAID = [1.0, 0.0] * 1000


def test_without_an_error_the_exact_pay_is_kept():
    assert SimulatedReward().rewards(TEXTS, PAID) == PAID


@pytest.mark.parametrize("noise", [0.5, 1.0])
def test_right_and_wrong_are_confused_as_often_as_the_error_says(noise):
    found = SimulatedReward(noise=noise).rewards(TEXTS, PAID)
    wrong = sum(right <= other for right, other in zip(found[::2], found[1::2], strict=True)) / 1000
    # The difference of two errors has the deviation noise * sqrt 2; it must exceed 1 to turn a pair round.
    assert wrong == pytest.approx(0.5 * math.erfc(1 / (noise * math.sqrt(2)) / math.sqrt(2)), abs=0.03)


def test_an_error_belongs_to_the_text_and_the_judge():
    one, again, other = (SimulatedReward(noise=0.5, seed=seed).rewards(TEXTS[:9], PAID[:9]) for seed in (0, 0, 1))
    assert one == again != other
    assert SimulatedReward(noise=0.5).rewards(TEXTS[3:5], PAID[3:5]) == one[3:5]


def test_length_is_paid_by_the_character():
    found = SimulatedReward(length_bonus=0.1).rewards([("a", "bb"), ("a", "bbbb")], [1.0, 0.0])
    assert found == pytest.approx([1.2, 0.4])


def test_a_negative_error_is_refused():
    with pytest.raises(ValueError, match=r"judge\.noise"):
        SimulatedReward(noise=-0.1)
