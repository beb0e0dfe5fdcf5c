"""Arithmetic word problems from templates: a story of one to four operations, answered step by step.

Grades 1 to ``train_grades`` (operations in the story) are trained and tested in distribution; split ``ood`` has stories
of one operation more, with a sentence about something else in them. Numbers are integers from 0 to ``largest``, one
word each. Splits share no chain of numbers and operations, in whatever words it is told; those of ``ood`` are among
what the test has a claim to, so that lessons of that length cannot give them away.

    mira has 3 shells . mira finds 4 more shells . how many ... ?    ->    3 + 4 = 7 ; answer 7 .
    14 .
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from data.loading.seeding import check_split, generator, mixed
from data.records.episodes import Grade, Problem
from data.records.texts import Demonstration
from data.worlds.environment import SingleTurn, one_turn

_OPERATORS = "+-*/"
_NAMES = ("mira", "tom", "ada", "ben", "lena", "otto", "nora", "paul")
_THINGS = ("shells", "apples", "stamps", "marbles", "cards", "nuts")
_OTHERS = ("birds", "clouds", "boats", "trees")
_TOLD: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "+": ("{n} finds {k} more {t} .", "a friend gives {n} {k} {t} .", "then {n} buys {k} {t} ."),
        "-": ("{n} loses {k} of the {t} .", "{n} gives {k} {t} away .", "then {n} sells {k} {t} ."),
        "*": ("soon {n} has {k} times as many {t} .", "the {t} of {n} become {k} times as many ."),
        "/": ("{n} shares the {t} equally among {k} bags and keeps one bag .", "only one of {k} equal parts is left ."),
    }
)
_BESIDE = ("{n} also sees {k} {o} .", "there are {k} {o} nearby .")
_ASKED = ("how many {t} does {n} have now ?", "what number of {t} is left to {n} ?")
_ANSWER = re.compile(r"(?:^|; )answer ([0-9]{1,6}) \.")
_MAX_ANSWER = 400
_SHARES = MappingProxyType({"train": 0.8, "validation": 0.1, "test": 0.1})


class Chain(NamedTuple):
    """A start, and operations with their operands; ``values`` are the start and every result."""

    operators: tuple[str, ...]
    operands: tuple[int, ...]
    values: tuple[int, ...]


class WordProblems:
    """See the module's text.

    Args:
        seed: of the splits and of every draw.
        train_grades: operations of the longest stories of train, validation and test, 1 to 3.
        largest: no number of a story or its solution exceeds this.
        shares: of the chains, for train, validation and test; by hash, so only nearly.
    """

    splits = ("train", "validation", "test", "ood")

    def __init__(
        self, *, seed: int, train_grades: int = 3, largest: int = 100, shares: Mapping[str, float] = _SHARES
    ) -> None:
        if not 1 <= train_grades <= 3:
            raise ValueError(f"train_grades must lie in 1..3, got {train_grades}")
        if not 20 <= largest <= 9999:
            raise ValueError(f"largest must lie in 20..9999, got {largest}")
        if set(shares) != set(_SHARES) or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-9:
            raise ValueError(f"shares must be positive, add up to 1 and name {', '.join(_SHARES)}, got {dict(shares)}")
        self.seed = seed
        self.train_grades = train_grades
        self.largest = largest
        self.shares = dict(shares)
        self._split_seed = generator(seed, "word_problems", "splits").getrandbits(64)

    def vocabulary(self) -> tuple[str, ...]:
        """Every word of stories and answers."""
        told = [text for texts in _TOLD.values() for text in texts]
        texts = [*told, *_BESIDE, *_ASKED, *_NAMES, *_THINGS, *_OTHERS, "has ; = answer", " ".join(_OPERATORS)]
        words = {word for text in texts for word in text.split() if not word.startswith("{")}
        return (*sorted(words), *map(str, range(self.largest + 1)))

    def problem(self, split: str, index: int) -> Problem:
        """A story; its task is "grade <operations>"."""
        check_split(split, self.splits, index)
        rng = generator(self.seed, "word_problems", split, index)
        grade = self.train_grades + 1 if split == "ood" else rng.randint(1, self.train_grades)
        chain = self._chain_of(rng, grade, "test" if split == "ood" else split)
        prompt = self._story(rng, chain, beside=split == "ood")
        name = f"word_problems/{split}/{index}"
        return Problem(name, f"grade {len(chain.operators)}", prompt, str(chain.values[-1]), (chain,))

    def split_of(self, chain: Chain) -> str:
        """The split that a chain belongs to, whatever the words."""
        numbers = (*map(_OPERATORS.index, chain.operators), *chain.operands, chain.values[0])
        place, total = mixed(self._split_seed, *numbers) / 2**64, 0.0
        for split, share in self.shares.items():
            total += share
            if place < total:
                return split
        return "test"

    def demonstrations(self, problem: Problem) -> tuple[Demonstration]:
        """The solution step by step."""
        (chain,) = problem.hidden
        return one_turn(problem, self._worked(chain))

    def fact(self, index: int) -> Demonstration:
        """One operation on two numbers, without a story: ``17 + 5 =`` answered by ``22 .``"""
        chain = self._chain_of(generator(self.seed, "word_problems", "fact", index), 1, "train")
        prompt = f"{chain.values[0]} {chain.operators[0]} {chain.operands[0]} ="
        return Demonstration(f"word_problems/fact/{index}", prompt, f"{chain.values[1]} .")

    def pretraining(self, index: int) -> Demonstration:
        """Base training, in halves: facts, and chains without a story (``3 + 4 * 2 ?``) worked out step by step.

        Chains have up to one operation more than the longest story of train; none of validation, test or ood occurs.
        """
        rng = generator(self.seed, "word_problems", "pretraining", index)
        if rng.random() < 0.5:
            return self.fact(index)
        chain = self._chain_of(rng, rng.randint(1, self.train_grades + 1), "train")
        told = [f"{operator} {operand}" for operator, operand in zip(chain.operators, chain.operands, strict=True)]
        prompt = " ".join((str(chain.values[0]), *told, "?"))
        return Demonstration(f"word_problems/chain/{index}", prompt, self._worked(chain))

    def grade(self, problem: Problem, answer: str) -> Grade:
        """1 when the text has one ``answer <number> .``, at its end, and the number is right; steps are free."""
        if len(answer) > _MAX_ANSWER:
            return Grade(0.0, False, f"the answer is longer than {_MAX_ANSWER} characters")
        found = list(_ANSWER.finditer(answer))
        if len(found) != 1 or found[0].end() != len(answer):
            return Grade(0.0, False, "the last words must be: answer <number> .")
        right = found[0][1] == problem.answer
        return Grade(float(right), right, "" if right else "the number is wrong")

    def environment(self) -> SingleTurn:
        """One answer, graded 0 or 1."""
        return SingleTurn(self.grade)

    @staticmethod
    def _worked(chain: Chain) -> str:
        rows = zip(chain.values, chain.operators, chain.operands, chain.values[1:], strict=False)
        steps = [f"{before} {operator} {operand} = {after}" for before, operator, operand, after in rows]
        return " ; ".join((*steps, f"answer {chain.values[-1]} ."))

    def _chain_of(self, rng: random.Random, length: int, split: str) -> Chain:
        """A chain of one of the three dealt splits."""
        while self.split_of(chain := self._chain(rng, length)) != split:
            pass
        return chain

    def _chain(self, rng: random.Random, length: int) -> Chain:
        values = [rng.randint(2, min(20, self.largest))]
        operators: list[str] = []
        operands: list[int] = []
        while len(operators) < length:
            operator, value = rng.choice(_OPERATORS), values[-1]
            if operator == "+" or operator == "-":
                operand = rng.randint(1, 20)
            elif operator == "*":
                operand = rng.randint(2, 5)
            else:
                parts = [part for part in range(2, 11) if value and not value % part]
                if not parts:
                    continue
                operand = rng.choice(parts)
            result = {"+": value + operand, "-": value - operand, "*": value * operand, "/": value // operand}[operator]
            if 0 <= result <= self.largest and (operator != "*" or value):
                operators.append(operator)
                operands.append(operand)
                values.append(result)
        return Chain(tuple(operators), tuple(operands), tuple(values))

    @staticmethod
    def _story(rng: random.Random, chain: Chain, *, beside: bool) -> str:
        name, thing = rng.choice(_NAMES), rng.choice(_THINGS)
        sentences = [f"{name} has {chain.values[0]} {thing} ."]
        for operator, operand in zip(chain.operators, chain.operands, strict=True):
            sentences.append(rng.choice(_TOLD[operator]).format(n=name, k=operand, t=thing))
        if beside:
            other = rng.choice(_BESIDE).format(n=name, k=rng.randint(2, 20), o=rng.choice(_OTHERS))
            sentences.insert(rng.randint(1, len(sentences)), other)
        return " ".join((*sentences, rng.choice(_ASKED).format(n=name, t=thing)))
