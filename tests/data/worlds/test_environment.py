import pytest

from data.records.episodes import Episode, Grade, Observation, Problem, Step
from data.records.texts import Demonstration
from data.worlds.environment import SingleTurn, one_turn, replay, rollouts, transcript, turn_by_turn


class Countdown3:
    """Ends at the third action; solved when that action is "go"."""

    def __init__(self):
        self.solved, self.turn = False, 0

    def reset(self, problem):
        self.turn, self.solved = 0, False
        return Observation(problem.prompt)

    def step(self, action):
        self.turn += 1
        self.solved = self.turn == 3 and action == "go"
        return Step(Observation(f"turn {self.turn}"), float(self.turn), self.turn == 3)


def problem(name, answer="yes"):
    return Problem(name, "task", f"prompt of {name}", answer)


def grade(problem, answer):
    right = answer == problem.answer
    return Grade(float(right), right, "" if right else "no")


def test_one_turn_is_graded_and_over():
    env = SingleTurn(grade)
    assert env.reset(problem("a")) == Observation("prompt of a")
    assert env.step("yes") == Step(Observation(""), 1.0, True) and env.solved
    env.reset(problem("a"))
    assert not env.solved
    assert env.step("maybe") == Step(Observation("no"), 0.0, True) and not env.solved


def test_a_step_after_the_end_or_before_reset_is_refused():
    env = SingleTurn(grade)
    with pytest.raises(ValueError, match="call reset first"):
        env.step("yes")
    env.reset(problem("a"))
    env.step("yes")
    with pytest.raises(ValueError, match="call reset first"):
        env.step("yes")


def test_rollouts_step_only_unfinished_episodes_and_keep_their_order():
    problems = [problem("a", "x"), problem("b", "y"), problem("a", "x")]
    seen = []

    def policy(episodes):
        seen.append([episode.problem_id for episode in episodes])
        return ["x"] * len(episodes)

    episodes = rollouts(lambda: SingleTurn(grade), problems, policy)
    assert seen == [["a", "b", "a"]]
    assert [episode.solved for episode in episodes] == [True, False, True]
    assert episodes[1].observations == (Observation("prompt of b"), Observation("no"))
    assert episodes[1].rewards == (0.0,) and all(episode.done for episode in episodes)


def test_rollouts_of_several_turns_show_the_policy_the_history():
    def policy(episodes):
        return ["go" if len(episode.actions) == 2 else "wait" for episode in episodes]

    (episode,) = rollouts(Countdown3, [problem("a")], policy)
    assert episode.actions == ("wait", "wait", "go") and episode.rewards == (1.0, 2.0, 3.0)
    assert [observation.text for observation in episode.observations] == ["prompt of a", "turn 1", "turn 2", "turn 3"]
    assert episode.done and episode.solved


def test_rollouts_stop_at_the_turn_limit_without_pretending_an_end():
    (episode,) = rollouts(Countdown3, [problem("a")], lambda episodes: ["wait"] * len(episodes), max_turns=2)
    assert not episode.done and len(episode.actions) == 2


def test_a_policy_that_writes_too_few_actions_is_refused():
    with pytest.raises(ValueError, match="2 wanted, got 1"):
        rollouts(Countdown3, [problem("a"), problem("b")], lambda episodes: ["go"])


def test_replay_stops_where_the_episode_ends():
    episode = replay(Countdown3(), problem("a"), ("w", "w", "go", "w", "w"))
    assert episode.solved and len(episode.actions) == 3


def test_one_turn_pairs_the_prompt_with_the_action():
    assert one_turn(problem("a"), "yes") == (Demonstration("a", "prompt of a", "yes"),)


def test_demonstrations_turn_by_turn_show_what_came_before():
    shown = turn_by_turn(Countdown3(), problem("a"), ("w", "v", "go"), joint=" / ")
    assert shown == (
        Demonstration("a#0", "prompt of a", "w"),
        Demonstration("a#1", "prompt of a / w / turn 1", "v"),
        Demonstration("a#2", "prompt of a / w / turn 1 / v / turn 2", "go"),
    )


def test_an_expert_who_fails_is_refused():
    with pytest.raises(ValueError, match="do not solve a"):
        turn_by_turn(Countdown3(), problem("a"), ("w", "v", "w"), joint=" ")


def test_a_transcript_leaves_empty_feedback_out():
    episode = Episode(
        "a", (Observation("ask"), Observation(""), Observation("why")), ("x", "y"), (0.0, 0.0), False, False
    )
    assert transcript(episode, "\n") == "ask\nx\ny\nwhy"
