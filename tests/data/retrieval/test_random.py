import numpy as np

from data.files.stages import TemporaryStages
from data.retrieval.random import RandomRetriever


def draw(seed, queries, size=50, k=5):
    made = RandomRetriever(seed=seed)
    made.index([""] * size, TemporaryStages())
    return made.search(queries, k).indices


def test_another_seed_or_query_draws_otherwise():
    first = draw(0, ["a", "b"])
    np.testing.assert_array_equal(first, draw(0, ["a", "b"]))
    assert (first != draw(1, ["a", "b"])).any() and (first[0] != first[1]).any()


def test_draws_are_uniform():
    # 4,000 draws of 1 of 10: each is expected 400 times with a standard deviation of 19; five of them are 95.
    counts = np.bincount(draw(0, [str(index) for index in range(4000)], size=10, k=1)[:, 0], minlength=10)
    assert np.abs(counts - 400).max() < 95
