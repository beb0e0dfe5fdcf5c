"""Scores of tabular worlds (``data.worlds.tabular.bandit``): means over prompts, in nats, reward or total variation."""

from __future__ import annotations

from data.scoring.score import Score, mean_of

SCORES: tuple[Score, ...] = (
    mean_of("reward_after_dpo", percent=False),
    mean_of("kl_to_base", percent=False, higher_is_better=False),
    mean_of("demonstration_nll", percent=False, higher_is_better=False),
    mean_of("distance_to_sft", percent=False, higher_is_better=False),
    mean_of("distance_to_optimum", percent=False, higher_is_better=False),
)
"""Columns of ``TabularWorld.frame``; the reward itself is one of ``scoring_columns``."""
