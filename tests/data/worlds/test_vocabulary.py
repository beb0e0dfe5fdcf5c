"""The closed vocabulary: exact both ways, and loud about everything that it does not know."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.worlds.vocabulary import END, PAD, START, Vocabulary

WORDS = ("add", "7", "12", "(", "=")
PIECES = ("a", "b", "ab", "abb", " ", "<")


def test_ids_follow_the_listed_order_after_the_three_special_tokens():
    words = Vocabulary(WORDS)
    assert (PAD, START, END, len(words)) == (0, 1, 2, 8)
    assert words.encode("7 = 12") == [4, 7, 5]
    assert words.decode([4, 7, 5]) == "7 = 12"


def test_pieces_are_cut_longest_first():
    # "abbab" is "abb" + "ab", not "ab" + "b" + "ab" nor five characters.
    assert Vocabulary(PIECES, separator="").encode("abbab") == [3 + 3, 3 + 2]


@given(st.lists(st.sampled_from(WORDS)))
def test_words_survive_both_ways(chosen):
    words, text = Vocabulary(WORDS), " ".join(chosen)
    assert words.decode(words.encode(text)) == text


@given(st.text(alphabet="ab <"))
def test_pieces_survive_both_ways(text):
    pieces = Vocabulary(PIECES, separator="")
    assert pieces.decode(pieces.encode(text)) == text


def test_decoding_ends_at_the_end_and_shows_stray_special_tokens():
    words = Vocabulary(WORDS)
    assert words.decode([4, END, 5, PAD]) == "7" and words.decode([END]) == words.decode([]) == ""
    # A model that writes padding inside a number has not written the number.
    assert words.decode([4, PAD, 5]) == "7 <pad> 12" and words.decode([START, 4]) == "<start> 7"


def test_special_tokens_cannot_be_written_by_a_text():
    with pytest.raises(ValueError, match=r"<end>.*not in the vocabulary"):
        Vocabulary(WORDS).encode("7 <end>")
    assert END not in Vocabulary(("<", "e", "n", "d", ">"), separator="").encode("<end>")


@pytest.mark.parametrize(
    ("text", "said"), [("ad 7", "did you mean add"), ("7  12", "two spaces"), (" 7", "two spaces"), ("7\n12", "not in")]
)
def test_unknown_words_are_refused(text, said):
    with pytest.raises(ValueError, match=said):
        Vocabulary(WORDS).encode(text)


def test_unknown_characters_are_refused():
    with pytest.raises(ValueError, match="'c'"):
        Vocabulary(PIECES, separator="").encode("abc")


@pytest.mark.parametrize("pieces", [(), ("a", "a"), ("",), ("two words",), ("<pad>",)])
def test_bad_pieces_are_refused(pieces):
    with pytest.raises(ValueError):
        Vocabulary(pieces)
    with pytest.raises(ValueError):
        Vocabulary(WORDS, separator=",")


def test_vocabulary_of_texts():
    assert Vocabulary.of_texts(["b a", "c"]) == Vocabulary(("a", "b", "c"))
    assert Vocabulary.of_texts(["ba", "c"], separator="") == Vocabulary(("a", "b", "c"), separator="")
    assert Vocabulary.of_texts(["b a"]) != Vocabulary.of_texts(["b a"], separator="")
