import math

import pytest

from data.files.stages import TemporaryStages
from data.retrieval.tfidf import TfidfRetriever


def test_cosine_by_hand():
    # idf = ln((1 + N)/(1 + n)) + 1 with N = 2: "a" in both -> 1; "b", "c" in one -> i = ln(3/2) + 1.
    # Text 0 "a b" = (1, i), text 1 "a a c": tf 1 + ln 2 -> (1 + ln 2, i). The query "a b b" = (1, (1 + ln 2) i).
    made = TfidfRetriever(max_ngram=1)
    made.index(["a b", "a a c"], TemporaryStages())
    hits = made.search(["a b b"], 2)
    i, two = math.log(3 / 2) + 1, 1 + math.log(2)
    query = math.hypot(1, two * i)
    wanted = [(1 + two * i * i) / (query * math.hypot(1, i)), two / (query * math.hypot(two, i))]
    assert list(hits.indices[0]) == [0, 1]
    assert list(hits.scores[0]) == pytest.approx(wanted, rel=1e-6)


def test_word_order_counts_from_two_words_on():
    texts = ["leak caused engine", "engine caused leak"]
    one, two = TfidfRetriever(max_ngram=1), TfidfRetriever(max_ngram=2)
    for made in (one, two):
        made.index(texts, TemporaryStages())
    assert one.search(["engine caused leak"], 2).indices[0][0] == 0  # a tie: the lower position
    assert two.search(["engine caused leak"], 2).indices[0][0] == 1


@pytest.mark.parametrize("bad", [{"max_ngram": 0}, {"max_ngram": 4}, {"view": "span"}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError):
        TfidfRetriever(**bad)
