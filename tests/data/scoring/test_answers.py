import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.scoring.answers import (
    MEASURES,
    answer_contained,
    exact_match,
    has_answer,
    measure,
    normalise_answer,
    rouge_l,
    token_f1,
)
from data.scoring.choices import chosen_letter


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The  Beatles!", "beatles"),
        ("a U.S. theory, an answer", "us theory answer"),
        ("another", "another"),  # an article inside a word stays
        ("Theatre of the absurd", "theatre of absurd"),
        ("ro\u0308ntgen", "r\u00f6ntgen"),  # composed and decomposed letters agree
        ("the", ""),
    ],
)
def test_normalisation(text, wanted):
    assert normalise_answer(text) == wanted


def test_exact_match_takes_any_answer_and_nothing_around_it():
    assert exact_match("the Dai Yongge.", ["Xiu Li Dai", "Dai Yongge"]) == 1
    assert exact_match("It is Dai Yongge", ["Dai Yongge"]) == 0


def test_containment_counts_whole_tokens_in_order():
    assert answer_contained("I know it was Oslo.", ["no"]) == 0
    assert answer_contained("The answer is no.", ["no"]) == 1
    assert answer_contained("in 14 December 1972, they left", ["14 December 1972"]) == 1
    assert answer_contained("December 14 1972", ["14 December 1972"]) == 0
    assert answer_contained("bus", ["us"]) == answer_contained("", ["us"]) == 0


def test_an_answer_of_articles_alone_is_compared_literally():
    assert answer_contained("The", ["The"]) == 1 and answer_contained("The end", ["The"]) == 0


def test_f1_by_hand():
    # Bags {new, york, city} and {york, city, hall}: 2 in common, P = R = 2/3.
    assert token_f1("New York City", ["York City Hall"]) == pytest.approx(2 / 3)
    # Said 4, wanted 2, common 2: P = 1/2, R = 1, F1 = 2/3. The second answer is worse and does not count.
    assert token_f1("red blue green grey", ["blue red", "white"]) == pytest.approx(2 / 3)
    # Repetitions count as often as both have them: common 1 of 3 said and 1 wanted, F1 = 2 * 1 / 4.
    assert token_f1("no no no", ["no"]) == pytest.approx(0.5)
    assert token_f1("", ["xy"]) == 0


def test_rouge_l_by_hand():
    # Longest common subsequence of "police killed gunman" and "police kill gunman": 2 of 3 each.
    assert rouge_l("police killed the gunman", ["police kill the gunman"]) == pytest.approx(2 / 3)
    # The order counts: "gunman kill police" shares a subsequence of one word.
    assert rouge_l("gunman kill police", ["police kill gunman"]) == pytest.approx(1 / 3)
    assert rouge_l("", ["xy"]) == 0


def test_a_passage_has_an_answer_as_whole_tokens():
    assert has_answer("Born in Saint-Étienne, 1901.", ["1901"]) and not has_answer("19012", ["1901"])
    assert not has_answer("the end", ["The"])


EMPTY = ["", " ", "\n"]
NOTHING_LEFT = ["the", "The", "an", "a an", "?", "...", "-", "The!", "+", "a", "A", "(A)", *EMPTY]


@pytest.mark.parametrize("answer", NOTHING_LEFT)
@pytest.mark.parametrize("prediction", [*EMPTY, "the", "an", "...", "?", "- -"])
def test_an_answer_of_which_nothing_is_left_equals_itself_alone(answer, prediction):
    same = bool(answer.strip()) and {answer.lower().strip("!"), prediction} in ({"the"}, {"an"}, {"?"}, {"..."})
    assert measure(prediction, [answer]) == dict.fromkeys(MEASURES, float(same))
    assert not has_answer(prediction, [answer])


@pytest.mark.parametrize("letter", ["A", "B", "I"])
@pytest.mark.parametrize("written", ["{}", "({})", "{}.", "[{}]", "**{}**", "\\boxed{{{}}}", "$\\text{{{}}}$"])
def test_letters_of_multiple_choice_compare_as_letters(letter, written):
    said = written.format(letter)
    assert measure(said, [letter])["answer_contained"] == measure(letter, [said])["answer_contained"] == 1
    others = [other for other in "ABCI" if other != letter]
    assert not any(measure(said, others).values()) and not has_answer(f"it is {letter}", others)
    assert has_answer(f"it is {letter}", [letter])


@pytest.mark.parametrize(
    ("prediction", "letter"),
    [
        ("A", "A"),
        ("a.", "A"),
        ("(b) Paris", "B"),
        ("B) Paris", "B"),
        ("A. Paris", "A"),
        ("The answer is A.", "A"),
        ("The answer is (c)", "C"),
        ("the answer is B because A is wrong", "B"),
        ("Options: (A) x (B) y. The answer is (B).", "B"),
        ("Answer: **D**", "D"),
        ("The correct option is\nC", "C"),
        ("I think it is E", "E"),
        ("vitamin A", "A"),
        ("The answer is a dog", ""),
        ("A dog barks", ""),
        ("It is a dog", ""),
        ("I do not know", ""),
        ("A and B", ""),
        ("(A) or (B)", ""),
        ("John F. Kennedy", ""),
        ("", ""),
    ],
)
def test_the_letter_that_a_text_chooses(prediction, letter):
    assert chosen_letter(prediction) == letter
    for choice in "ABCDEFI":
        assert answer_contained(prediction, [choice]) == (choice == letter)
        assert (token_f1(prediction, [choice]) > 0) == (choice == letter)


def test_f1_of_a_letter_by_hand():
    # "answer", "is" and the letter against the letter: P = 1/3, R = 1.
    assert token_f1("The answer is A.", ["A"]) == token_f1("The answer is B.", ["B"]) == pytest.approx(0.5)
    assert exact_match("A.", ["A"]) == token_f1("A.", ["A"]) == rouge_l("A.", ["A"]) == 1
    assert exact_match("The answer is A.", ["A"]) == 0


@pytest.mark.parametrize("bad", [[], "Paris"])
def test_answers_must_be_a_sequence_of_answers(bad):
    with pytest.raises(ValueError, match="accepted answer"):
        exact_match("Paris", bad)


words = st.text(st.sampled_from("ab no. ,The"), max_size=12)


@given(words, st.lists(words, min_size=1, max_size=3))
def test_measures_agree_with_each_other(prediction, answers):
    scores = measure(prediction, answers)
    assert set(scores) == set(MEASURES) and all(0 <= score <= 1 for score in scores.values())
    assert scores["exact_match"] <= scores["token_f1"] and scores["rouge_l"] <= scores["token_f1"] + 1e-12
    assert measure(answers[0], answers)["token_f1"] == (1 if answers[0].strip() else measure("", answers)["token_f1"])
    assert not any(measure("", answers).values()), "nothing equals an empty prediction"
    # More answers never make a prediction worse.
    assert all(score <= measure(prediction, [*answers, "b a"])[name] for name, score in scores.items())
