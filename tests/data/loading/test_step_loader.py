from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.loading.step_loader import StepLoader


def loader(count, size, seed=0, start=0, bucket=True):
    items = [(index, "w" * (index * 7 % 13)) for index in range(count)]
    length = (lambda item: len(item[1])) if bucket else None
    return StepLoader(items, batch_size=size, seed=seed, collate=list, length=length, start_step=start)


@given(st.integers(1, 80), st.integers(1, 9), st.integers(0, 3), st.booleans())
def test_an_epoch_shows_every_item_once(count, size, seed, bucket):
    made = loader(count, size, seed, bucket=bucket)
    for _ in range(2):
        batches = list(made)
        assert len(batches) == len(made) == -(-count // size)
        assert Counter(item[0] for batch in batches for item in batch) == Counter(range(count))


@given(st.integers(1, 60), st.integers(1, 7), st.integers(0, 40))
def test_a_resumed_loader_goes_on_with_the_batches_it_would_have_given(count, size, start):
    whole = loader(count, size)
    straight = [whole.at(step) for step in range(start + 2 * len(whole))]
    resumed = loader(count, size, start=start)
    first = list(resumed)
    assert first == straight[start : start + len(first)]
    assert (start + len(first)) % len(whole) == 0
    assert next(iter(resumed)) == whole.at(start + len(first))


def test_an_interrupted_iteration_goes_on_where_it_stopped():
    made = loader(20, 2)
    iterator = iter(made)
    seen = [next(iterator), next(iterator)]
    assert seen + list(made) == [made.at(step) for step in range(10)]


def test_seeds_and_epochs_differ():
    orders = {
        tuple(item[0] for batch in made for item in batch) for seed in range(3) for made in [loader(50, 5, seed)] * 2
    }
    assert len(orders) == 6


def test_bucketing_makes_batches_of_like_length():
    def spread(made):
        return sum(max(len(t) for _, t in batch) - min(len(t) for _, t in batch) for batch in made)

    assert spread(loader(320, 4)) < 0.25 * spread(loader(320, 4, bucket=False))


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="nothing to batch"):
        loader(0, 4)
    with pytest.raises(ValueError, match="batch_size"):
        loader(4, 0)
    with pytest.raises(ValueError, match="start_step"):
        loader(4, 1, start=-1)
