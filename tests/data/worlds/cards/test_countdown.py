import pytest

from data.worlds.cards.countdown import ANY_TARGET, Countdown, Line
from data.worlds.cards.difficulty import measure
from data.worlds.environment import replay


@pytest.fixture(scope="module")
def world():
    return Countdown(seed=0)


def hand_of(problem):
    return tuple(sorted(problem.hidden[0]))


def test_sizes_are_those_of_the_sheet(world):
    # C(22, 3) = 1,540 multisets of three values up to 20; C(25, 3) - 1,540 = 760 with a value above it.
    assert {name: len(hands) for name, hands in world.hands.items()} == {
        "train": 1155, "validation": 154, "test": 231, "lessons": 380, "ood": 380,
    }  # fmt: skip
    assert len(set(world.vocabulary())) == len(world.vocabulary()) == 212


def test_no_multiset_of_values_is_in_two_splits(world):
    hands = {split: {hand_of(world.problem(split, index)) for index in range(2000)} for split in world.splits}
    for split, others in ((a, b) for a in hands for b in hands if a != b):
        assert not hands[split] & hands[others], (split, others)


def test_pretraining_shows_no_hand_that_is_asked(world):
    asked = world.hands["validation"] | world.hands["test"] | world.hands["ood"]
    for index in range(3000):
        values = tuple(sorted(map(int, world.pretraining(index).response.split()[:3])))
        assert values not in asked


def test_problems_are_a_function_of_seed_split_and_index(world):
    assert world.problem("test", 5) == Countdown(seed=0).problem("test", 5)
    assert world.problem("test", 5) != Countdown(seed=1).problem("test", 5)
    assert world.problem("test", 5).prompt != world.problem("test", 6).prompt


def test_rules_differ_only_in_the_cards_above_the_cap(world):
    for index in range(300):
        for split in world.splits:
            problem = world.problem(split, index)
            rule, *cards, target, colon = problem.prompt.split()
            cards = list(map(int, cards))
            assert colon == ":" and int(target) in world.targets
            if split == "ood":
                assert rule == "face" and max(cards) > 20 and problem.hidden[0] == tuple(cards)
            else:
                assert rule == "capped" and problem.hidden[0] == tuple(min(card, 20) for card in cards)


@pytest.mark.parametrize("split", Countdown.splits)
def test_demonstrations_solve_their_problem(world, split):
    for index in range(300):
        problem = world.problem(split, index)
        (demonstration,) = world.demonstrations(problem)
        assert replay(world.environment(), problem, [demonstration.response]).solved
        assert len(demonstration.response.split()) == 16
        assert set((problem.prompt + " " + demonstration.response).split()) <= set(world.vocabulary())


def test_derivations_by_hand(world):
    # 1, 2 and 3 reach 9 as (1 + 2) * 3 and in no other way; lines carry the larger operand first.
    assert world.derivations((3, 1, 2))[9] == ((Line(2, "+", 1, 3), Line(3, "*", 3, 9)),)
    # 7 needs 2 * 3 + 1, or 2 * 3 = 6 ... and 3 * 2 is the same line.
    assert world.derivations((1, 2, 3))[7] == ((Line(3, "*", 2, 6), Line(6, "+", 1, 7)),)
    # 20 * 20 exceeds 200, and 2 - 20 is negative: neither is a line.
    assert all(line.result <= 200 for pair in world.derivations((20, 20, 20)).values() for line in pair[0])
    assert 0 in world.derivations((1, 2, 3)) and min(world.derivations((1, 2, 3))) == 0


def given_problem(world, values, target):
    return world.problem("test", 0)._replace(hidden=(values, target))


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("20 3 2 ; 20 + 3 = 23 ; 23 + 2 = 25 .", ""),
        ("20 3 2 ; 3 + 20 = 23 ; 2 + 23 = 25 .", ""),
        ("20 3 2 ; 3 + 2 = 5 ; 20 + 5 = 25 .", ""),
        ("22 3 2 ; 20 + 3 = 23 ; 23 + 2 = 25 .", "not the values"),
        ("3 20 2 ; 20 + 3 = 23 ; 23 + 2 = 25 .", "not the values"),
        ("20 3 2 ; 20 + 3 = 24 ; 24 + 2 = 26 .", "a line is wrong"),
        ("20 3 2 ; 20 + 3 = 23 ; 23 + 2 = 26 .", "a line is wrong"),
        ("20 3 2 ; 20 + 2 = 22 ; 22 + 2 = 24 .", "not there"),
        ("20 3 2 ; 20 + 5 = 25 ; 25 * 1 = 25 .", "not there"),
        ("20 3 2 ; 20 + 3 = 23 ; 20 + 2 = 22 .", "not there"),
        ("20 3 2 ; 20 * 3 = 60 ; 60 / 2 = 30 .", "the result is 30, not 25"),
        ("20 3 2 ; 20 / 3 = 6 ; 6 * 2 = 12 .", "a line is wrong"),
        ("20 3 2 ; 2 - 3 = -1 ; 20 - -1 = 21 .", "numbers are integers"),
        ("20 3 2 ; 20 + 03 = 23 ; 23 + 2 = 25 .", "numbers are integers"),
        ("20 3 2 ; 20 + ٣ = 23 ; 23 + 2 = 25 .", "numbers are integers"),
        ("20 3 2 ; 20 ** 3 = 23 ; 23 + 2 = 25 .", "operators are"),
        ("20 3 2 ; 20 + 3 = 23 ; 23 + 2 = 25", "the form is"),
        ("20 3 2 ; 20 + 3 = 23 ; 23 + 2 = 25 . .", "the form is"),
        ("20 3 2  ; 20 + 3 = 23 ; 23 + 2 = 25 .", "the form is"),
        ("", "the form is"),
    ],
)
def test_grades(world, answer, fault):
    grade = world.grade(given_problem(world, (20, 3, 2), 25), answer)
    assert grade.solved == (not fault) and grade.reward == float(not fault)
    assert fault in grade.feedback and bool(grade.feedback) == bool(fault)


def test_division_by_zero_is_a_wrong_line(world):
    grade = world.grade(given_problem(world, (5, 5, 3), 25), "5 5 3 ; 5 - 5 = 0 ; 3 / 0 = 25 .")
    assert grade.feedback == "a line is wrong"


def test_lessons_are_right_and_identify_both_rules(world):
    facts = [world.fact(index) for index in range(500)]
    for fact in facts:
        rule, *cards, _ = fact.prompt.split()
        values = [min(int(card), 20) if rule == "capped" else int(card) for card in cards]
        assert fact.response.split() == [*map(str, values), "."]
    seen = {(fact.prompt.split()[0], card) for fact in facts for card in fact.prompt.split()[1:4]}
    assert {(rule, str(rank)) for rule in ("capped", "face") for rank in range(1, 24)} <= seen


def test_derivation_lessons_hold_no_target(world):
    for index in range(200):
        lesson = world.derivation(index)
        assert lesson.prompt.split()[4] == ANY_TARGET
        values = tuple(map(int, lesson.response.split()[:3]))
        reached = int(lesson.response.split()[14])
        assert world.grade(given_problem(world, values, reached), lesson.response).solved


def test_share_of_facts(world):
    kinds = [world.pretraining(index).id.split("/")[1] for index in range(3000)]
    assert kinds.count("fact") / 3000 == pytest.approx(1 / 3, abs=0.03)


def test_difficulty_is_measured(world):
    pairs = [(hand, target) for hand in sorted(world.hands["test"]) for target in world.targets]
    found = measure(pairs, lambda pair: len(world.derivations(pair[0]).get(pair[1], ())))
    assert found.draws == 231 * 51
    assert 0.1 < found.share_solvable < 0.15 and 1.9 < found.mean_solutions < 2.3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cap": 23}, "cap < highest_rank"),
        ({"lowest_target": 61}, "targets must lie"),
        ({"highest_target": 201}, "targets must lie"),
        ({"fact_share": 1.5}, "fact_share must lie"),
        ({"shares": {"train": 1.0}}, "shares name"),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        Countdown(seed=0, **change)
