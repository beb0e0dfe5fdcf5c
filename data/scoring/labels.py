"""Scores of predicted labels: frames with the columns ``gold`` and ``prediction``; "" is an invalid prediction."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from data.scoring.score import Score, share_of_sums

if TYPE_CHECKING:
    import pandas as pd

INVALID = ""


def labelled(frame: pd.DataFrame) -> bool:
    """Whether a frame has gold labels and predictions."""
    return {"gold", "prediction"} <= set(frame.columns)


def answers(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Gold labels and predictions, (N,) each; ``ValueError`` where a frame lacks them."""
    missing = [name for name in ("gold", "prediction") if name not in frame.columns]
    if missing:
        raise ValueError(f"a frame of examples needs the columns gold and prediction, {missing} are missing")
    return frame["gold"].to_numpy(dtype=object), frame["prediction"].to_numpy(dtype=object)


def _share(name: str, hit: Callable[[np.ndarray, np.ndarray], np.ndarray], *, higher_is_better: bool = True) -> Score:
    """Share of the examples for which ``hit(gold, prediction)`` holds; D = 2: hits, examples."""

    def contributions(frame: pd.DataFrame) -> np.ndarray:
        hits = hit(*answers(frame)).astype(np.float64)
        return np.stack([hits, np.ones_like(hits)], axis=1)

    return Score(name, contributions, share_of_sums, True, higher_is_better, labelled)


ACCURACY = _share("accuracy", lambda gold, prediction: gold == prediction)

SCORES: tuple[Score, ...] = (
    ACCURACY,
    _share("invalid_rate", lambda gold, prediction: prediction == INVALID, higher_is_better=False),
)
