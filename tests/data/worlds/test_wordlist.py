from data.worlds.wordlist import made_up_words


def test_words_are_different_reproducible_and_not_taken():
    words = made_up_words(3000, 0, "names")
    assert len(set(words)) == 3000 and all(word.isalpha() and word.islower() for word in words)
    assert words == made_up_words(3000, 0, "names") and words != made_up_words(3000, 1, "names")
    assert not set(made_up_words(50, 0, "names", taken=words[:10])) & set(words[:10])
