from collections import Counter
from math import exp

import pytest

from data.records.episodes import Problem
from data.worlds.environment import replay
from data.worlds.instructions.world import DIALECTS, MANNERS, TASKS, Instructions, carried_out, framed, read, spelt


@pytest.fixture(scope="module")
def world():
    return Instructions(seed=0)


def low(right=(4, 1, 3)):
    return Problem("instructions/test/0", "reverse", "flip : 3 1 4 ?", "", ("low", (3, 1, 4), right))


@pytest.mark.parametrize(
    ("task", "digits", "right"),
    [
        ("copy", (3, 1, 4), (3, 1, 4)),
        ("reverse", (3, 1, 4), (4, 1, 3)),
        ("sort", (3, 1, 4, 1), (1, 1, 3, 4)),
        ("add", (47, 5), (5, 2)),
        ("add", (0, 0), (0,)),
    ],
)
def test_tasks(task, digits, right):
    assert carried_out(task, digits) == right


@pytest.mark.parametrize(
    ("answer", "correct", "style", "extra", "total"),
    [
        ("it is 4 1 3 .", 1, 1.0, 2, 1 + 0.5 - 0.1),
        ("4 1 3 .", 1, 0.5, 0, 1.25),
        ("well you know it is 4 1 3 so there .", 1, 0.25, 7, 1 + 0.125 - 0.35),
        ("behold four one three .", 1, 0.0, 1, 0.95),
        ("four one three .", 1, 0.0, 0, 1.0),
        ("it is 3 1 4 .", 0, 1.0, 2, 0.4),
        ("it is 4 1 .", 0, 1.0, 1, 0.45),
        ("it is 4 one 3 .", 0, 0.0, 2, -0.1),
        ("it is 4 1 3", 0, 0.0, 1, -0.05),
        ("4 1 3 . .", 0, 0.0, 1, -0.05),
        ("it is  4 1 3 .", 0, 0.0, 3, -0.15),
        ("it is .", 0, 0.0, 0, 0.0),
        (" .", 0, 0.0, 0, 0.0),
        ("", 0, 0.0, 0, 0.0),
        ("4" * 401, 0, 0.0, 200, -10.0),
    ],
)
def test_gold_reward_by_hand(world, answer, correct, style, extra, total):
    gold = world.gold_reward(low(), answer)
    assert (gold.correct, gold.style, gold.extra_words) == (correct, style, extra)
    assert gold.total == pytest.approx(total)


def test_a_megabyte_costs_what_four_hundred_characters_cost(world):
    assert world.gold_reward(low(), "4 " * (1 << 19)) == world.gold_reward(low(), "4" * 401)


def test_the_canonical_answer_is_right_and_best_of_all_manners(world):
    for split in world.splits:
        for index in range(100):
            problem = world.problem(split, index)
            assert replay(world.environment(), problem, [problem.answer]).solved
            dialect, _, right = problem.hidden
            best = max(MANNERS, key=lambda manner: world.gold_reward(problem, framed(dialect, manner, right)).total)
            assert framed(dialect, best, right) == problem.answer


def test_prompts_keep_to_one_dialect(world):
    words = {dialect: set() for dialect in DIALECTS}
    for index in range(1000):
        problem = world.problem("train", index)
        words[problem.hidden[0]] |= set(problem.prompt.split())
    assert words["low"] & words["high"] == {":", "?", "+"}


def test_splits_share_no_task_and_digits(world):
    seen = {
        split: {(world.problem(split, index).task, world.problem(split, index).hidden[1]) for index in range(1500)}
        for split in world.splits
    }
    assert sum(map(len, seen.values())) == len(set().union(*seen.values()))
    assert {task for split in seen for task, _ in seen[split]} == set(TASKS)


def test_shares_of_the_splits(world):
    counts = Counter(world.split_of("copy", (a, b, c)) for a in range(10) for b in range(10) for c in range(10))
    for split, share in world.shares.items():
        assert counts[split] / 1000 == pytest.approx(share, abs=0.05)


def test_base_training_shows_nothing_of_validation_and_test(world):
    asked = {world.problem(split, index).prompt for split in ("validation", "test") for index in range(1500)}
    shown = [world.pretraining(index) for index in range(1500)]
    assert not asked & {item.prompt for item in shown}
    knowledge = sum(item.id.split("/")[1] == "knowledge" for item in shown)
    assert 300 < knowledge < 450


def test_knowledge_is_right(world):
    for index in range(300):
        item = world.knowledge(index)
        phrase, _, rest = item.prompt.partition(" : ")
        dialect = "low" if phrase in ("next after", "say high") else "high"
        asked = read(dialect, rest.removesuffix(" ?"))
        payload = item.response.removesuffix(" .")
        if phrase in ("next after", "heir of"):
            number, answer = (int("".join(map(str, digits))) for digits in (asked, read(dialect, payload)))
            assert answer == number + 1
        else:
            assert payload == spelt("high" if dialect == "low" else "low", asked)


def test_demonstrations_are_right_in_all_manners(world):
    styles = Counter()
    for index in range(600):
        problem = world.problem("train", index)
        gold = world.gold_reward(problem, world.demonstrations(problem)[0].response)
        assert gold.correct == 1
        styles[gold.style] += 1
    assert set(styles) == {1.0, 0.5, 0.25} and min(styles.values()) > 150


def test_slips_are_as_many_as_asked_for():
    world = Instructions(seed=0, slips=0.3)
    right = [
        world.gold_reward(
            world.problem("train", index), world.demonstrations(world.problem("train", index))[0].response
        )
        for index in range(600)
    ]
    assert sum(gold.correct for gold in right) / 600 == pytest.approx(0.7, abs=0.06)


def test_most_prompts_have_one_demonstration_and_some_four(world):
    items = [world.training(index) for index in range(800)]
    counts = Counter(item.id.partition("#")[0] for item in items)
    assert Counter(counts.values()) == {1: 720, 4: 20}
    assert len({item.id for item in items}) == 800
    assert Counter(Counter(Instructions(seed=0, repeated=0).training(i).id for i in range(50)).values()) == {1: 50}


def test_training_items_are_the_prompts_demonstrations(world):
    problem = world.problem("train", 0)
    assert world.training(0).response == world.demonstrations(problem)[0].response


def test_preferences_follow_bradley_terry(world):
    # Polite 1.4 against bare 1.25: sigmoid(0.15 / 0.25) = 0.6457; 4,000 draws have a standard error of 0.0076.
    draws = [world.prefer(low(), "it is 4 1 3 .", "4 1 3 .", draw=draw).chosen for draw in range(4000)]
    assert draws.count("it is 4 1 3 .") / 4000 == pytest.approx(1 / (1 + exp(-0.6)), abs=0.03)
    swapped = [world.prefer(low(), "4 1 3 .", "it is 4 1 3 .", draw=draw).chosen for draw in range(4000)]
    assert swapped.count("it is 4 1 3 .") / 4000 == pytest.approx(1 / (1 + exp(-0.6)), abs=0.03)


def test_a_clear_case_is_clear_and_authors_follow_their_answers():
    world = Instructions(seed=0, temperature=0.01)
    pair = world.prefer(low(), "it is 9 9 9 .", "it is 4 1 3 .", authors=("weak", "strong"))
    assert (pair.chosen, pair.chosen_author, pair.rejected_author) == ("it is 4 1 3 .", "strong", "weak")
    extreme = Instructions(seed=0, temperature=1e-9)
    assert extreme.prefer(low(), "4 " * 300, "4 1 3 .").chosen == "4 1 3 ."


def test_equal_answers_are_refused(world):
    with pytest.raises(ValueError, match="two different answers"):
        world.prefer(low(), "4 1 3 .", "4 1 3 .")


def test_off_policy_pairs_differ_and_mostly_prefer_the_better(world):
    better = 0
    for index in range(500):
        pair = world.preference(index)
        problem = world.problem("preference", index)
        assert pair.prompt == problem.prompt and pair.chosen != pair.rejected
        better += world.gold_reward(problem, pair.chosen).total >= world.gold_reward(problem, pair.rejected).total
    assert 0.75 < better / 500 < 0.97, "noisy, but not noise"


def test_the_vocabulary_is_small_and_complete(world):
    words = set(world.vocabulary())
    assert len(words) == len(world.vocabulary()) <= 128
    texts = []
    for index in range(400):
        pair = world.preference(index)
        item = world.pretraining(index)
        texts += [pair.prompt, pair.chosen, pair.rejected, item.prompt, item.response]
    assert set(" ".join(texts).split()) <= words
    assert max(len(text.split()) for text in texts) <= 24


def test_everything_is_a_function_of_the_arguments(world):
    again = Instructions(seed=0)
    assert world.problem("test", 3) == again.problem("test", 3) != Instructions(seed=1).problem("test", 3)
    assert world.training(3) == again.training(3) and world.preference(3) == again.preference(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shortest": 6}, "shortest <= longest"),
        ({"temperature": 0}, "temperature above 0"),
        ({"manners": {"polite": 1.0}}, "manners must be shares"),
        ({"slips": 2}, "slips must lie"),
        ({"shares": {"train": 1.0}}, "shares must be positive"),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        Instructions(seed=0, **change)
