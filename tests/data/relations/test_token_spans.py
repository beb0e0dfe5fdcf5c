import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.records.relations import without_tags
from data.relations.formats import marked
from data.relations.token_spans import tag_spans


def test_spans_by_hand():
    assert tag_spans(["a", "b", "c", "d"], (2, 4), (0, 1)) == ("<e2>a</e2> b <e1>c d</e1>", "c d", "a")


@given(st.lists(st.text("xyz", min_size=1, max_size=3), min_size=2, max_size=8), st.data())
def test_tags_mark_the_words_and_change_no_other(tokens, data):
    cut = data.draw(st.integers(1, len(tokens) - 1))
    head = (data.draw(st.integers(0, cut - 1)), cut)
    tail = (cut, data.draw(st.integers(cut + 1, len(tokens))))
    for one, other in ((head, tail), (tail, head)):
        text, head_words, tail_words = tag_spans(tokens, one, other)
        assert without_tags(text) == " ".join(tokens)
        assert marked(text) == (head_words, tail_words)
        assert head_words == " ".join(tokens[one[0] : one[1]])


@pytest.mark.parametrize(
    ("head", "tail", "said"),
    [
        ((0, 0), (1, 2), "head spans"),
        ((0, 1), (1, 4), "tail spans"),
        ((-1, 1), (1, 2), "head spans"),
        ((0, 2), (1, 3), "overlap"),
    ],
)
def test_bad_spans_are_refused(head, tail, said):
    with pytest.raises(ValueError, match=f"row 3: .*{said}"):
        tag_spans(["a", "b", "c"], head, tail, where="row 3")


def test_tokens_that_are_tagged_already_are_refused():
    with pytest.raises(ValueError, match="entity tag"):
        tag_spans(["<e1>a</e1>", "b"], (0, 1), (1, 2))
