from collections import Counter
from itertools import pairwise

import pytest

from data.worlds.environment import replay
from data.worlds.word_problems import Chain, WordProblems


@pytest.fixture(scope="module")
def world():
    return WordProblems(seed=0)


@pytest.mark.parametrize("split", WordProblems.splits)
def test_demonstrations_solve_their_story_and_each_line_is_right(world, split):
    for index in range(200):
        problem = world.problem(split, index)
        (shown,) = world.demonstrations(problem)
        assert replay(world.environment(), problem, [shown.response]).solved
        *lines, last = shown.response.split(" ; ")
        results = []
        for line in lines:
            left, right = line.split(" = ")
            assert eval(left) == int(right) and 0 <= int(right) <= 100
            results.append((left.split()[0], right))
        assert all(before[1] == after[0] for before, after in pairwise(results))
        assert last == f"answer {results[-1][1]} ."


@pytest.mark.parametrize("split", WordProblems.splits)
def test_stories_tell_the_numbers_of_their_chain_in_order(world, split):
    for index in range(100):
        problem = world.problem(split, index)
        (chain,) = problem.hidden
        told = [int(word) for word in problem.prompt.split() if word.isdigit()]
        wanted = [chain.values[0], *chain.operands]
        if split == "ood":
            assert len(told) == len(wanted) + 1
            assert any(told[:place] + told[place + 1 :] == wanted for place in range(1, len(told)))
        else:
            assert told == wanted


def test_grades_and_the_shift(world):
    grades = Counter(world.problem("test", index).task for index in range(600))
    assert set(grades) == {"grade 1", "grade 2", "grade 3"} and min(grades.values()) > 150
    assert {world.problem("ood", index).task for index in range(100)} == {"grade 4"}


def test_splits_share_no_chain(world):
    chains = {split: {world.problem(split, index).hidden[0] for index in range(400)} for split in world.splits}
    assert sum(map(len, chains.values())) == len(set().union(*chains.values()))


def test_base_training_is_right_and_shows_no_chain_that_is_asked(world):
    asked = {world.problem(split, index).hidden[0] for split in ("validation", "test", "ood") for index in range(400)}
    told = {
        f"{chain.values[0]} {chain.operators[0]} {chain.operands[0]}" for chain in asked if len(chain.operators) == 1
    }
    lengths = Counter()
    for index in range(600):
        lesson = world.pretraining(index)
        sums = [part for part in lesson.response.split(" ; ") if "=" in part]
        if lesson.prompt.endswith("="):
            assert eval(lesson.prompt[:-1]) == int(lesson.response.removesuffix(" ."))
            assert lesson.prompt.removesuffix(" =") not in told
        else:
            assert all(eval(one.split(" = ")[0]) == int(one.split(" = ")[1]) for one in sums)
            words = lesson.prompt.split()
            values = (int(words[0]), *(int(one.split(" = ")[1]) for one in sums))
            chain = Chain(tuple(words[1:-1:2]), tuple(map(int, words[2:-1:2])), values)
            assert chain not in asked and world.split_of(chain) == "train"
            lengths[len(sums)] += 1
    assert set(lengths) == {1, 2, 3, 4}


def test_a_chain_keeps_its_split_in_other_words(world):
    chain = Chain(("+", "*"), (4, 2), (3, 7, 14))
    assert world.split_of(chain) == world.split_of(chain)
    assert {world.split_of(chain._replace(operands=(4, number))) for number in range(60)} == set(world.shares)


@pytest.mark.parametrize(
    ("answer", "solved"),
    [
        ("answer 14 .", True),
        ("3 + 4 = 7 ; 7 * 2 = 14 ; answer 14 .", True),
        ("nonsense ; answer 14 .", True),
        ("answer 14", False),
        ("answer 14 . .", False),
        ("answer 014 .", False),
        ("answer 15 .", False),
        ("answer 14.0 .", False),
        ("answer 15 . ; answer 14 .", False),
        ("answer ١٤ .", False),
        ("myanswer 14 .", False),
        ("answer 14 .\n", False),
        ("", False),
        ("answer " + "1" * (1 << 20) + " .", False),
    ],
)
def test_answers(world, answer, solved):
    problem = world.problem("test", 0)._replace(answer="14")
    grade = world.grade(problem, answer)
    assert grade.solved == solved and grade.reward == float(solved) and bool(grade.feedback) != solved


def test_the_vocabulary_is_complete(world):
    words = set(world.vocabulary())
    assert len(words) == len(world.vocabulary())
    for split in world.splits:
        for index in range(200):
            problem = world.problem(split, index)
            assert set(f"{problem.prompt} {world.demonstrations(problem)[0].response}".split()) <= words


def test_problems_are_a_function_of_the_arguments(world):
    assert (
        world.problem("test", 3) == WordProblems(seed=0).problem("test", 3) != WordProblems(seed=1).problem("test", 3)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_grades": 4}, "train_grades must lie"),
        ({"largest": 10}, "largest must lie"),
        ({"shares": {"train": 1.0}}, "shares must be positive"),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        WordProblems(seed=0, **change)
