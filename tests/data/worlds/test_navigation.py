from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.worlds.environment import replay, rollouts
from data.worlds.navigation import COMPASS, Navigation, relative_turn, turn_action, wrapped


@pytest.fixture(scope="module")
def world():
    return Navigation(seed=0)


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        (350, 10, "slightly right"),  # +20 after wrapping; the unwrapped difference of -340 would say left
        (10, 350, "slightly left"),
        (0, 315, "slightly left"),
        (315, 0, "slightly right"),
        (0, 270, "left"),
        (270, 0, "right"),
        (0, 45, "slightly right"),
        (0, 46, "right"),
        (0, 135, "right"),
        (90, 0, "left"),
        (90, 45, "slightly left"),
        (225, 0, "right"),
        (0, 180, "right"),
        (180, 0, "right"),
    ],
)
def test_relative_turns_are_wrapped(before, after, word):
    assert relative_turn(before, after) == word


@given(st.integers(-1000, 1000), st.integers(-5, 5))
def test_whole_circles_change_nothing(difference, circles):
    assert -180 < wrapped(difference) <= 180
    assert wrapped(difference + 360 * circles) == wrapped(difference)
    assert (wrapped(difference) - difference) % 360 == 0


def test_no_turn_and_no_rule_are_refused():
    with pytest.raises(ValueError, match="two different headings"):
        relative_turn(90, 450)
    with pytest.raises(ValueError, match="rule must be"):
        turn_action("magnetic", 0, 90)


@pytest.mark.parametrize("split", Navigation.splits)
def test_the_expert_arrives_and_is_paid_one_for_every_action(world, split):
    for index in range(100):
        problem = world.problem(split, index)
        episode = replay(world.environment(), problem, world.expert(problem))
        assert episode.done and episode.solved and set(episode.rewards) == {1.0}
        assert episode.actions[-1] == "stop" and episode.actions[0].startswith("turn ")


@pytest.mark.parametrize("split", Navigation.splits)
def test_actions_follow_the_instructions(world, split):
    """Reads the prompt as a player would: both words of every turn, and the rule that says which one to use."""
    for index in range(100):
        problem = world.problem(split, index)
        rule, instructions, _ = problem.prompt.split(" : ")
        told = [
            line.removeprefix("turn ").split(" to face ") for line in instructions.split(" ; ") if " to face " in line
        ]
        turns = [action for action in world.expert(problem) if action.startswith("turn ")]
        assert turns == [f"turn {absolute if rule == 'absolute' else relative}" for relative, absolute in told]
        assert rule == ("relative" if split == "ood_rule" else "absolute")


def test_rules_and_landmarks_shift_one_at_a_time(world):
    seen, unseen = set(world.seen_landmarks), set(world.unseen_landmarks)
    assert not seen & unseen
    for split in world.splits:
        for index in range(150):
            problem = world.problem(split, index)
            words = set(" ".join([problem.prompt, *(place.view for place in problem.hidden[0])]).split())
            assert not words & (seen if split == "ood_landmarks" else unseen)
            assert words & (seen | unseen)


def test_splits_share_no_route(world):
    routes = {
        split: {world.problem(split, index).hidden[1] for index in range(1000)}
        for split in ("train", "validation", "test")
    }
    assert sum(map(len, routes.values())) == len(set().union(*routes.values()))
    for split in ("ood_rule", "ood_landmarks"):
        assert all(world.split_of(world.problem(split, index).hidden[1]) == "test" for index in range(200))


def test_routes_never_turn_back_and_have_their_legs(world):
    legs = Counter()
    for index in range(400):
        headings = world.problem("train", index).hidden[1]
        legs[len(headings) - 1] += 1
        for before, after in pairwise(headings):
            assert abs(wrapped(after - before)) in (45, 90, 135)
    assert set(legs) == {2, 3, 4}


def test_a_wrong_action_stays_and_may_be_mended(world):
    problem = world.problem("test", 0)
    env = world.environment()
    env.reset(problem)
    step = env.step("stop")
    assert (step.reward, step.done) == (-1.0, False)
    assert step.observation.text == f"wrong : {problem.hidden[0][0].view}"
    step = env.step(world.expert(problem)[0])
    assert (step.reward, step.done) == (1.0, False) and step.observation.text == problem.hidden[0][1].view


@pytest.mark.parametrize(("ungraded_call", "actions"), [(True, 3), (False, 2)])
def test_tries_run_out_at_one_place(ungraded_call, actions):
    world = Navigation(seed=0, ungraded_call=ungraded_call)
    (episode,) = rollouts(world.environment, [world.problem("test", 0)], lambda episodes: ["fly"] * len(episodes))
    assert episode.rewards == (-1.0,) * actions and episode.done and not episode.solved


def test_tries_are_counted_anew_at_every_place(world):
    problem = world.problem("test", 1)
    actions = [word for action in world.expert(problem) for word in ("fly", action)]
    episode = replay(world.environment(), problem, actions)
    assert episode.solved and episode.rewards == (-1.0, 1.0) * len(world.expert(problem))


def test_the_ungraded_call_cannot_save(world):
    problem = world.problem("test", 0)
    env = world.environment()
    env.reset(problem)
    env.step("fly"), env.step("fly")
    step = env.step(world.expert(problem)[0])
    assert (step.reward, step.done) == (-1.0, True) and not env.solved
    with pytest.raises(ValueError, match="call reset first"):
        env.step("fly")


@pytest.mark.parametrize(
    "action", ["", "turn", "turn WEST", "forward forward", "stop" * (1 << 18), "fоrward", "forward\x00"]
)
def test_only_the_words_of_an_action_are_one(world, action):
    problem = world.problem("test", 0)
    env = world.environment()
    env.reset(problem)
    for right in world.expert(problem):
        assert env.step(action).reward == -1
        assert env.step(f" {right} ").reward == 1


def test_demonstrations_are_transcripts(world):
    problem = world.problem("train", 0)
    shown = world.demonstrations(problem)
    assert [item.response for item in shown] == list(world.expert(problem))
    assert shown[0].prompt == problem.prompt
    for item, following in pairwise(shown):
        assert following.prompt.startswith(f"{item.prompt} {item.response} ")


def test_lessons_teach_both_rules(world):
    seen = Counter()
    for index in range(1000):
        lesson = world.lesson(index)
        rule, facing, told = lesson.prompt.split(" : ")
        relative, absolute = told.removeprefix("turn ").split(" to face ")
        before = 45 * COMPASS.index(facing.removeprefix("you face "))
        assert relative == relative_turn(before, 45 * COMPASS.index(absolute))
        assert lesson.response == f"turn {absolute if rule == 'absolute' else relative}"
        seen[rule, before, absolute] += 1
    assert len(seen) == 2 * 8 * 6


def test_the_vocabulary_is_complete(world):
    words = set(world.vocabulary())
    assert len(words) == len(world.vocabulary())
    for split in world.splits:
        for index in range(50):
            for item in world.demonstrations(world.problem(split, index)):
                assert set(f"{item.prompt} {item.response}".split()) <= words
    env = world.environment()
    env.reset(world.problem("test", 0))
    assert set(env.step("fly").observation.text.split()) <= words


def test_problems_are_a_function_of_the_arguments(world):
    assert world.problem("test", 3) == Navigation(seed=0).problem("test", 3) != Navigation(seed=1).problem("test", 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shortest": 5}, "shortest <= longest"),
        ({"between": 6}, "between must lie"),
        ({"unseen_landmarks": 4}, "needs more than 4 landmarks"),
        ({"tries": 0}, "tries must be"),
        ({"shares": {"train": 1.0}}, "shares must be positive"),
    ],
)
def test_settings_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        Navigation(seed=0, **change)
