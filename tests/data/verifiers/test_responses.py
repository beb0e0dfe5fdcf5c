import pytest

from data.verifiers.final_answer import asks_for_percent, correct, equivalent, final_answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("\\boxed{4} and \\boxed{5}", "5"),
        ("\\boxed 5", "5"),
        ("\\boxed{\\boxed{5}}", "5"),
        ("#### Step 2: add\nso 5.\n\nThe answer is 5.", "5."),
        ("#### **5**", "**5**"),
        ("<think>\\boxed{4}</think>The answer is 5.", "5."),
        ("**Answer:** 5", "5"),
        ("**Answer**: 5", "5"),
        ("**Answer: 5**", "5"),
        ("### Answer\n\n5", "5"),
        ("Answer:\n\\[\nx = 5\n\\]\nas wanted", "\\[ x = 5 \\]"),
        ("The answer to 2 + 3 is 5.", "5."),
        ("The answer is 5 sq. ft. in all", "5 sq. ft. in all"),
        ("The answer is 5 because 2 + 3 is", "5"),
        ("The answer is $3. 5$. More.", "$3. 5$."),
        ("The answer is 5. I hope it is correct.", "5."),
        ("The answer is 5!", "5"),
        ("The answer is 5! = 120", "5! = 120"),
        ("The answer is 4. The answer is", "4."),
        ("\\(5\\)", "\\(5\\)"),
        ("Paris", "Paris"),
        ("5 cm", "5 cm"),
        ("It is 5", None),
        ("I count 5", None),
        ("5\n6", None),
        ("The answer is", None),
    ],
)
def test_final_answers_of_models_that_chat(response, answer):
    assert final_answer(response) == answer


NOTHING = ["", " ", ".", "?", "...", "$$", "$", "\\(\\)", "**", "{}", "\\boxed{}", "\\text{}", "\\,", "~", "''"]


@pytest.mark.parametrize("nothing", NOTHING)
def test_an_answer_of_which_nothing_is_left_equals_nothing(nothing):
    for other in (*NOTHING, "0", "a", "the"):
        assert nothing == other or not equivalent(nothing, other)
        assert not correct(nothing, f"The answer is {other}") and not correct(other, nothing)
    assert not equivalent("", nothing) and not equivalent(nothing, "")


@pytest.mark.parametrize(
    ("problem", "asks"),
    [
        ("What percent of the squares is red?", True),
        ("What is the percentage increase?", True),
        ("By what percent did it rise?", True),
        ("Express the probability as a percentage.", True),
        ("Round to the nearest percent.", True),
        ("A tax of 8 percent is added. What is the price?", False),
        ("What is the price after 20 percent are taken off?", False),
        ("How many apples are there? 20% are red.", False),
    ],
)
def test_problems_that_ask_for_a_percentage(problem, asks):
    assert asks_for_percent(problem) == asks


def test_percent_is_a_hundredth_and_its_sign_may_be_left_out_only_where_it_is_asked_for():
    for gold, said in (("28", "28%"), ("28\\%", "28"), ("28", "28 percent")):
        assert not equivalent(gold, said) and not correct(gold, f"\\boxed{{{said}}}")
        assert equivalent(gold, said, percent=True) and correct(gold, f"\\boxed{{{said}}}", percent=True)
    for gold, said in (("28\\%", "28%"), ("28\\%", "0.28"), ("\\frac{7}{25}", "28 percent")):
        assert equivalent(gold, said) and equivalent(gold, said, percent=True)
    for gold, said in (("28", "0.28"), ("28", "2.8%"), ("28%", "29%"), ("28", "28 cm%")):
        assert not equivalent(gold, said, percent=True)
