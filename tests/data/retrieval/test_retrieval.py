"""What every retriever must hold to; the numbers of each are in its own test."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.files.stages import TemporaryStages
from data.retrieval.base import joined, top_hits
from data.retrieval.bm25 import BM25Retriever
from data.retrieval.none import NoRetriever
from data.retrieval.random import RandomRetriever
from data.retrieval.tfidf import TfidfRetriever

MAKERS = {
    "bm25": lambda: BM25Retriever(),
    "random": lambda: RandomRetriever(seed=0),
    "tfidf": lambda: TfidfRetriever(),
}
WORDS = ("engine", "leak", "harbour", "barrel", "salt", "rope", "tide")
TEXTS = [f"{WORDS[index % 7]} {WORDS[(index * 3 + 1) % 7]} {WORDS[index // 7 % 7]}" for index in range(60)]


@pytest.fixture(params=sorted(MAKERS))
def retriever(request):
    made = MAKERS[request.param]()
    made.index(TEXTS, TemporaryStages())
    return made


def test_hits_are_distinct_sorted_and_ties_go_to_the_lower_position(retriever):
    hits = retriever.search(TEXTS[:20], 10)
    assert hits.indices.shape == hits.scores.shape == (20, 10)
    assert hits.indices.dtype == np.int64 and hits.scores.dtype == np.float32
    for indices, scores in zip(hits.indices, hits.scores, strict=True):
        assert len(set(indices)) == 10 and set(indices) <= set(range(60))
        assert list(zip(-scores, indices, strict=True)) == sorted(zip(-scores, indices, strict=True))


def test_a_smaller_k_is_a_prefix_and_a_query_does_not_depend_on_its_batch(retriever):
    many = retriever.search(TEXTS, 10)
    few = retriever.search(TEXTS, 3)
    np.testing.assert_array_equal(many.indices[:, :3], few.indices)
    for row in (0, 17, 59):
        np.testing.assert_array_equal(retriever.search([TEXTS[row]], 10).indices[0], many.indices[row])


def test_banned_positions_never_come_back_and_the_rest_keeps_its_order(retriever):
    free = retriever.search(TEXTS[:5], 60).indices
    banned = [[], [1], [2, 3], list(range(0, 60, 2)), list(range(60))]
    hits = retriever.search(TEXTS[:5], 60, banned)
    for row, barred in enumerate(banned):
        wanted = [index for index in free[row] if index not in barred]
        assert list(hits.indices[row][: len(wanted)]) == wanted
        assert all(hits.indices[row][len(wanted) :] == -1)
        assert np.isneginf(hits.scores[row][len(wanted) :]).all()


def test_progress_ends_at_the_number_of_queries(retriever):
    seen = []
    retriever.search(TEXTS, 1, None, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (60, 60) and seen == sorted(seen)


def test_searching_before_indexing_is_refused():
    for make in MAKERS.values():
        with pytest.raises(ValueError, match="before index"):
            make().search(["engine"], 1)


def test_keys_tell_settings_apart():
    keys = [
        NoRetriever().key(), RandomRetriever(seed=0).key(), RandomRetriever(seed=1).key(), BM25Retriever().key(),
        BM25Retriever(view="between").key(), BM25Retriever(k1=1.2).key(), BM25Retriever(stopwords=True).key(),
        TfidfRetriever().key(), TfidfRetriever(max_ngram=1).key(), TfidfRetriever(view="masked").key(),
    ]  # fmt: skip
    assert len({str(sorted(key.items())) for key in keys}) == len(keys)


def test_no_retriever_gives_nothing():
    made = NoRetriever()
    made.index(TEXTS, TemporaryStages())
    assert made.search(TEXTS, 10).indices.shape == (60, 0)


@given(
    st.lists(st.lists(st.integers(-3, 3), min_size=6, max_size=6), min_size=1, max_size=4),
    st.integers(0, 8),
    st.sets(st.integers(0, 5)),
)
def test_top_hits_equal_a_full_sort(rows, k, barred):
    scores = np.array(rows, dtype=np.float32)
    hits = top_hits(scores, k, [barred] * len(rows))
    for row, indices in zip(rows, hits.indices, strict=True):
        wanted = sorted((index for index in range(6) if index not in barred), key=lambda index: (-row[index], index))
        assert list(indices) == (wanted + [-1] * 8)[: min(k, len(wanted))] + [-1] * max(0, k - len(wanted))


def test_batches_of_hits_join():
    parts = [top_hits(np.eye(3), 2), top_hits(np.eye(3)[:1], 2)]
    assert joined(parts, 2).indices.shape == (4, 2) and joined([], 2).scores.shape == (0, 2)
    with pytest.raises(ValueError, match="k must be"):
        top_hits(np.eye(3), -1)
