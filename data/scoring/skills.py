"""Scores of the world of skills (``data.worlds.skills.data``): success in each skill."""

from __future__ import annotations

from data.scoring.score import Score, mean_of

SCORES: tuple[Score, ...] = tuple(
    mean_of(f"{skill}_success") for skill in ("arithmetic", "strings", "facts", "programs", "style")
)
"""Columns of ``SkillData.frame``; success over all, reward and response length are scores of every text."""
