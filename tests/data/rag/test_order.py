from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.rag.order import GoldAtOrder, OriginalOrder, RandomOrder, ReorderedOrder, ReversedOrder, reordered
from data.records.passages import Passage


def ranked(count):
    return [Passage(str(number), "", "x") for number in range(1, count + 1)]


def ids(order, count, gold=(), name="q"):
    return [int(passage.id) for passage in order.arrange(ranked(count), example_id=name, gold=set(map(str, gold)))]


@pytest.mark.parametrize(
    ("count", "wanted"),
    [
        (0, []), (1, [1]), (2, [1, 2]),
        (4, [1, 3, 4, 2]), (5, [1, 3, 5, 4, 2]), (10, [1, 3, 5, 7, 9, 10, 8, 6, 4, 2]),
    ],
)  # fmt: skip
def test_reordering_as_printed_for_both_parities(count, wanted):
    assert ids(ReorderedOrder(), count) == wanted


@given(st.integers(1, 60))
def test_reordering_follows_the_formula(count):
    shown = reordered(range(1, count + 1))
    for rank in range(1, count + 1):
        position = (rank + 1) // 2 if rank % 2 else count + 1 - rank // 2
        assert shown[position - 1] == rank


def test_original_and_reversed():
    assert ids(OriginalOrder(), 4) == [1, 2, 3, 4] and ids(ReversedOrder(), 4) == [4, 3, 2, 1]


def test_random_orders_depend_on_seed_and_question_and_are_even():
    assert ids(RandomOrder(seed=0), 9) == ids(RandomOrder(seed=0), 9)
    assert ids(RandomOrder(seed=0), 9) != ids(RandomOrder(seed=1), 9)
    assert ids(RandomOrder(seed=0), 9, name="q") != ids(RandomOrder(seed=0), 9, name="r")
    first = Counter(ids(RandomOrder(seed=0), 3, name=f"q{number}")[0] for number in range(600))
    # 600 draws of 1/3: mean 200, standard deviation 11.5.
    assert all(150 < first[number] < 250 for number in (1, 2, 3))


@pytest.mark.parametrize(("position", "wanted"), [(0, [4, 1, 2, 3, 5]), (1, [1, 2, 3, 5, 4]), (0.5, [1, 2, 4, 3, 5])])
def test_gold_stands_where_it_is_put(position, wanted):
    assert ids(GoldAtOrder(position=position), 5, gold=[4]) == wanted


def test_several_gold_passages_stay_together_and_none_changes_nothing():
    assert ids(GoldAtOrder(position=0), 5, gold=[5, 2]) == [2, 5, 1, 3, 4]
    assert ids(GoldAtOrder(position=0), 3, gold=[7]) == [1, 2, 3]


def test_drawn_places_are_balanced():
    places = Counter(ids(GoldAtOrder(seed=3), 4, gold=[1], name=f"q{number}").index(1) for number in range(800))
    assert set(places) == {0, 1, 2, 3} and all(140 < count < 260 for count in places.values())


@given(st.integers(0, 30), st.sets(st.integers(1, 30)), st.floats(0, 1))
def test_every_order_keeps_every_passage_once(count, gold, position):
    orders = (ReorderedOrder(), ReversedOrder(), RandomOrder(seed=0), GoldAtOrder(position=position), GoldAtOrder())
    for order in orders:
        assert sorted(ids(order, count, gold)) == list(range(1, count + 1))


def test_a_place_outside_is_refused():
    with pytest.raises(ValueError, match="position"):
        GoldAtOrder(position=1.5)
