"""Scores of policies on problems with verifiers: success in and out of distribution, and cost."""

from __future__ import annotations

from data.scoring.score import Score, mean_of

SCORES: tuple[Score, ...] = (
    *(mean_of(f"{part}_{name}") for name in ("success", "greedy", "pass_at_k") for part in ("id", "ood", "landmarks")),
    mean_of("greedy"),
    mean_of("pass_at_k"),
    mean_of("rollout_tokens", percent=False, higher_is_better=False),
    mean_of("validation_tokens", percent=False, higher_is_better=False),
    mean_of("megatokens", percent=False, higher_is_better=False),
    mean_of("mu", percent=False),
    mean_of("reached"),
    mean_of("megatokens_to_reach", percent=False, higher_is_better=False),
    mean_of("rollouts_to_reach", percent=False, higher_is_better=False),
)
"""``success`` itself and ``response_tokens`` are among ``scoring_columns``."""
