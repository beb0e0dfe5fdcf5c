"""Finding the way by instructions and landmarks, as text: a small relative of V-IRL (arXiv 2402.03310) on rails.

A route is a polyline over eight compass points. Instructions alternate a turn, told both ways ("turn left to face
west"), and a walk to a crossing, which a landmark may name; the last one names the destination. The rule says which
words are actions: ``absolute`` ("turn west") or, out of distribution, ``relative`` ("turn left"). A right action leads
to the next place, a wrong one costs 1 and is answered by the same view again.

Departures from the released environment (by what the AMFT sheet says of it):
    1. Differences of headings are wrapped to (-180, 180]: from 350 to 10 degrees is slightly right, not left.
    2. Observations are words; there are no pictures, and no penalty for what is said about crossings.
    3. Splits share no route, and landmarks of ``ood_landmarks`` occur nowhere else.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Literal, NamedTuple

from data.loading.seeding import check_split, generator, mixed
from data.records.episodes import Observation, Problem, Step
from data.records.texts import Demonstration
from data.worlds.environment import turn_by_turn
from data.worlds.wordlist import made_up_words

Rule = Literal["absolute", "relative"]

COMPASS = ("north", "northeast", "east", "southeast", "south", "southwest", "west", "northwest")
"""In steps of 45 degrees, clockwise from 0."""
RELATIVE = ("left", "slightly left", "slightly right", "right")
_TURNS = (-135, -90, -45, 45, 90, 135)
_MAX_ACTION = 40
_SHARES = MappingProxyType({"train": 0.8, "validation": 0.1, "test": 0.1})
_OUT_OF_DISTRIBUTION = MappingProxyType({"ood_rule": "relative", "ood_landmarks": "absolute"})


class Place(NamedTuple):
    """One stop of the way: what is seen, and the action that leads on."""

    view: str
    action: str


class Navigation:
    """See the module's text.

    Args:
        seed: of the splits and of every draw.
        shortest, longest: legs of a route.
        between: places between two crossings at most; each is left out with probability 0.5.
        landmarks: how many there are; ``unseen_landmarks`` of them are kept for ``ood_landmarks``.
        unseen_landmarks: at least one, fewer than ``landmarks``.
        tries: graded actions per place.
        ungraded_call: as released, one more call is accepted after the last graded try of a place, costs 1 and ends the
            episode; false ends it with the last graded try.
        shares: of the routes, for train, validation and test; by hash, so only nearly.
    """

    splits = ("train", "validation", "test", "ood_rule", "ood_landmarks")
    joint = " "
    """Stands between actions and views in a transcript."""

    def __init__(
        self,
        *,
        seed: int,
        shortest: int = 2,
        longest: int = 4,
        between: int = 2,
        landmarks: int = 30,
        unseen_landmarks: int = 8,
        tries: int = 2,
        ungraded_call: bool = True,
        shares: Mapping[str, float] = _SHARES,
    ) -> None:
        if not 1 <= shortest <= longest <= 8:
            raise ValueError(f"1 <= shortest <= longest <= 8 is wanted, got {shortest}, {longest}")
        if not 0 <= between <= 5:
            raise ValueError(f"between must lie in 0..5, got {between}")
        if not longest < landmarks - unseen_landmarks or not longest < unseen_landmarks:
            raise ValueError(
                f"a route of {longest} legs needs more than {longest} landmarks of either kind, got "
                f"{landmarks - unseen_landmarks} seen and {unseen_landmarks} unseen"
            )
        if tries < 1:
            raise ValueError(f"tries must be at least 1, got {tries}")
        if set(shares) != set(_SHARES) or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-9:
            raise ValueError(f"shares must be positive, add up to 1 and name {', '.join(_SHARES)}, got {dict(shares)}")
        self.seed = seed
        self.legs = (shortest, longest)
        self.between = between
        self.tries = tries
        self.ungraded_call = ungraded_call
        self.shares = dict(shares)
        names = made_up_words(landmarks, seed, "navigation", "landmarks", taken=_words())
        self.seen_landmarks = names[: landmarks - unseen_landmarks]
        self.unseen_landmarks = names[landmarks - unseen_landmarks :]
        self._split_seed = generator(seed, "navigation", "splits").getrandbits(64)

    def vocabulary(self) -> tuple[str, ...]:
        """Every word of prompts, views and actions."""
        return (*sorted(_words()), *self.seen_landmarks, *self.unseen_landmarks)

    def problem(self, split: str, index: int) -> Problem:
        """A route with its instructions; out of distribution the routes are those of the test."""
        check_split(split, self.splits, index)
        rng = generator(self.seed, "navigation", split, index)
        wanted = "test" if split in _OUT_OF_DISTRIBUTION else split
        while True:
            headings = self._headings(rng)
            if self.split_of(headings) == wanted:
                break
        rule = _OUT_OF_DISTRIBUTION.get(split, "absolute")
        known = self.unseen_landmarks if split == "ood_landmarks" else self.seen_landmarks
        instructions, places = self._way(rng, rule, headings, known)
        prompt = f"{rule} : {' ; '.join(instructions)} : {places[0].view}"
        return Problem(f"navigation/{split}/{index}", rule, prompt, "", (places, headings))

    def split_of(self, headings: tuple[int, ...]) -> str:
        """The split that a route belongs to; its headings in degrees, the first being that of the start."""
        place, total = mixed(self._split_seed, *headings) / 2**64, 0.0
        for split, share in self.shares.items():
            total += share
            if place < total:
                return split
        return "test"

    def expert(self, problem: Problem) -> tuple[str, ...]:
        """The shortest sequence of actions to the destination."""
        return tuple(place.action for place in problem.hidden[0])

    def demonstrations(self, problem: Problem) -> tuple[Demonstration, ...]:
        """The expert's actions, each after the transcript so far."""
        return turn_by_turn(self.environment(), problem, self.expert(problem), joint=self.joint)

    def lesson(self, index: int) -> Demonstration:
        """What the words of both rules mean: a turn told both ways is answered by the action of the rule."""
        rng = generator(self.seed, "navigation", "lesson", index)
        rule = rng.choice(("absolute", "relative"))
        before = 45 * rng.randrange(8)
        after = (before + rng.choice(_TURNS)) % 360
        prompt = f"{rule} : you face {COMPASS[before // 45]} : {_turn_instruction(before, after)}"
        return Demonstration(f"navigation/lesson/{index}", prompt, turn_action(rule, before, after))

    pretraining = lesson
    fact = lesson

    def environment(self) -> NavigationEnvironment:
        """A walk along one route."""
        return NavigationEnvironment(self)

    def _headings(self, rng: random.Random) -> tuple[int, ...]:
        headings = [45 * rng.randrange(8)]
        for _ in range(rng.randint(*self.legs)):
            headings.append((headings[-1] + rng.choice(_TURNS)) % 360)
        return tuple(headings)

    def _way(
        self, rng: random.Random, rule: str, headings: tuple[int, ...], known: tuple[str, ...]
    ) -> tuple[list[str], tuple[Place, ...]]:
        """Instructions, and every place with its view and right action."""
        landmarks = rng.sample(known, len(headings))
        others = [name for name in known if name not in landmarks]
        instructions, places = [], []
        view = f"you face {COMPASS[headings[0] // 45]} at a crossing"
        for leg, (before, after) in enumerate(pairwise(headings)):
            last = leg == len(headings) - 2
            named = last or rng.random() < 0.5
            target = f"the {landmarks[leg]}" if named else "the next crossing"
            instructions += [_turn_instruction(before, after), f"walk to {target}"]
            places += [Place(view, turn_action(rule, before, after))]
            for _ in range(sum(rng.random() < 0.5 for _ in range(self.between))):
                places.append(Place(self._street(rng, others, COMPASS[after // 45]), "forward"))
            places.append(Place(self._street(rng, others, COMPASS[after // 45]), "forward"))
            seen = f"you see the {landmarks[leg]}" if named else "you see nothing"
            view = seen if last else f"{seen} at a crossing"
        return instructions, (*places, Place(view, "stop"))

    @staticmethod
    def _street(rng: random.Random, others: list[str], heading: str) -> str:
        """A place that is no crossing: nothing to see, or a landmark that no instruction names."""
        seen = f"the {rng.choice(others)}" if others and rng.random() < 0.5 else "nothing"
        return f"you see {seen} facing {heading}"


class NavigationEnvironment:
    """A walk on rails: +1 and the next place for the right action, -1 and the same view for a wrong one."""

    def __init__(self, world: Navigation) -> None:
        self.world = world
        self.solved = False
        self._places: tuple[Place, ...] = ()
        self._at = self._tried = 0

    def reset(self, problem: Problem) -> Observation:
        """Show the instructions and the first view."""
        self._places, self._at, self._tried, self.solved = problem.hidden[0], 0, 0, False
        return Observation(problem.prompt)

    def step(self, action: str) -> Step:
        """Take an action; at most 40 characters of it are looked at."""
        if not self._places:
            raise ValueError("step needs a problem: call reset first, also after an episode's end")
        self._tried += 1
        if self._tried > self.world.tries:
            self._places = ()
            return Step(Observation(""), -1.0, True)
        place = self._places[self._at]
        if len(action) > _MAX_ACTION or action.strip(" ") != place.action:
            if self._tried == self.world.tries and not self.world.ungraded_call:
                self._places = ()
                return Step(Observation("wrong"), -1.0, True)
            return Step(Observation(f"wrong : {place.view}"), -1.0, False)
        self._at, self._tried = self._at + 1, 0
        if self._at == len(self._places):
            self._places, self.solved = (), True
            return Step(Observation(""), 1.0, True)
        return Step(Observation(self._places[self._at].view), 1.0, False)


def wrapped(difference: float) -> float:
    """A difference of headings in degrees, wrapped to (-180, 180]: positive is clockwise."""
    return 180 - (180 - difference) % 360


def relative_turn(before: float, after: float) -> str:
    """The relative word for turning from one heading to another, in degrees; ``ValueError`` for the same heading."""
    difference = wrapped(after - before)
    if difference == 0:
        raise ValueError(f"a turn needs two different headings, got {before} and {after}")
    if abs(difference) > 45:
        return "left" if difference < 0 else "right"
    return "slightly left" if difference < 0 else "slightly right"


def turn_action(rule: str, before: int, after: int) -> str:
    """The action that turns from one heading to another under a rule."""
    if rule not in ("absolute", "relative"):
        raise ValueError(f"rule must be absolute or relative, got {rule!r}")
    return f"turn {COMPASS[after // 45] if rule == 'absolute' else relative_turn(before, after)}"


def _turn_instruction(before: int, after: int) -> str:
    return f"turn {relative_turn(before, after)} to face {COMPASS[after // 45]}"


def _words() -> set[str]:
    texts = [*COMPASS, *RELATIVE, "absolute relative : ; turn to face walk to the next crossing you see nothing at a"]
    return set(" ".join((*texts, "forward stop wrong facing")).split())
