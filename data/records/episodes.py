"""Records of problems with verifiers and of what a policy does on them. Plain Python, no further imports."""

from __future__ import annotations

from typing import Any, NamedTuple


class Observation(NamedTuple):
    """What an environment shows a policy at one turn.

    Attributes:
        text: words of this turn alone; what came before is in the episode.
        images: pictures of this turn, in the order in which the text speaks of them; none in worlds of text.
    """

    text: str
    images: tuple[Any, ...] = ()


class Problem(NamedTuple):
    """One task of a generated world or of a corpus with checkable answers.

    Attributes:
        id: "<world>/<split>/<index>", unique in its world.
        task: which family of the world it belongs to, for scores per family.
        prompt: what a policy reads first.
        answer: a right answer in canonical form; "" where a verifier accepts many and none is canonical.
        hidden: what the verifier knows beyond the prompt; hashable, private to the world that made it.
    """

    id: str
    task: str
    prompt: str
    answer: str
    hidden: tuple[Any, ...] = ()


class Grade(NamedTuple):
    """A verifier's judgement of one answer.

    Attributes:
        reward: in the unit of the world.
        solved: whether the answer is right: the 0/1 success that scores are made of.
        feedback: why it is wrong, in words; "" where it is right.
    """

    reward: float
    solved: bool
    feedback: str = ""


class Step(NamedTuple):
    """What follows an action: the next observation, the reward of the action, and whether the episode is over."""

    observation: Observation
    reward: float
    done: bool


class Episode(NamedTuple):
    """A policy's way through one problem: always one observation more than actions.

    Attributes:
        problem_id: id of the Problem.
        observations: what was shown, in order.
        actions: what the policy wrote, in order.
        rewards: one for every action.
        done: whether the environment ended it.
        solved: whether the problem was solved.
    """

    problem_id: str
    observations: tuple[Observation, ...]
    actions: tuple[str, ...]
    rewards: tuple[float, ...]
    done: bool
    solved: bool


TURN = "\x1e"
"""Stands between the actions of one episode where they are written as one text (ASCII's record separator)."""


class Turn(NamedTuple):
    """An action, and all that a policy reads between it and its next one; "" after the last."""

    action: str
    shown: str


class Answers(NamedTuple):
    """What a trained policy answers to one problem, and what its training cost.

    Attributes:
        example_id: id of the problem.
        samples: sampled answers; actions of several turns with ``TURN`` between them.
        greedy: the answer of greedy decoding.
        tokens: mean length of the sampled answers, the end mark included.
        rollout_tokens: tokens that training sampled, those for validation included.
        validation_tokens: the part of them that was sampled for validation.
        compute: token passes of training: 1 for a token read or sampled, 3 for one with gradients.
        mu: mean weight of imitation over the training's steps; NaN without a training.
        reached: 1 where a probe of the training found the success that was asked for, else 0; NaN where none was.
        compute_to_reach: token passes up to that probe, or of the whole training where there is none.
        rollouts_to_reach: sampled tokens up to it, those for validation included.
    """

    example_id: str
    samples: tuple[str, ...]
    greedy: str
    tokens: float
    rollout_tokens: int
    validation_tokens: int
    compute: int
    mu: float = float("nan")
    reached: float = float("nan")
    compute_to_reach: float = float("nan")
    rollouts_to_reach: float = float("nan")
