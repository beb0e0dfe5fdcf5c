import math

import pytest

from data.files.stages import TemporaryStages
from data.retrieval.bm25 import BM25Retriever

TEXTS = ["rope rope tide", "rope salt", "engine barrel leak harbour"]


def test_scores_by_hand():
    # Lucene BM25: idf = ln(1 + (N - n + 0.5)/(n + 0.5)), tf part = f / (f + k1 (1 - b + b L/avg)), N = 3, avg = 3.
    made = BM25Retriever(k1=1.5, b=0.75)
    made.index(TEXTS, TemporaryStages())
    hits = made.search(["rope"], 3)
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    first = idf * 2 / (2 + 1.5 * (0.25 + 0.75 * 3 / 3))
    second = idf * 1 / (1 + 1.5 * (0.25 + 0.75 * 2 / 3))
    assert list(hits.indices[0]) == [0, 1, 2]
    assert list(hits.scores[0]) == pytest.approx([first, second, 0.0], rel=1e-6)


def test_a_query_of_unknown_words_gets_everything_at_zero():
    made = BM25Retriever()
    made.index(TEXTS, TemporaryStages())
    hits = made.search(["zebra", "unicorn"], 2)
    assert hits.indices.tolist() == [[0, 1], [0, 1]] and not hits.scores.any()


def test_function_words_count_unless_they_are_dropped():
    texts = ["caused by rope", "rope of salt", "tide"]
    ranks = []
    for stopwords in (False, True):
        made = BM25Retriever(stopwords=stopwords)
        made.index(texts, TemporaryStages())
        ranks.append(made.search(["by of of"], 3).scores[0][0] > 0)
    assert ranks == [True, False]


@pytest.mark.parametrize("bad", [{"k1": -1}, {"b": 1.5}, {"view": "span"}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError):
        BM25Retriever(**bad)
