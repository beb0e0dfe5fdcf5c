"""Instructions in two dialects with a programmatic gold reward: the world of the implicit-reward studies.

After section 9 of the implicit-reward sheet. A prompt asks, in the words of one dialect, to copy, reverse, sort or add
digits; a good answer is right, keeps to the dialect of the prompt, is polite and short::

    low     flip : 3 1 4 ?          it is 4 1 3 .
    high    mirror : three one ?    behold one three .

Gold reward = correct + ``style_weight`` * style - ``length_cost`` * (words beyond payload and full stop).
Demonstrations are always right but their manners vary, mostly one per prompt, so that preferences have something left
to teach. Base training
(``pretraining``) shows both dialects in all manners, and knowledge that fine-tuning never mentions (``knowledge``:
successors, and translation between the dialects), so that forgetting can be measured.

Splits deal (task, digits), whatever the dialect and wording: ``train`` (demonstrations), ``preference``,
``validation``, ``test``. Base training shows none of validation and test.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from math import exp
from types import MappingProxyType
from typing import NamedTuple

from data.loading.seeding import check_split, generator, mixed
from data.records.episodes import Grade, Problem
from data.records.texts import Demonstration, PreferencePair
from data.worlds.environment import SingleTurn, one_turn

DIALECTS = ("low", "high")
TASKS = ("copy", "reverse", "sort", "add")
KNOWLEDGE = ("successor", "translate")
MANNERS = ("polite", "bare", "verbose")
STYLE = MappingProxyType({"polite": 1.0, "bare": 0.5, "verbose": 0.25})
"""Style of an answer in the dialect of its prompt; in the other dialect, or in none, it is 0."""

_DIGITS = MappingProxyType(
    {
        "low": tuple("0123456789"),
        "high": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    }
)
_PHRASES: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType(
    {
        ("low", "copy"): ("repeat", "say again"),
        ("low", "reverse"): ("flip", "turn round"),
        ("low", "sort"): ("line up", "put in order"),
        ("low", "add"): ("add up", "sum"),
        ("low", "successor"): ("next after",),
        ("low", "translate"): ("say high",),
        ("high", "copy"): ("recite", "echo"),
        ("high", "reverse"): ("mirror", "invert"),
        ("high", "sort"): ("arrange", "rank"),
        ("high", "add"): ("total", "unite"),
        ("high", "successor"): ("heir of",),
        ("high", "translate"): ("render low",),
    }
)
_FRAMES: Mapping[tuple[str, str], tuple[str, str]] = MappingProxyType(
    {
        ("low", "polite"): ("it is ", " ."),
        ("low", "bare"): ("", " ."),
        ("low", "verbose"): ("well you know it is ", " so there ."),
        ("high", "polite"): ("behold ", " ."),
        ("high", "bare"): ("", " ."),
        ("high", "verbose"): ("verily the answer be ", " forsooth ."),
    }
)
_MAX_ANSWER = 400
_SHARES = MappingProxyType({"train": 0.5, "preference": 0.3, "validation": 0.1, "test": 0.1})
_MANNER_SHARES = MappingProxyType({"polite": 0.34, "bare": 0.33, "verbose": 0.33})
_GROUP = 4


class GoldReward(NamedTuple):
    """The parts of the gold reward of one answer.

    Attributes:
        correct: 1 if the digits are right, in either dialect, else 0.
        style: see ``STYLE``; 0 for a text that is no answer.
        extra_words: words beyond the right digits and the full stop, at least 0.
        total: the reward.
    """

    correct: float
    style: float
    extra_words: int
    total: float


class Instructions:
    """See the module's text.

    Args:
        seed: of the splits and of every draw.
        shortest, longest: digits in a prompt (``add`` has two numbers below 50 instead).
        style_weight, length_cost: of the gold reward.
        manners: shares of the manners of demonstrations.
        slips: share of the demonstrations that are wrong in one digit.
        repeated: share of the demonstrations that come in groups of four for one prompt; the others are the only one.
        temperature: of the Bradley-Terry noise: ``a`` is preferred with probability sigmoid((r_a - r_b) / temperature).
        shares: of the (task, digits), for each split; by hash, so only nearly.
    """

    splits = ("train", "preference", "validation", "test")

    def __init__(
        self,
        *,
        seed: int,
        shortest: int = 2,
        longest: int = 5,
        style_weight: float = 0.5,
        length_cost: float = 0.05,
        manners: Mapping[str, float] = _MANNER_SHARES,
        slips: float = 0.0,
        repeated: float = 0.1,
        temperature: float = 0.25,
        shares: Mapping[str, float] = _SHARES,
    ) -> None:
        if not 1 <= shortest <= longest <= 12:
            raise ValueError(f"1 <= shortest <= longest <= 12 is wanted, got {shortest}, {longest}")
        if min(style_weight, length_cost) < 0 or temperature <= 0:
            raise ValueError(
                f"style_weight and length_cost must be 0 or more and temperature above 0, "
                f"got {style_weight}, {length_cost}, {temperature}"
            )
        if set(manners) != set(MANNERS) or min(manners.values()) < 0 or abs(sum(manners.values()) - 1) > 1e-9:
            raise ValueError(f"manners must be shares of {', '.join(MANNERS)} that add up to 1, got {dict(manners)}")
        if not 0 <= slips <= 1 or not 0 <= repeated < 1:
            raise ValueError(f"slips must lie in 0..1 and repeated in 0..1 (below 1), got {slips}, {repeated}")
        if set(shares) != set(_SHARES) or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-9:
            raise ValueError(f"shares must be positive, add up to 1 and name {', '.join(_SHARES)}, got {dict(shares)}")
        self.seed = seed
        self.lengths = (shortest, longest)
        self.style_weight = style_weight
        self.length_cost = length_cost
        self.manners = dict(manners)
        self.slips = slips
        self.temperature = temperature
        self.shares = dict(shares)
        self._split_seed = generator(seed, "instructions", "splits").getrandbits(64)
        self._period = round(_GROUP / repeated) if repeated else 0

    def vocabulary(self) -> tuple[str, ...]:
        """Every word of prompts and answers."""
        texts = [
            *(phrase for phrases in _PHRASES.values() for phrase in phrases),
            *map("".join, _FRAMES.values()),
            ": ? +",
        ]
        words = {word for text in texts for word in text.split()}
        return (*sorted(words), *_DIGITS["low"], *_DIGITS["high"])

    def problem(self, split: str, index: int) -> Problem:
        """A prompt; its canonical answer is the right and polite one."""
        check_split(split, self.splits, index)
        rng = generator(self.seed, "instructions", split, index)
        while True:
            task, digits = self._draw(rng)
            if self.split_of(task, digits) == split:
                return self._problem(rng, f"instructions/{split}/{index}", task, digits)

    def split_of(self, task: str, digits: tuple[int, ...]) -> str:
        """The split that a (task, digits) belongs to, in either dialect and wording."""
        place = mixed(self._split_seed, TASKS.index(task), *digits) / 2**64
        total = 0.0
        for split, share in self.shares.items():
            total += share
            if place < total:
                return split
        return self.splits[-1]

    def demonstrations(self, problem: Problem) -> tuple[Demonstration]:
        """The first of the demonstrations that ``training`` has for a prompt."""
        return one_turn(problem, self._demonstrated(problem, 0))

    def training(self, index: int) -> Demonstration:
        """One item of the fine-tuning set; in every run of ``4 / repeated`` items the last four share a prompt."""
        if not self._period:
            number, copy = index, 0
        else:
            block, offset = divmod(index, self._period)
            copy = max(0, offset - (self._period - _GROUP))
            number = block * (self._period - _GROUP + 1) + min(offset, self._period - _GROUP)
        problem = self.problem("train", number)
        return Demonstration(f"{problem.id}#{copy}", problem.prompt, self._demonstrated(problem, copy))

    def pretraining(self, index: int) -> Demonstration:
        """Base training: a quarter knowledge, else a task in any dialect and manner; nothing of validation and test."""
        rng = generator(self.seed, "instructions", "pretraining", index)
        if rng.random() < 0.25:
            return self.knowledge(index)
        while True:
            task, digits = self._draw(rng)
            if self.split_of(task, digits) in ("train", "preference"):
                break
        problem = self._problem(rng, f"instructions/pretraining/{index}", task, digits)
        dialect, _, right = problem.hidden
        return Demonstration(problem.id, problem.prompt, framed(dialect, rng.choice(MANNERS), right))

    def knowledge(self, index: int) -> Demonstration:
        """What only base training teaches: the successor of a number, and digits in the other dialect. Bare answers."""
        rng = generator(self.seed, "instructions", "knowledge", index)
        task, dialect = rng.choice(KNOWLEDGE), rng.choice(DIALECTS)
        if task == "successor":
            number = rng.randrange(10 ** rng.randint(1, 3))
            asked, answer = _digits_of(number), _digits_of(number + 1)
        else:
            asked = answer = tuple(rng.randrange(10) for _ in range(rng.randint(*self.lengths)))
        prompt = f"{rng.choice(_PHRASES[dialect, task])} : {spelt(dialect, asked)} ?"
        other = DIALECTS[1 - DIALECTS.index(dialect)] if task == "translate" else dialect
        return Demonstration(f"instructions/knowledge/{index}", prompt, framed(other, "bare", answer))

    def preference(self, index: int) -> PreferencePair:
        """One off-policy pair: two different answers of mixed quality, the preferred one chosen with noise."""
        problem = self.problem("preference", index)
        rng = generator(self.seed, "instructions", "pair", index)
        first = second = self._answer_of_mixed_quality(rng, problem)
        while second == first:
            second = self._answer_of_mixed_quality(rng, problem)
        return self.prefer(problem, first, second)

    def prefer(
        self, problem: Problem, first: str, second: str, *, authors: Sequence[str] = ("", ""), draw: int = 0
    ) -> PreferencePair:
        """Choose between two different answers with Bradley-Terry noise on the gold reward.

        Args:
            problem: asked.
            first, second: answers, such as samples of a policy; swapping them swaps nothing but the noise.
            authors: who wrote them.
            draw: number of the draw, for several noisy judgements of one pair.

        Raises:
            ValueError: equal answers, which no preference tells apart.
        """
        if first == second:
            raise ValueError(f"two different answers to {problem.id} are wanted, got {first!r} twice: drop the pair")
        margin = self.gold_reward(problem, first).total - self.gold_reward(problem, second).total
        noise = generator(self.seed, "instructions", "noise", problem.id, first, second, draw).random()
        if noise < _sigmoid(margin / self.temperature):
            return PreferencePair(problem.id, problem.prompt, first, second, *authors)
        return PreferencePair(problem.id, problem.prompt, second, first, *reversed(authors))

    def gold_reward(self, problem: Problem, answer: str) -> GoldReward:
        """The parts of the reward; a text of more than 400 characters is not read and costs as if it had 200 words."""
        dialect, _, right = problem.hidden
        if len(answer) > _MAX_ANSWER:
            return GoldReward(0.0, 0.0, _MAX_ANSWER // 2, -self.length_cost * (_MAX_ANSWER // 2))
        correct = style = 0.0
        for spoken in DIALECTS:
            for manner in MANNERS:
                before, after = _FRAMES[spoken, manner]
                if len(answer) > len(before) + len(after) and answer.startswith(before) and answer.endswith(after):
                    digits = read(spoken, answer[len(before) : len(answer) - len(after)])
                    if digits is not None:
                        correct = float(digits == right)
                        style = STYLE[manner] if spoken == dialect else 0.0
        extra = max(0, len(answer.split(" ")) - len(right) - 1)
        return GoldReward(correct, style, extra, correct + self.style_weight * style - self.length_cost * extra)

    def grade(self, problem: Problem, answer: str) -> Grade:
        """The gold reward; solved when the digits are right."""
        gold = self.gold_reward(problem, answer)
        return Grade(gold.total, bool(gold.correct), "" if gold.correct else "wrong")

    def environment(self) -> SingleTurn:
        """One answer, paid by the gold reward."""
        return SingleTurn(self.grade)

    def _draw(self, rng: random.Random) -> tuple[str, tuple[int, ...]]:
        """A task and what it is given; the two numbers of ``add`` are packed as (a, b)."""
        task = rng.choice(TASKS)
        if task == "add":
            return task, (rng.randrange(50), rng.randrange(50))
        return task, tuple(rng.randrange(10) for _ in range(rng.randint(*self.lengths)))

    def _problem(self, rng: random.Random, name: str, task: str, digits: tuple[int, ...]) -> Problem:
        dialect = rng.choice(DIALECTS)
        if task == "add":
            shown = " + ".join(spelt(dialect, _digits_of(number)) for number in digits)
        else:
            shown = spelt(dialect, digits)
        right = carried_out(task, digits)
        prompt = f"{rng.choice(_PHRASES[dialect, task])} : {shown} ?"
        return Problem(name, task, prompt, framed(dialect, "polite", right), (dialect, digits, right))

    def _demonstrated(self, problem: Problem, copy: int) -> str:
        dialect, _, right = problem.hidden
        rng = generator(self.seed, "instructions", "demonstration", problem.id, copy)
        manner = rng.choices(list(self.manners), list(self.manners.values()))[0]
        return framed(dialect, manner, _slipped(rng, right) if rng.random() < self.slips else right)

    def _answer_of_mixed_quality(self, rng: random.Random, problem: Problem) -> str:
        """Right, slipped or the answer to another task; any manner; one in five in the other dialect."""
        dialect, digits, right = problem.hidden
        kind = rng.choice(("right", "right", "slip", "task"))
        if kind == "slip":
            right = _slipped(rng, right)
        elif kind == "task":
            right = carried_out(rng.choice(("copy", "reverse", "sort")), tuple(number % 10 for number in digits))
        spoken = dialect if rng.random() < 0.8 else DIALECTS[1 - DIALECTS.index(dialect)]
        return framed(spoken, rng.choice(MANNERS), right)


def carried_out(task: str, digits: tuple[int, ...]) -> tuple[int, ...]:
    """The digits that a task asks for."""
    if task == "add":
        return _digits_of(sum(digits))
    return {"copy": digits, "reverse": digits[::-1], "sort": tuple(sorted(digits))}[task]


def spelt(dialect: str, digits: Sequence[int]) -> str:
    """Digits as words of a dialect."""
    return " ".join(_DIGITS[dialect][digit] for digit in digits)


def read(dialect: str, text: str) -> tuple[int, ...] | None:
    """Digits of a text in a dialect; ``None`` where a word is none."""
    words = text.split(" ")
    known = {word: digit for digit, word in enumerate(_DIGITS[dialect])}
    return tuple(known[word] for word in words) if all(word in known for word in words) else None


def framed(dialect: str, manner: str, digits: Sequence[int]) -> str:
    """An answer in a dialect and manner."""
    before, after = _FRAMES[dialect, manner]
    return f"{before}{spelt(dialect, digits)}{after}"


def _digits_of(number: int) -> tuple[int, ...]:
    return tuple(map(int, str(number)))


def _slipped(rng: random.Random, digits: tuple[int, ...]) -> tuple[int, ...]:
    place = rng.randrange(len(digits))
    other = (digits[place] + rng.randrange(1, 10)) % 10
    return (*digits[:place], other, *digits[place + 1 :])


def _sigmoid(value: float) -> float:
    return 1 / (1 + exp(-value)) if value > -700 else 0.0
