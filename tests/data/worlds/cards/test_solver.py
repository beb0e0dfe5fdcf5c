from fractions import Fraction
from itertools import combinations_with_replacement, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.verifiers.expressions import evaluate
from data.worlds.cards.solver import solutions, solvable, values_of


def brute_force(numbers):
    """Values by all orders, operators and the five bracketings of four numbers: no shared code with the solver."""

    def apply(operator, a, b):
        if a is None or b is None or (operator == "/" and b == 0):
            return None
        return {"+": a + b, "-": a - b, "*": a * b}[operator] if operator != "/" else a / b

    found = set()
    for a, b, c, d in set(permutations(map(Fraction, numbers))):
        for p, q, r in product("+-*/", repeat=3):
            found |= {
                apply(r, apply(q, apply(p, a, b), c), d),
                apply(r, apply(p, a, apply(q, b, c)), d),
                apply(p, a, apply(r, apply(q, b, c), d)),
                apply(p, a, apply(q, b, apply(r, c, d))),
                apply(q, apply(p, a, b), apply(r, c, d)),
            }
    return found - {None}


def test_counts_of_solvable_hands_are_those_of_the_literature():
    # AMFT sheet, section 4.1: 566 of 715 hands up to 10, 1,362 of 1,820 up to 13, 796 of 1,105 with a value above 10.
    low = [hand for hand in combinations_with_replacement(range(1, 11), 4) if solvable(hand, 24)]
    every = [hand for hand in combinations_with_replacement(range(1, 14), 4) if solvable(hand, 24)]
    assert (len(low), len(every), sum(hand[-1] > 10 for hand in every)) == (566, 1362, 796)


@pytest.mark.parametrize("numbers", [(3, 3, 8, 8), (1, 5, 5, 5), (1, 1, 1, 1), (2, 5, 7, 13)])
def test_values_equal_brute_force(numbers):
    assert values_of(numbers) == brute_force(numbers)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=3).map(sorted), st.integers(0, 30))
def test_solvable_agrees_with_all_values(numbers, target):
    assert solvable(tuple(numbers), target) == (Fraction(target) in values_of(tuple(numbers)))


def test_the_hand_that_floats_lose():
    assert solutions((8, 3, 8, 3), 24) == ("8/(3-8/3)",)


def test_solutions_of_small_hands_by_hand():
    assert solutions((2, 3), 5) == ("2+3",)
    assert solutions((1, 2, 3), 6) == ("1*2*3", "1+2+3", "2*3/1")
    assert solutions((1, 1, 1, 1), 24) == ()


def test_orders_and_needless_brackets_are_one_solution():
    # 1+2+3+4 in all its orders and bracketings; and 10 in other ways, each of which must differ in more than order.
    found = solutions((1, 2, 3, 4), 10)
    assert found.count("1+2+3+4") == 1
    assert len(found) == len(set(found))
    assert sum(set(text) <= set("1234+") for text in found) == 1


@given(st.lists(st.integers(1, 13), min_size=4, max_size=4))
def test_every_solution_is_right_and_uses_every_number_once(numbers):
    for text in solutions(tuple(numbers), 24):
        formula = evaluate(text)
        assert formula.value == 24 and sorted(formula.numbers) == sorted(numbers)


def test_too_many_numbers_are_refused():
    with pytest.raises(ValueError, match="between 1 and 4 numbers"):
        solutions((1, 2, 3, 4, 5), 24)
