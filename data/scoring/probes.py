"""Scores of policies that write responses (``data.records.probes``): shares of responses, and means in nats."""

from __future__ import annotations

from data.scoring.score import Score, mean_of

SCORES: tuple[Score, ...] = (
    mean_of("win_rate"),
    mean_of("lc_win_rate"),
    mean_of("entropy", percent=False),
    mean_of("knowledge_nll", percent=False, higher_is_better=False),
    mean_of("demonstration_log_ratio", percent=False),
)
"""KL to the base and likelihood of demonstrations are those of ``scoring_tabular``, the rest of ``scoring_columns``."""
