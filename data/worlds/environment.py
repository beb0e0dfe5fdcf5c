"""One small protocol for environments of one turn or many, and the loop that steps many of them together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from data.records.episodes import Episode, Grade, Observation, Problem, Step
from data.records.texts import Demonstration

Policy = Callable[[Sequence[Episode]], Sequence[str]]
"""Writes one action for each unfinished episode that it is given, in order."""


class Environment(Protocol):
    """One problem at a time. ``solved`` tells whether the current problem has been solved."""

    solved: bool

    def reset(self, problem: Problem) -> Observation:
        """Begin a problem and show it."""
        ...

    def step(self, action: str) -> Step:
        """Take one action; ``ValueError`` before ``reset`` and after the end."""
        ...


class World(Protocol):
    """A source of problems whose answers are checked exactly. Every method is a pure function of seed and arguments."""

    seed: int
    splits: tuple[str, ...]

    def problem(self, split: str, index: int) -> Problem:
        """The problem at a position of a split; positions have no upper end unless the world says so."""
        ...

    def demonstrations(self, problem: Problem) -> tuple[Demonstration, ...]:
        """What an expert does: one demonstration per turn, whose prompt is the transcript so far."""
        ...

    def environment(self) -> Environment:
        """A fresh environment for this world's problems."""
        ...


class SingleTurn:
    """An environment of one turn: the prompt, one answer, its grade, the end.

    Args:
        grade: judges an answer; must return in bounded time whatever the answer is.
    """

    def __init__(self, grade: Callable[[Problem, str], Grade]) -> None:
        self.grade = grade
        self.solved = False
        self._problem: Problem | None = None

    def reset(self, problem: Problem) -> Observation:
        """Show the prompt."""
        self._problem, self.solved = problem, False
        return Observation(problem.prompt)

    def step(self, action: str) -> Step:
        """Grade the answer; the observation is the feedback."""
        if self._problem is None:
            raise ValueError("step needs a problem: call reset first, also after an episode's end")
        grade = self.grade(self._problem, action)
        self._problem, self.solved = None, grade.solved
        return Step(Observation(grade.feedback), grade.reward, True)


def rollouts(
    environment: Callable[[], Environment], problems: Sequence[Problem], policy: Policy, *, max_turns: int = 1_000
) -> list[Episode]:
    """Play all problems together: at every turn the policy gets the unfinished episodes as one batch.

    Args:
        environment: makes one environment per problem.
        problems: may recur, as in the groups of GRPO.
        policy: see ``Policy``.
        max_turns: episodes that are not over by then are returned with ``done`` false.

    Raises:
        ValueError: the policy wrote another number of actions than there were episodes.
    """
    environments = [environment() for _ in problems]
    episodes = [
        Episode(problem.id, (env.reset(problem),), (), (), done=False, solved=False)
        for env, problem in zip(environments, problems, strict=True)
    ]
    for _ in range(max_turns):
        active = [index for index, episode in enumerate(episodes) if not episode.done]
        if not active:
            break
        actions = policy([episodes[index] for index in active])
        if len(actions) != len(active):
            raise ValueError(f"the policy must write one action per episode: {len(active)} wanted, got {len(actions)}")
        for index, action in zip(active, actions, strict=True):
            episode, env = episodes[index], environments[index]
            step = env.step(action)
            episodes[index] = Episode(
                episode.problem_id,
                (*episode.observations, step.observation),
                (*episode.actions, action),
                (*episode.rewards, step.reward),
                step.done,
                env.solved,
            )
    return episodes


def replay(environment: Environment, problem: Problem, actions: Sequence[str]) -> Episode:
    """Play given actions in order; stops where the environment ends the episode."""
    remaining = list(actions)
    environments = [environment]

    def policy(episodes: Sequence[Episode]) -> list[str]:
        return [remaining.pop(0)]

    (episode,) = rollouts(environments.pop, [problem], policy, max_turns=len(remaining))
    return episode


def transcript(episode: Episode, joint: str) -> str:
    """What a policy reads at its next turn: everything shown and done so far, in order.

    Args:
        episode: not over, so that it ends with an observation.
        joint: stands between two pieces: " " where texts are words, a line break where they are characters.
    """
    pieces = [episode.observations[0].text]
    for action, observation in zip(episode.actions, episode.observations[1:], strict=True):
        pieces += [action, observation.text]
    return joint.join(piece for piece in pieces if piece)


def one_turn(problem: Problem, action: str) -> tuple[Demonstration]:
    """The demonstrations of a single-turn world."""
    return (Demonstration(problem.id, problem.prompt, action),)


def turn_by_turn(
    environment: Environment, problem: Problem, actions: Sequence[str], *, joint: str
) -> tuple[Demonstration, ...]:
    """One demonstration per action, each with the transcript before it as its prompt.

    Raises:
        ValueError: the actions do not solve the problem.
    """
    episode = replay(environment, problem, actions)
    if not episode.solved:
        raise ValueError(f"the expert's actions do not solve {problem.id}: {list(actions)}")
    shown = []
    for turn, action in enumerate(episode.actions):
        before = episode._replace(observations=episode.observations[: turn + 1], actions=episode.actions[:turn])
        shown.append(Demonstration(f"{problem.id}#{turn}", transcript(before, joint), action))
    return tuple(shown)
