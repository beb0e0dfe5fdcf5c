"""Preference pairs in the world of skills, written by trained models and judged by the world's exact checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from data.files.stages import Stages
from data.preferences.authored_pairs import AuthoredPairs, candidates
from data.worlds.skills.data import SkillData
from data.worlds.skills.simulated_reward import SimulatedReward
from data.worlds.skills.world import SKILLS


class SkillPairs(AuthoredPairs, SkillData):
    """Pairs of responses to prompts of the split ``preference``: the first half for SFT, the second for preferences.

    Args:
        skills: skills that prompts ask for, in turn; ``None``: all.
        judge: pays the candidates; ``None``: the world's exact checks. What is tested is always checked exactly.
        options: all else is as in ``AuthoredPairs`` and in ``SkillData``; ``train_size`` counts prompts of both halves.
    """

    def __init__(
        self, *, skills: Sequence[str] | None = None, judge: SimulatedReward | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.skills = SKILLS if skills is None else tuple(skills)
        if not self.skills or set(self.skills) - set(SKILLS):
            raise ValueError(f"data.skills must name some of {', '.join(SKILLS)}, got {list(self.skills)}")
        self.judge = judge or SimulatedReward()

    def prepare(self, stages: Stages, progress: Callable[[int, int], None] | None = None) -> None:
        """Have every author write (a stage), judge the candidates and choose the pairs of this half."""
        if not self.authors:
            raise ValueError(
                f"data {self.name} needs trained sources: choose a base that has them, base=infifpo/skills_sft"
            )
        prompts = [
            self.world.problem("preference", index, skill=self.skills[index % len(self.skills)])
            for index in range(self.train_size)
        ]
        prompts = prompts[: len(prompts) // 2] if self.half == "sft" else prompts[len(prompts) // 2 :]
        rows = candidates(stages, self.authors, prompts, copies=self.copies, sampling=self.sampling, progress=progress)
        known, letters = {one.id: one for one in prompts}, set(self.world.vocabulary())
        self.dropped = dict.fromkeys(("empty", "unfinished", "other characters"), 0)
        usable = self.usable(rows, lambda _, text: "other characters" if set(text) - letters else "")
        paid = [self.world.grade(known[identifier], text).reward for identifier, _, text in usable]
        rewards = self.judge.rewards([(known[identifier].prompt, text) for identifier, _, text in usable], paid)
        found, without = self.chosen(prompts, usable, rewards)
        self.dropped["prompts without a pair"] = len(without)
        if not found:
            raise ValueError(
                f"none of {len(prompts)} prompts has responses of different reward: train the sources longer, or ask "
                "more prompts (data.train_size)"
            )
        self._choices = {"train": found}
