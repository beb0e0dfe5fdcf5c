import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.networks.answerer.label_vocabulary import DIRECTIONS, END, LabelVocabulary

VOCABULARY = LabelVocabulary()


@given(st.text(alphabet=string.printable[:95], max_size=40))
def test_any_printable_text_comes_back_exactly(text):
    assert VOCABULARY.decode(VOCABULARY.encode(text)) == text


@pytest.mark.parametrize(
    ("label", "pieces"),
    [
        ("Cause-Effect(e1,e2)", ["Cause", "-", "Effect", "(e1,e2)"]),
        ("Cause-Effect(e2,e1)", ["Cause", "-", "Effect", "(e2,e1)"]),
        ("Other", ["Other"]),
        ("per:city_of_birth", ["per", ":", "city", "_of", "_birth"]),
        ("part of", ["part", " of"]),
        ("USED-FOR", ["USED", "-", "FOR"]),
        ("xyz", ["x", "y", "z"]),
    ],
)
def test_listed_words_are_one_piece_and_others_are_spelt(label, pieces):
    assert [VOCABULARY.pieces[index] for index in VOCABULARY.encode(label)] == pieces


def test_pieces_are_distinct_and_decoding_stops_at_the_end():
    assert len(set(VOCABULARY.pieces)) == len(VOCABULARY) and set(DIRECTIONS) <= set(VOCABULARY.pieces)
    ids = VOCABULARY.encode("Other")
    assert VOCABULARY.decode([1, *ids, END, *ids]) == "Other"


def test_other_characters_are_refused():
    with pytest.raises(ValueError, match="printable ASCII"):
        VOCABULARY.encode("größer")
