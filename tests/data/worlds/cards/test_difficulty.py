import pytest

from data.worlds.cards.difficulty import Difficulty, measure


def test_by_hand():
    assert measure([0, 1, 1, 4], lambda draw: draw) == Difficulty(4, 0.75, 2.0, 1, pytest.approx(2 / 3))


def test_nothing_to_measure_is_refused():
    with pytest.raises(ValueError, match="2 draws hold no solvable one"):
        measure([0, 0], lambda draw: draw)
