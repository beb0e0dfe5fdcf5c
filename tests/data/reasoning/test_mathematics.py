"""Real problem sets as the splits of a training on rewards, and the rows of hub sets by their cards' field names."""

import pytest

from data.reasoning import problem_sets
from data.reasoning.mathematics import Mathematics
from data.reasoning.problem_sets import (
    ProblemSet,
    chat_row,
    choice_row,
    diamond_row,
    olympiad_row,
    options_row,
)
from data.reasoning.verified_problems import VerifiedProblems


def made(name, split, rows, reader="grade_school"):
    found = ProblemSet(name=name, files={split: "x"}, reader=reader)
    found._read[split] = rows
    return found


def world(**options):
    train = [("t", f"train {number}", str(number), f"it is \\boxed{{{number}}}") for number in range(10)]
    test = {name: made(name, "test", [(name, f"{name} {at}", str(at), "") for at in range(3)]) for name in ("a", "b")}
    ood = {"c": made("c", "test", [("c", "which?", "B", "")])}
    return Mathematics(seed=0, train=made("set", "train", train), test=test, ood=ood, **{"validation": 4, **options})


def test_validation_is_taken_from_train_and_shares_nothing_with_it():
    dealt = world()
    assert [dealt.size(split) for split in dealt.splits] == [6, 4, 6, 1]
    asked = {split: {dealt.problem(split, at).prompt for at in range(dealt.size(split))} for split in dealt.splits}
    assert not asked["train"] & asked["validation"] and len(asked["train"] | asked["validation"]) == 10
    assert [dealt.problem("test", at).task for at in range(6)] == ["a"] * 3 + ["b"] * 3
    assert dealt.problem("test", 4).prompt.startswith("b 1\n") and "\\boxed{}" in dealt.problem("test", 4).prompt
    with pytest.raises(ValueError, match="past the end"):
        dealt.problem("ood", 1)


def test_solutions_are_demonstrations_and_answers_are_graded_by_their_set():
    dealt = world()
    for at in range(6):
        problem = dealt.problem("train", at)
        (shown,) = dealt.demonstrations(problem)
        assert shown.prompt == problem.prompt and dealt.grade(problem, shown.response).solved
    choice = dealt.problem("ood", 0)
    assert dealt.demonstrations(choice) == ()
    assert dealt.grade(choice, "the answer is \\boxed{B}").solved and not dealt.grade(choice, "\\boxed{C}").solved


def test_a_sign_of_percent_may_be_left_out_where_a_percentage_is_asked_for():
    rows = [("t", "What percent of them are red?", "28", ""), ("t", "How many are red?", "28", "")]
    asked = made("set", "test", rows)
    grades = [[asked.grade(asked.problem("test", at), said).solved for said in ("28%", "28")] for at in (0, 1)]
    assert grades == [[True, True], [False, True]]


def test_a_training_asks_for_no_more_than_there_is():
    data = VerifiedProblems(world=world(), seed=0, name="mathematics", test=100, ood=100, validation=4, batch_size=2)
    assert data.vocabulary is None and not data.several_turns
    assert len(data.items("test")) == 7 and len(data.items("train")) == 6 and len(data.items("dev")) == 4
    assert {item.response[:3] for item in data.items("train", 6)} == {"it "} and len(data.held_out(0, 4)) == 4
    item = data.items("test")[1]
    assert data.solved(item.id, "\\boxed{1}") and not data.solved(item.id, "\\boxed{2}")


def test_rows_of_hub_sets_by_hand():
    chat = {
        "data_source": "openr1",
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
        "target": [{"role": "assistant", "content": "w"}],
        "reward_model": {"ground_truth": "7"},
    }
    assert chat_row(chat) == ("openr1", "q", "7", "w")
    assert olympiad_row({"question": "q", "final_answer": ["$3$"]}) == ("olympiad", "q", "3", "")
    arc = {"question": "q", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"}
    assert choice_row(arc) == ("choice", "q\n\nA) x\nB) y", "B", "")
    assert options_row({"question": "q", "options": ["x", "y"], "answer_index": 0, "category": "law"})[:3] == (
        "law", "q\n\nA) x\nB) y", "A",
    )  # fmt: skip
    wrong = {f"Incorrect Answer {number}": f"w{number}" for number in (1, 2, 3)}
    places = set()
    for number in range(40):
        task, prompt, letter, _ = diamond_row({"Question": f"q{number}", "Correct Answer": " right ", **wrong})
        assert task == "gpqa" and f"{letter}) right" in prompt
        places.add(letter)
    assert places == set("ABCD")


def test_hub_sets_are_read_by_split(monkeypatch):
    asked = []

    def read_hub(hub, **options):
        asked.append((hub, options))
        return [{"question": "q", "answer": "1"}]

    monkeypatch.setattr(problem_sets, "read_hub", read_hub)
    found = ProblemSet(name="n", reader="grade_school", hub={"test": {"id": "a/b", "split": "train"}})
    assert found.size("test") == 1 and asked == [("a/b", {"split": "train", "config": None, "revision": None})]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: world(validation=0), "validation"),
        (lambda: world(validation=10).size("train"), "leaves none"),
        (lambda: world(instruction="no place"), "instruction"),
        (lambda: Mathematics(seed=0, train=made("s", "train", []), test={}, ood={}), "at least one set"),
        (lambda: ProblemSet(name="n", reader="chat", files={"a": "x"}, hub={"a": {"id": "b"}}), "not in both"),
    ],
)
def test_bad_options_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
