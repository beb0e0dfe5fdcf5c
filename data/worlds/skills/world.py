"""A world of five skills in short texts: arithmetic, strings, facts, programs, style. Each answer is checked exactly.

What source models differ in: a source is trained on a mix of skills that favours its own (``mix``), a pivot on all of
them a little. Splits: ``train`` for sources and pivot, ``preference`` for sampled pairs (one half for supervised
fine-tuning, one for preferences), ``validation`` and ``test``.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from types import MappingProxyType

from data.loading.seeding import check_split, generator
from data.records.episodes import Grade, Problem
from data.records.texts import Demonstration
from data.worlds.environment import SingleTurn, one_turn
from data.worlds.skills.kinds import Arithmetic, Facts, Programs, Skill, Strings, Style

SKILLS = ("arithmetic", "strings", "facts", "programs", "style")
EVEN = MappingProxyType({skill: 1 / len(SKILLS) for skill in SKILLS})
_SHARES = MappingProxyType({"train": 0.5, "preference": 0.3, "validation": 0.1, "test": 0.1})


class SkillWorld:
    """See the module's text.

    Args:
        seed: of the facts, the lexicon and every draw.
        facts: how many facts there are to know.
        lexicon: words that ``style`` may use.
        mix: share of each skill among the problems.
        arithmetic: difficulty of arithmetic, see ``kinds.Arithmetic``.
        shares: of the tasks, for each split; facts want shares that are multiples of 0.1.
    """

    splits = ("train", "preference", "validation", "test")

    def __init__(
        self,
        *,
        seed: int,
        facts: int = 200,
        lexicon: int = 120,
        mix: Mapping[str, float] = EVEN,
        arithmetic: Mapping[str, float] = MappingProxyType({}),
        shares: Mapping[str, float] = _SHARES,
    ) -> None:
        if facts < 1 or lexicon < 60:
            raise ValueError(f"facts must be at least 1 and lexicon at least 60, got {facts} and {lexicon}")
        if set(shares) != set(_SHARES) or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-9:
            raise ValueError(f"shares must be positive, add up to 1 and name {', '.join(_SHARES)}, got {dict(shares)}")
        self.seed = seed
        self.mix = self._checked(mix)
        self.shares = dict(shares)
        self.skills: dict[str, Skill] = {
            "arithmetic": Arithmetic(**arithmetic),  # type: ignore[arg-type]  # checked there
            "strings": Strings(),
            "facts": Facts(seed=seed, count=facts),
            "programs": Programs(),
            "style": Style(seed=seed, count=lexicon),
        }

    def vocabulary(self) -> tuple[str, ...]:
        """Every character of prompts and answers."""
        return tuple(string.ascii_letters + string.digits + " +-*=?!.,;:")

    def problem(self, split: str, index: int, *, skill: str | None = None) -> Problem:
        """A problem of one skill, or of one drawn from ``mix``."""
        check_split(split, self.splits, index)
        if skill is not None and skill not in SKILLS:
            raise ValueError(f"skill must be one of {', '.join(SKILLS)}, got {skill!r}")
        rng = generator(self.seed, "skills", split, index, skill or "")
        name = skill or rng.choices(list(self.mix), list(self.mix.values()))[0]
        while True:
            task = self.skills[name].draw(rng)
            if self._split_of(task.lot) == split:
                return Problem(f"skills/{split}/{skill or 'mix'}/{index}", name, task.prompt, task.answer, task.hidden)

    def demonstrations(self, problem: Problem) -> tuple[Demonstration]:
        """The answer that was drawn with the problem."""
        return one_turn(problem, problem.answer)

    def grade(self, problem: Problem, answer: str) -> Grade:
        """See the skill; at most 80 characters are looked at."""
        return self.skills[problem.task].grade(problem.answer, problem.hidden, answer)

    def environment(self) -> SingleTurn:
        """One answer, graded."""
        return SingleTurn(self.grade)

    def _split_of(self, lot: float) -> str:
        total = 0.0
        for split, share in self.shares.items():
            total += share
            if lot < total:
                return split
        return self.splits[-1]

    @staticmethod
    def _checked(mix: Mapping[str, float]) -> dict[str, float]:
        if not mix or set(mix) - set(SKILLS) or min(mix.values()) < 0 or abs(sum(mix.values()) - 1) > 1e-9:
            raise ValueError(f"mix must be shares of {', '.join(SKILLS)} that add up to 1, got {dict(mix)}")
        return dict(mix)
