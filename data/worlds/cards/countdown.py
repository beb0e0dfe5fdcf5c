"""Countdown: reach a target with three cards, the cards being worth what the rule of the hand says.

The rule ``capped`` counts every card above ``cap`` as ``cap``; the rule ``face`` counts it as what it is. Problems are
asked under ``capped`` (splits train, validation, test) and, to see whether the rule is obeyed rather than learnt by
heart, under ``face`` with at least one card above the cap (split ood). Sizes are those of the miniature in the AMFT
sheet: three cards of rank 1-23, targets 10-60, 1,540 value multisets, which a policy with 0.1M parameters cannot learn
by heart.

Prompt ``rule c c c target :``, answer ``v v v ; a op b = r ; r op c = target .``: words separated by one space,
integers being one word each. Splits share no multiset of values, so a hand never recurs under other ranks or in another
order.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations_with_replacement
from types import MappingProxyType
from typing import NamedTuple

from data.loading.seeding import carved, check_split, generator
from data.records.episodes import Grade, Problem
from data.records.texts import Demonstration
from data.worlds.environment import SingleTurn, one_turn

CAPPED, FACE = "capped", "face"
ANY_TARGET = "any"
"""Stands where the target would, in derivations that have none."""

OPERATORS = ("+", "-", "*", "/")
ANSWER_WORDS = 16
_MAX_ANSWER = 200
_ID_SHARES = MappingProxyType({"train": 0.75, "validation": 0.10, "test": 0.15})
_OOD_SHARES = MappingProxyType({"lessons": 0.5, "ood": 0.5})


class Line(NamedTuple):
    """One line of a derivation: ``left operator right = result``, all integers from 0 to the world's largest."""

    left: int
    operator: str
    right: int
    result: int


class Hand(NamedTuple):
    """Cards (ranks as dealt), their rule, and the values that they have under it."""

    rule: str
    cards: tuple[int, int, int]
    values: tuple[int, int, int]


class Countdown:
    """See the module's text.

    Args:
        seed: of the splits and of every draw; the test problems of two runs are the same where their seed is.
        highest_rank: cards have ranks from 1 to this, drawn independently.
        cap: value of the cards above it under ``capped``; below ``highest_rank``.
        lowest_target, highest_target: range of targets, both included.
        largest: no line of a derivation may exceed this; every integer up to it is one word.
        shares: of the value multisets up to the cap, for train, validation and test.
        ood_shares: of the value multisets with a card above the cap: ``lessons`` teach values and sums, ``ood`` tests.
        fact_share: share of ``pretraining`` that are facts (values alone); the others are derivations.
        fact_targets: facts have a target like problems. Then a fact and a problem can have the same prompt: policies
            answer some problems by values alone, and every hand under ``face`` that has a target.
    """

    splits = ("train", "validation", "test", "ood")

    def __init__(
        self,
        *,
        seed: int,
        highest_rank: int = 23,
        cap: int = 20,
        lowest_target: int = 10,
        highest_target: int = 60,
        largest: int = 200,
        shares: Mapping[str, float] = _ID_SHARES,
        ood_shares: Mapping[str, float] = _OOD_SHARES,
        fact_share: float = 1 / 3,
        fact_targets: bool = False,
    ) -> None:
        if not 1 <= cap < highest_rank <= largest:
            raise ValueError(f"1 <= cap < highest_rank <= largest is wanted, got {cap}, {highest_rank}, {largest}")
        if not 0 <= lowest_target <= highest_target <= largest:
            raise ValueError(
                f"targets must lie in 0..largest ({largest}), lowest first, got {lowest_target}..{highest_target}"
            )
        if set(shares) != set(_ID_SHARES) or set(ood_shares) != set(_OOD_SHARES):
            raise ValueError(f"shares name {', '.join(_ID_SHARES)}, ood_shares {', '.join(_OOD_SHARES)}")
        if not 0 <= fact_share <= 1:
            raise ValueError(f"fact_share must lie in 0..1, got {fact_share}")
        self.seed = seed
        self.highest_rank = highest_rank
        self.cap = cap
        self.largest = largest
        self.targets = range(lowest_target, highest_target + 1)
        self.fact_share = fact_share
        self.fact_targets = fact_targets
        hands = list(combinations_with_replacement(range(1, highest_rank + 1), 3))
        self.hands = {
            **carved([hand for hand in hands if hand[2] <= cap], shares, seed, "countdown", "id"),
            **carved([hand for hand in hands if hand[2] > cap], ood_shares, seed, "countdown", "ood"),
        }
        self._taught = self.hands["train"] | self.hands["lessons"]

    def vocabulary(self) -> tuple[str, ...]:
        """Every word of prompts and answers: 201 integers and 11 others at the default size."""
        return (*map(str, range(self.largest + 1)), *OPERATORS, "=", ";", ":", ".", CAPPED, FACE, ANY_TARGET)

    def problem(self, split: str, index: int) -> Problem:
        """A solvable problem; its target is drawn uniformly from those that its hand reaches."""
        check_split(split, self.splits, index)
        rng = generator(self.seed, "countdown", split, index)
        rule = FACE if split == "ood" else CAPPED
        while True:
            hand = self._hand(rng, rule, above_cap=split == "ood")
            if tuple(sorted(hand.values)) not in self.hands[split]:
                continue
            targets = [target for target in self.derivations(hand.values) if target in self.targets]
            if targets:
                target = rng.choice(sorted(targets))
                prompt = self._prompt(hand, str(target))
                return Problem(f"countdown/{split}/{index}", rule, prompt, "", (hand.values, target))

    def demonstrations(self, problem: Problem) -> tuple[Demonstration]:
        """One derivation, drawn from all that reach the target."""
        values, target = problem.hidden
        rng = generator(self.seed, "countdown", "demonstration", problem.id)
        return one_turn(problem, self._answer(rng, values, rng.choice(self.derivations(values)[target])))

    def derivations(self, values: tuple[int, ...]) -> dict[int, tuple[tuple[Line, Line], ...]]:
        """All two-line derivations over three values, by the number reached (not limited to targets)."""
        a, b, c = sorted(values)
        return _derivations((a, b, c), self.largest)

    def fact(self, index: int) -> Demonstration:
        """A hand under either rule, answered by its values alone: what makes the rules identifiable."""
        rng = generator(self.seed, "countdown", "fact", index)
        hand = self._taught_hand(rng)
        prompt = self._prompt(hand, str(rng.choice(self.targets)) if self.fact_targets else "")
        answer = " ".join((*map(str, hand.values), "."))
        return Demonstration(f"countdown/fact/{index}", prompt, answer)

    def derivation(self, index: int) -> Demonstration:
        """A derivation without a target under either rule: values and arithmetic, but no search."""
        rng = generator(self.seed, "countdown", "derivation", index)
        hand = self._taught_hand(rng)
        reached = self.derivations(hand.values)
        lines = rng.choice(reached[rng.choice(sorted(reached))])
        answer = self._answer(rng, hand.values, lines)
        prompt = self._prompt(hand, ANY_TARGET)
        return Demonstration(f"countdown/derivation/{index}", prompt, answer)

    def pretraining(self, index: int) -> Demonstration:
        """Base training: facts and derivations mixed; no hand of validation, test or ood occurs in it."""
        is_fact = generator(self.seed, "countdown", "pretraining", index).random() < self.fact_share
        return self.fact(index) if is_fact else self.derivation(index)

    def environment(self) -> SingleTurn:
        """One answer, graded 0 or 1."""
        return SingleTurn(self.grade)

    def grade(self, problem: Problem, answer: str) -> Grade:
        """1 for the form, values, arithmetic and target of the problem, else 0 with the first fault found."""
        fault = self._fault(problem, answer)
        return Grade(0.0 if fault else 1.0, not fault, fault)

    def _fault(self, problem: Problem, answer: str) -> str:
        values, target = problem.hidden
        if len(answer) > _MAX_ANSWER:
            return f"the answer is longer than {_MAX_ANSWER} characters"
        words = answer.split(" ")
        marks = {3: ";", 7: "=", 9: ";", 13: "=", 15: "."}
        if len(words) != ANSWER_WORDS or any(words[place] != mark for place, mark in marks.items()):
            return "the form is: v v v ; a op b = r ; r op c = target ."
        if words[5] not in OPERATORS or words[11] not in OPERATORS:
            return f"operators are {' '.join(OPERATORS)}"
        spelt = [word for index, word in enumerate(words) if index not in (*marks, 5, 11)]
        numbers = [number for word in spelt if (number := self._integer(word)) is not None]
        if len(numbers) != len(spelt):
            return f"numbers are integers from 0 to {self.largest}"
        stated, (a, b, r, d, e, reached) = tuple(numbers[:3]), numbers[3:]
        if stated != values:
            return "these are not the values of the cards"
        if _apply(words[5], a, b, self.largest) != r or _apply(words[11], d, e, self.largest) != reached:
            return "a line is wrong"
        rest = list(values)
        for used in (a, b):
            if used not in rest:
                return "a line uses a number that is not there"
            rest.remove(used)
        if sorted((d, e)) != sorted((*rest, r)):
            return "a line uses a number that is not there"
        return "" if reached == target else f"the result is {reached}, not {target}"

    def _integer(self, word: str) -> int | None:
        """The integer that a word spells in the one allowed way (ASCII digits, no leading zero), else ``None``."""
        if not (word.isascii() and word.isdigit()) or len(word) > len(str(self.largest)) or str(int(word)) != word:
            return None
        return int(word) if int(word) <= self.largest else None

    def _hand(self, rng: random.Random, rule: str, *, above_cap: bool) -> Hand:
        cards = [rng.randint(1, self.highest_rank) for _ in range(3)]
        if above_cap:
            cards[0] = rng.randint(self.cap + 1, self.highest_rank)
            rng.shuffle(cards)
        a, b, c = cards
        values = (a, b, c) if rule == FACE else (min(a, self.cap), min(b, self.cap), min(c, self.cap))
        return Hand(rule, (a, b, c), values)

    def _taught_hand(self, rng: random.Random) -> Hand:
        while True:
            hand = self._hand(rng, rng.choice((CAPPED, FACE)), above_cap=False)
            if tuple(sorted(hand.values)) in self._taught:
                return hand

    @staticmethod
    def _prompt(hand: Hand, target: str) -> str:
        return " ".join((hand.rule, *map(str, hand.cards), *([target] if target else []), ":"))

    @staticmethod
    def _answer(rng: random.Random, values: tuple[int, ...], lines: tuple[Line, ...]) -> str:
        """Values in the order of the cards; operands of a sum or product in either order."""
        words = list(map(str, values))
        for line in lines:
            left, right = line.left, line.right
            if line.operator in "+*" and rng.random() < 0.5:
                left, right = right, left
            words += [";", str(left), line.operator, str(right), "=", str(line.result)]
        return " ".join((*words, "."))


def _apply(operator: str, left: int | None, right: int | None, largest: int) -> int | None:
    """The result as an integer from 0 to ``largest``, else ``None``."""
    if left is None or right is None:
        return None
    if operator == "/":
        return left // right if right and not left % right else None
    result = left + right if operator == "+" else left - right if operator == "-" else left * right
    return result if 0 <= result <= largest else None


@lru_cache(maxsize=8192)
def _derivations(values: tuple[int, int, int], largest: int) -> dict[int, tuple[tuple[Line, Line], ...]]:
    """By number reached, every pair of lines over sorted values; the larger operand of a sum or product comes first."""
    found: dict[int, set[tuple[Line, Line]]] = {}
    for spare in range(3):
        a, b = (values[index] for index in range(3) if index != spare)
        for first in _lines(a, b, largest):
            for second in _lines(first.result, values[spare], largest):
                found.setdefault(second.result, set()).add((first, second))
    return {number: tuple(sorted(found[number])) for number in sorted(found)}


def _lines(a: int, b: int, largest: int) -> list[Line]:
    low, high = sorted((a, b))
    candidates = [(high, operator, low) for operator in OPERATORS]
    if high and not low:  # 0 / high is the only exact division of a smaller number by a larger one
        candidates.append((low, "/", high))
    lines = []
    for left, operator, right in candidates:
        result = _apply(operator, left, right, largest)
        if result is not None:
            lines.append(Line(left, operator, right, result))
    return lines
