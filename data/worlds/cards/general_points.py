"""GeneralPoints: the 24 game with cards, checked over several tries (Chu et al. 2025, arXiv 2501.17161).

Four ranks are drawn independently from 1-13 until the hand can be won. Under the rule ``ten`` J, Q and K count 10;
under ``face``, asked only out of distribution, they count 11, 12 and 13 and at least one of them is dealt.

Departures from the released environment (by what the AMFT sheet says of it):
    1. Fractions, not floats: ``8/(3-8/3)`` wins. Only + - * / and brackets over integers are formulas.
    2. A hand that cannot be won is never asked (about a quarter of all draws).
    3. Splits share no multiset of values; the release has no held-out split.
    4. ``+1`` is given to a formula with the right numbers that only lacks closing brackets to win: with all numbers
       written, nothing else can complete a prefix.
    5. A reply longer than ``MAX_REPLY`` characters is illegal without being read.
    6. Lessons (``lesson``) teach what J, Q and K are worth under each rule, so that the rule can be identified.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from itertools import combinations_with_replacement
from types import MappingProxyType
from typing import Literal, NamedTuple

from data.loading.seeding import carved, check_split, generator
from data.records.episodes import Grade, Observation, Problem, Step
from data.records.texts import Demonstration
from data.verifiers.expressions import FormulaSyntaxError, IllegalTextError, evaluate, tokens_of, worked
from data.worlds.cards.solver import solutions, solvable
from data.worlds.environment import one_turn, replay, transcript

Style = Literal["compact", "worked", "json"]
RewardKind = Literal["shaped", "success"]

TEN, FACE = "ten", "face"
HIGHEST_RANK = 13
HAND_SIZE = 4
MAX_REPLY = 4096
LARGEST_STEP = 100
"""Lessons of the style ``worked`` show no larger result; demonstrations none where a hand can be won without."""
_SYMBOLS = {11: "J", 12: "Q", 13: "K"}
_RULE_SENTENCES = {TEN: "J, Q and K count as 10.", FACE: "J, Q and K count as 11, 12 and 13."}
_FORMULA_FIELD = re.compile(r'"formula"\s{0,8}:\s{0,8}"([^"\\]{0,300})"')
_FEEDBACK_WORDS = ("long", "none", "illegal", "close", "form", "zero", "use")
_ID_SHARES = MappingProxyType({"train": 0.8, "validation": 0.1, "test": 0.1})
_OOD_SHARES = MappingProxyType({"lessons": 0.5, "ood": 0.5})


class Rewards(NamedTuple):
    """Rewards of one try; faults of one formula add up (wrong numbers and no formula: -5)."""

    correct: float = 5.0
    partial: float = 1.0
    wrong_value: float = -1.0
    wrong_numbers: float = -2.0
    illegal: float = -3.0
    truncated: float = -1.0


class GeneralPoints:
    """See the module's text.

    Args:
        seed: of the splits and of every draw.
        target: what a hand must make.
        style: ``compact``: characters, ``rule|cards>`` answered by ``numbers;formula``, for small models; ``worked``:
            the same with the operations, one by one, before the formula (``3,10,10,2;10-2=8;...;formula``), which is
            to a small model what reasoning is to a large one; only the formula counts;
            ``json``: sentences, answered by an object with the keys cards, number and formula.
        reward: ``shaped``: as released, see ``Rewards``; ``success``: 1 for a win, else 0.
        verify_steps: graded tries per problem; every failed one is answered by the reason.
        ungraded_call: as released, one more call is accepted after the last graded try, costs ``truncated`` and ends
            the episode; false ends it with the last graded try, which saves a rollout that cannot win.
        shares: of the winnable multisets up to 10, for train, validation and test.
        ood_shares: of the winnable multisets with a value above 10: ``lessons`` may show their values, ``ood`` tests.
    """

    splits = ("train", "validation", "test", "ood")
    joint = "\n"
    """Stands between replies and feedback in a transcript."""
    separator = ""
    """Of the vocabulary: texts are characters."""

    def __init__(
        self,
        *,
        seed: int,
        target: int = 24,
        style: Style = "compact",
        reward: RewardKind = "shaped",
        verify_steps: int = 5,
        ungraded_call: bool = True,
        shares: Mapping[str, float] = _ID_SHARES,
        ood_shares: Mapping[str, float] = _OOD_SHARES,
    ) -> None:
        if style not in ("compact", "worked", "json"):
            raise ValueError(f"style must be compact, worked or json, got {style!r}")
        if reward not in ("shaped", "success"):
            raise ValueError(f"reward must be shaped or success, got {reward!r}")
        if verify_steps < 1:
            raise ValueError(f"verify_steps must be at least 1, got {verify_steps}")
        if not 1 <= target <= 999:
            raise ValueError(f"target must lie in 1..999, got {target}")
        if set(shares) != set(_ID_SHARES) or set(ood_shares) != set(_OOD_SHARES):
            raise ValueError(f"shares name {', '.join(_ID_SHARES)}, ood_shares {', '.join(_OOD_SHARES)}")
        self.seed = seed
        self.target = target
        self.style = style
        self.reward = reward
        self.verify_steps = verify_steps
        self.ungraded_call = ungraded_call
        every = list(combinations_with_replacement(range(1, HIGHEST_RANK + 1), HAND_SIZE))
        low = [hand for hand in every if hand[-1] <= 10 and solvable(hand, target)]
        high = [hand for hand in every if hand[-1] > 10 and solvable(hand, target)]
        self.hands = {
            **carved(low, shares, seed, "general_points", "id"),
            **carved(high, ood_shares, seed, "general_points", "ood"),
        }
        self._asked = self.hands["validation"] | self.hands["test"] | self.hands["ood"]

    def vocabulary(self) -> tuple[str, ...]:
        """Every character of prompts, replies, lessons and feedback, in the styles for small models."""
        words = "".join((TEN, FACE, *_FEEDBACK_WORDS))
        marks = "0123456789+-*/()=,;|>JQK" + ("?" if self.style == "worked" else "")
        return tuple(sorted(set(marks + self.joint + words)))

    def problem(self, split: str, index: int) -> Problem:
        """A hand that can be won."""
        check_split(split, self.splits, index)
        rng = generator(self.seed, "general_points", split, index)
        rule = FACE if split == "ood" else TEN
        while True:
            ranks = self._ranks(rng, with_face=split == "ood")
            values = values_under(rule, ranks)
            if tuple(sorted(values)) in self.hands[split]:
                return Problem(f"general_points/{split}/{index}", rule, self.prompt(rule, ranks), "", (values, ranks))

    def prompt(self, rule: str, ranks: tuple[int, ...]) -> str:
        """What is asked of a hand under a rule."""
        cards = [_SYMBOLS.get(rank, str(rank)) for rank in ranks]
        if self.style != "json":
            return f"{rule}|{','.join(cards)}>"
        return (
            f"You play the {self.target} game. Make a formula that equals {self.target} from the four cards, with "
            f"+ - * / and brackets; every card is used exactly once. {_RULE_SENTENCES[rule]}\n"
            f"Cards: [{', '.join(cards)}]\n"
            f'Reply with a JSON object: {{"cards": [...], "number": [...], "formula": "...={self.target}"}}'
        )

    def demonstrations(self, problem: Problem) -> tuple[Demonstration]:
        """One winning reply, its formula drawn from all different ones."""
        values, ranks = problem.hidden
        rng = generator(self.seed, "general_points", "demonstration", problem.id)
        offered = solutions(values, self.target)
        if self.style == "worked":
            offered = tuple(filter(_in_small_numbers, offered)) or offered
        return one_turn(problem, self.reply(ranks, values, rng.choice(offered)))

    def reply(self, ranks: tuple[int, ...], values: tuple[int, ...], formula: str) -> str:
        """A reply in the form that the prompt asks for."""
        if self.style != "json":
            lines = worked(formula) if self.style == "worked" else []
            return ";".join((",".join(map(str, values)), *lines, formula))
        cards = [_SYMBOLS.get(rank, str(rank)) for rank in ranks]
        return json.dumps({"cards": cards, "number": list(values), "formula": f"{formula}={self.target}"})

    def lesson(self, index: int) -> Demonstration:
        """A third each: the values of a hand, two numbers up to 13 with one operator, a formula of four numbers; in the
        style ``worked`` half are values, the others a hand (``rule|cards?``) with operations whose results are small
        and whole, and their formula.

        No hand of validation, test or ood is shown, and no formula of a lesson makes the target: how a hand is won
        under the rule ``face`` remains unseen.
        """
        rng = generator(self.seed, "general_points", "lesson", index)
        kinds = ("values", "hand") if self.style == "worked" else ("values", "pair", "formula")
        kind = kinds[rng.randrange(len(kinds))]
        if kind == "values":
            prompt, answer = self._value_lesson(rng)
        elif kind == "hand":
            prompt, answer = self._hand_lesson(rng)
        else:
            prompt, answer = self._formula_lesson(rng, 2 if kind == "pair" else HAND_SIZE)
        return Demonstration(f"general_points/lesson/{kind}/{index}", prompt, answer)

    pretraining = lesson

    def fact(self, index: int) -> Demonstration:
        """The values of a hand under either rule, so that what is shown under one does not make the other forgotten."""
        rng = generator(self.seed, "general_points", "fact", index)
        return Demonstration(f"general_points/fact/{index}", *self._value_lesson(rng))

    def retry(self, problem: Problem, index: int) -> Demonstration:
        """A wrong try with its feedback for a prompt, and the problem's demonstration as the try that follows."""
        values, ranks = problem.hidden
        rng = generator(self.seed, "general_points", "retry", problem.id, index)
        while True:
            formula = _random_formula(rng, rng.sample(values, len(values)))
            wrong = self.reply(ranks, values, formula)
            likely = self.style != "worked" or _in_small_numbers(formula)  # as a policy errs that learnt from lessons
            if likely and not self.grade(problem, wrong).solved:
                break
        tried = replay(self.environment(), problem, [wrong])
        (shown,) = self.demonstrations(problem)
        return Demonstration(f"{problem.id}#retry{index}", transcript(tried, self.joint), shown.response)

    def environment(self) -> GeneralPointsEnvironment:
        """Several graded tries at one hand."""
        return GeneralPointsEnvironment(self)

    def grade(self, problem: Problem, reply: str) -> Grade:
        """Grade one try; only the formula counts, and of it only what stands left of ``=``."""
        grade = self._shaped(problem.hidden[0], reply)
        return grade if self.reward == "shaped" else grade._replace(reward=float(grade.solved))

    def truncation(self) -> float:
        """Reward of the ungraded call."""
        return Rewards().truncated if self.reward == "shaped" else 0.0

    def _shaped(self, values: tuple[int, ...], reply: str) -> Grade:
        rewards, say = Rewards(), self._say
        if len(reply) > MAX_REPLY:
            return Grade(rewards.illegal, False, say("long", f"the reply is longer than {MAX_REPLY} characters"))
        formula = _compact_formula(reply) if self.style != "json" else _json_formula(reply)
        if formula is None:
            return Grade(rewards.illegal, False, say("none", "the reply holds no formula"))
        text = formula.partition("=")[0]
        try:
            used_rightly = sorted(int(token) for token in tokens_of(text) if token.isdigit()) == sorted(values)
            value = evaluate(text).value
        except IllegalTextError as error:
            return Grade(rewards.illegal, False, say("illegal", f"the formula is illegal: {error}"))
        except FormulaSyntaxError as error:
            if used_rightly and _wins_when_closed(text, self.target):
                return Grade(
                    rewards.partial, False, say("close", "the formula is not finished: a bracket is not closed")
                )
            value, reward, reason = None, rewards.illegal, say("form", f"the formula cannot be evaluated: {error}")
        else:
            if value is None:
                reward, reason = rewards.illegal, say("zero", "the formula cannot be evaluated: it divides by 0")
            elif value == self.target:
                reward, reason = 0.0, ""
            else:
                reward = rewards.wrong_value
                reason = say(f"={value}", f"the formula equals {value}, not {self.target}")
        if not used_rightly:
            wanted = f"every one of {', '.join(map(str, values))} must be used once and no other number"
            reason = say(";", "; ").join(filter(None, (reason, say("use", wanted))))
            return Grade(reward + rewards.wrong_numbers, False, reason)
        return Grade(rewards.correct, True) if value == self.target else Grade(reward, False, reason)

    def _say(self, word: str, sentence: str) -> str:
        """Feedback in the world's style: small models read a word, larger ones a sentence."""
        return word if self.style != "json" else sentence

    def _ranks(self, rng: random.Random, *, with_face: bool) -> tuple[int, ...]:
        ranks = [rng.randint(1, HIGHEST_RANK) for _ in range(HAND_SIZE)]
        if with_face:
            ranks[0] = rng.randint(11, HIGHEST_RANK)
            rng.shuffle(ranks)
        return tuple(ranks)

    def _value_lesson(self, rng: random.Random) -> tuple[str, str]:
        rule, ranks, values = self._taught_hand(rng)
        # Not the prompt of a problem, or policies would learn to answer that by values alone.
        cards = ",".join(_SYMBOLS.get(rank, str(rank)) for rank in ranks)
        asked = f"{rule}|{cards}=" if self.style != "json" else f"{_RULE_SENTENCES[rule]} Values of {cards}?"
        return asked, ",".join(map(str, values)) + ";"

    def _hand_lesson(self, rng: random.Random) -> tuple[str, str]:
        rule, ranks, values = self._taught_hand(rng)
        while True:
            formula = _random_formula(rng, rng.sample(values, len(values)))
            if _in_small_numbers(formula) and evaluate(formula).value != self.target:
                return self.prompt(rule, ranks).replace(">", "?"), self.reply(ranks, values, formula)

    def _taught_hand(self, rng: random.Random) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
        """A rule, ranks, and their values, which no split asks for."""
        while True:
            rule = rng.choice((TEN, FACE))
            ranks = self._ranks(rng, with_face=False)
            values = values_under(rule, ranks)
            if tuple(sorted(values)) not in self._asked:
                return rule, ranks, values

    def _formula_lesson(self, rng: random.Random, size: int) -> tuple[str, str]:
        while True:
            numbers = [rng.randint(1, HIGHEST_RANK) for _ in range(size)]
            formula = _random_formula(rng, numbers)
            value = evaluate(formula).value
            if value is not None and value != self.target and tuple(sorted(numbers)) not in self._asked:
                return f"{formula}=", str(value)


class GeneralPointsEnvironment:
    """Graded tries with feedback; ends with a win, or when the tries are used up."""

    def __init__(self, world: GeneralPoints) -> None:
        self.world = world
        self.solved = False
        self._problem: Problem | None = None
        self._tries = 0

    def reset(self, problem: Problem) -> Observation:
        """Show the hand."""
        self._problem, self._tries, self.solved = problem, 0, False
        return Observation(problem.prompt)

    def step(self, action: str) -> Step:
        """Grade a reply and say why it fails."""
        if self._problem is None:
            raise ValueError("step needs a problem: call reset first, also after an episode's end")
        self._tries += 1
        if self._tries > self.world.verify_steps:
            self._problem = None
            return Step(Observation(""), self.world.truncation(), True)
        grade = self.world.grade(self._problem, action)
        self.solved = grade.solved
        done = grade.solved or (self._tries == self.world.verify_steps and not self.world.ungraded_call)
        if done:
            self._problem = None
        return Step(Observation(grade.feedback), grade.reward, done)


def values_under(rule: str, ranks: tuple[int, ...]) -> tuple[int, ...]:
    """What ranks count under a rule."""
    if rule not in _RULE_SENTENCES:
        raise ValueError(f"rule must be {TEN} or {FACE}, got {rule!r}")
    return ranks if rule == FACE else tuple(min(rank, 10) for rank in ranks)


def _in_small_numbers(formula: str) -> bool:
    """Whether all its operations have whole results from 0 to ``LARGEST_STEP``."""
    lines = worked(formula)
    results = [line.partition("=")[2] for line in lines]
    divided_by_zero = len(lines) < sum(map(formula.count, "+-*/"))
    return not divided_by_zero and all(result.isdigit() and int(result) <= LARGEST_STEP for result in results)


def _compact_formula(reply: str) -> str | None:
    _, mark, formula = reply.strip().rpartition(";")
    return formula if mark else None


def _json_formula(reply: str) -> str | None:
    """The formula of a JSON object, else of the first text that looks like its field (a trailing comma breaks JSON)."""
    if reply.count("[") + reply.count("{") <= 8:  # deeper nesting is not what was asked for, and would recurse
        try:
            found = json.loads(reply)
        except ValueError:
            found = None
        if isinstance(found, dict) and isinstance(found.get("formula"), str):
            return found["formula"]
    match = _FORMULA_FIELD.search(reply)
    return match[1] if match else None


def _wins_when_closed(text: str, target: int) -> bool:
    missing = text.count("(") - text.count(")")
    try:
        return missing > 0 and evaluate(text + ")" * missing).value == target
    except (IllegalTextError, FormulaSyntaxError):
        return False


def _random_formula(rng: random.Random, numbers: list[int]) -> str:
    """A random formula over the numbers in their order, with no more brackets than it needs."""
    return _random_part(rng, numbers)[0]


def _random_part(rng: random.Random, numbers: list[int]) -> tuple[str, str]:
    """A formula, and the operator that is applied last, "" for a number."""
    if len(numbers) == 1:
        return str(numbers[0]), ""
    cut = rng.randint(1, len(numbers) - 1)
    (left, before), (right, after) = _random_part(rng, numbers[:cut]), _random_part(rng, numbers[cut:])
    operator = rng.choice("+-*/")
    if operator in "*/" and before in ("+", "-"):
        left = f"({left})"
    if after and after in {"+": "", "-": "+-", "*": "+-", "/": "+-*/"}[operator]:
        right = f"({right})"
    return f"{left}{operator}{right}", operator
