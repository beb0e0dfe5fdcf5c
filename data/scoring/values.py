"""Scores of values read from logits, each a smooth function of sums over examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from data.scoring.score import Score, mean_of, ratio

if TYPE_CHECKING:
    import pandas as pd


def _correlation() -> Score:
    """Pearson correlation of estimate and return over both prefixes of all examples. D = 6: moments of the two."""

    def contributions(frame: pd.DataFrame) -> np.ndarray:
        x = frame[["good_value", "corrupted_value"]].to_numpy(dtype=np.float64)
        y = frame[["good_return", "corrupted_return"]].to_numpy(dtype=np.float64)
        return np.stack([part.sum(1) for part in (np.ones_like(x), x, y, x * x, y * y, x * y)], axis=1)

    def value(sums: np.ndarray) -> np.ndarray:
        mean = sums / sums[..., :1]
        covariance = mean[..., 5] - mean[..., 1] * mean[..., 2]
        spread = (mean[..., 3] - mean[..., 1] ** 2) * (mean[..., 4] - mean[..., 2] ** 2)
        return ratio(covariance, np.sqrt(np.maximum(spread, 0.0)))

    return Score("return_correlation", contributions, value, False, True, lambda frame: "good_return" in frame.columns)


def _end_spread() -> Score:
    """Standard deviation of estimates at end states over that of estimates on the way: 0 where ends share a value."""

    def contributions(frame: pd.DataFrame) -> np.ndarray:
        columns = frame[["end", "end_square", "way", "way_square"]].to_numpy(dtype=np.float64)
        return np.concatenate([np.ones((len(frame), 1)), columns], axis=1)

    def value(sums: np.ndarray) -> np.ndarray:
        mean = sums / sums[..., :1]
        ends, ways = (np.maximum(mean[..., at + 1] - mean[..., at] ** 2, 0.0) for at in (1, 3))
        return ratio(np.sqrt(ends), np.sqrt(ways))

    def applies(frame: pd.DataFrame) -> bool:
        return "end" in frame.columns and bool(frame["end"].notna().all())

    return Score("end_spread", contributions, value, False, False, applies)


SCORES: tuple[Score, ...] = (mean_of("separates"), mean_of("reward_concordance"), _correlation(), _end_spread())
"""Tests of arXiv 2507.00018's statement that logits act as Q-functions."""
