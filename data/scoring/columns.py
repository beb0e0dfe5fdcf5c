"""Scores whose columns mean the same wherever they occur."""

from __future__ import annotations

from data.scoring.score import Score, mean_of

SCORES: tuple[Score, ...] = (
    mean_of("exact_match"),
    mean_of("token_f1"),
    mean_of("answer_contained"),
    mean_of("rouge_l"),
    mean_of("success"),
    mean_of("reward", percent=False),
    mean_of("response_tokens", percent=False, higher_is_better=False),
)
