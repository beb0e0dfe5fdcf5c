"""Texts without words are refused in one line by every retriever; queries without words find nothing."""

import numpy as np
import pytest

from data.files.stages import TemporaryStages
from data.retrieval.bm25 import BM25Retriever
from data.retrieval.dense import DenseRetriever
from data.retrieval.sbert import SbertRetriever
from data.retrieval.tfidf import TfidfRetriever
from data.retrieval.tfidf_svd import TfidfSvdEncoder
from data.retrieval.trained import TrainedEncoder


class Training:
    def key(self):
        return {}

    def train(self, data, folder, progress=None):
        pytest.fail("there is nothing to train on")


def trained():
    encoder = TrainedEncoder(training=Training())
    encoder.learn([("a query", "a text")])
    return DenseRetriever(encoder=encoder)


MADE = {
    "bm25": BM25Retriever,
    "bm25 without function words": lambda: BM25Retriever(stopwords=True),
    "tfidf": TfidfRetriever,
    "tfidf_svd": lambda: DenseRetriever(encoder=TfidfSvdEncoder()),
    "trained": trained,
}
TEXTS = {
    "none": [],
    "empty": ["", " \n"],
    "punctuation": ["...", "?!", "---"],
    "function words": ["the of and", "is to the"],
    "letters": ["a b c", "x"],
}
COUNTS = {
    # Function words and single letters are words to those that do not drop them.
    "function words": {"bm25", "tfidf", "trained"},
    "letters": {"tfidf", "trained"},
}


@pytest.mark.parametrize(
    ("name", "texts"), [(name, texts) for name in MADE for texts in TEXTS if name not in COUNTS.get(texts, ())]
)
def test_texts_without_words_are_refused_in_one_line(name, texts):
    said = r"has nothing to search: (it got no text|none of its \d texts has a word)"
    with pytest.raises(ValueError, match=said) as caught:
        MADE[name]().index(TEXTS[texts], TemporaryStages())
    assert "\n" not in str(caught.value)


def test_no_text_is_refused_without_loading_weights():
    with pytest.raises(ValueError, match="retriever=sbert has nothing to search"):
        SbertRetriever(weights="package:nobody/model").index([], TemporaryStages())


@pytest.mark.parametrize("name", ["bm25", "tfidf", "tfidf_svd"])
@pytest.mark.parametrize("size", [1, 3])
def test_queries_without_words_find_nothing(name, size):
    made = MADE[name]()
    made.index(["red cat", "blue dog", "green bird"][:size], TemporaryStages())
    hits = made.search(["", " ", "?!", "_", "red cat", "zebra"], 2)
    assert (hits.indices[:4] == -1).all() and (hits.scores[:4] == -np.inf).all()
    assert hits.indices[4, 0] == 0 and hits.scores[4, 0] > 0
    assert hits.indices[5, 0] >= 0 and hits.scores[5, 0] == 0  # words that no text has: everything, at 0
    assert made.search([], 2).indices.shape == (0, 2)


def test_some_texts_without_words_are_found_last():
    for name in ("bm25", "tfidf", "tfidf_svd"):
        made = MADE[name]()
        made.index(["...", "red cat", "", "blue dog"], TemporaryStages())
        assert made.search(["dog"], 1).indices.tolist() == [[3]]


def test_a_single_term_is_its_own_singular_vector():
    encoder = TfidfSvdEncoder()
    encoder.fit(["cat", "cat cat"], TemporaryStages())
    assert encoder.encode_texts(["cat", "cat cat", "dog"]).tolist() == [[1.0], [1.0], [0.0]]
