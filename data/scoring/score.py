"""What a score is, and the kind that most are: the mean of a numeric column of a frame. numpy and pandas only.

Lists of scores are in the files ``scoring_*``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


class Score(NamedTuple):
    """A score that statistics can take apart.

    Attributes:
        name: what tables call it.
        contributions: frame of N examples -> (N, D) float64, one row per example.
        value: sums (or means: the scale does not matter) of contributions (..., D) -> (...); a fraction.
        percent: show 100 times the value.
        higher_is_better: direction of improvement.
        applies: whether the score means anything for a frame.
        classes: for a mean over classes, its contributions (N, D) -> gold examples of each class.
    """

    name: str
    contributions: Callable[[pd.DataFrame], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]
    percent: bool = True
    higher_is_better: bool = True
    applies: Callable[[pd.DataFrame], bool] = lambda frame: True
    classes: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Range of one example's value where the score is the mean of its examples' shares; None: no known range."""
        return (0.0, 1.0) if self.percent and self.value is share_of_sums else None

    def of(self, frame: pd.DataFrame) -> float:
        """The score of a frame, as a fraction; ``ValueError`` for an empty one."""
        if not len(frame):
            raise ValueError(f"{self.name} of no example is undefined: give at least one row")
        return float(self.value(self.contributions(frame).sum(axis=0)))


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, and 0 where whole is 0."""
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=whole != 0)


def share_of_sums(sums: np.ndarray) -> np.ndarray:
    """First of two sums (..., 2) over the second."""
    return ratio(sums[..., 0], sums[..., 1])


def mean_of(column: str, *, percent: bool = True, higher_is_better: bool = True) -> Score:
    """Mean of a column; D = 2: its value, 1. A row without a value (NaN) counts neither way."""

    def contributions(frame: pd.DataFrame) -> np.ndarray:
        values = frame[column].to_numpy(dtype=np.float64)
        known = ~np.isnan(values)
        return np.stack([np.where(known, values, 0.0), known.astype(np.float64)], axis=1)

    return Score(
        column,
        contributions,
        share_of_sums,
        percent,
        higher_is_better,
        lambda frame: column in frame.columns and bool(frame[column].notna().any()),
    )
