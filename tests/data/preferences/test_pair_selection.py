"""Best and worst of many candidates: ties and duplicates go, chance decides among equals, authors stay."""

from data.preferences.pair_selection import Candidate, author_counts, choose, distinct
from data.records.texts import PreferencePair


def chosen(*candidates, seed=0):
    return choose("p", "1+1=", [Candidate(*one) for one in candidates], pivot="pivot", seed=seed)


def test_the_best_and_the_worst_make_the_pair_with_their_authors():
    found = chosen(("a", "two", 0.5), ("pivot", "3", 0.0), ("b", "2", 1.0))
    assert found.pair == PreferencePair("p", "1+1=", "2", "3", "b", "pivot")
    assert found.by_source == Candidate("b", "2", 1.0) and found.by_pivot == Candidate("pivot", "3", 0.0)


def test_a_tie_gives_no_pair():
    assert chosen(("a", "3", 0.0), ("pivot", "4", 0.0)) is None
    assert chosen(("a", "2", 1.0), ("pivot", "2", 1.0)) is None
    assert chosen() is None


def test_a_text_counts_once_and_keeps_its_first_author():
    twice = [Candidate("a", "2", 1.0), Candidate("b", "3", 0.0), Candidate("c", "2", 1.0)]
    assert distinct(twice) == twice[:2]


def test_chance_decides_among_equals_and_not_the_order_of_authors():
    texts = [("a", "2", 1.0), ("b", "02", 1.0), ("c", "3", 0.0), ("d", "4", 0.0)]
    found = [chosen(*texts, seed=seed).pair for seed in range(40)]
    assert {pair.chosen_author for pair in found} == {"a", "b"} and {pair.rejected for pair in found} == {"3", "4"}
    assert chosen(*texts, seed=3) == chosen(*texts, seed=3)


def test_a_text_by_source_and_pivot_counts_on_both_sides_of_a_blend():
    for seed in range(10):
        found = chosen(("a", "2", 1.0), ("pivot", "2", 1.0), ("a", "3", 0.0), seed=seed)
        assert found.by_source == Candidate("a", "2", 1.0) and found.by_pivot == Candidate("pivot", "2", 1.0)


def test_authors_are_counted_by_side():
    pairs = [chosen(("a", "2", 1.0), ("b", "3", 0.0)).pair] * 2
    assert author_counts(pairs) == {"chosen": {"a": 2}, "rejected": {"b": 2}}
