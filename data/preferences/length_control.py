"""Win rates at equal length: what a judge would say if both responses were as long (arXiv 2404.04475). numpy only.

A logistic regression of wins on the difference in length, read where that is 0. Departures from AlpacaEval 2: no term
for the difficulty of an instruction, whose values come from fits to all models of its leaderboard, and so no number
here is one of that leaderboard.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_STEPS = 100
_TOLERANCE = 1e-10
_RIDGE = 0.01
"""Pull of the slope towards 0, in examples: keeps it finite where length alone separates wins from losses."""


def length_controlled(wins: Sequence[float], differences: Sequence[float]) -> np.ndarray:
    """Per-example terms (N,) whose mean is the length-controlled win rate.

    Each is the win rate plus the example's influence on it, so that the spread of the terms gives the rate's standard
    error by the usual formula, and paired differences of two models work as for plain wins.

    Args:
        wins: (N,) shares from 0 to 1 in which the model was preferred.
        differences: (N,) length of the model's response less that of the other, in any unit.

    Raises:
        ValueError: fewer than two examples, unequal lengths, or a win outside 0 to 1.
    """
    won, apart = np.asarray(wins, dtype=np.float64), np.asarray(differences, dtype=np.float64)
    if won.shape != apart.shape or won.ndim != 1 or len(won) < 2:
        raise ValueError(f"wins and differences must be two lists of equal length, got {won.shape} and {apart.shape}")
    if not ((won >= 0) & (won <= 1)).all():
        raise ValueError("a win is a share from 0 to 1")
    if won.min() == won.max():
        return won.copy()  # always or never (or always a tie): length has nothing to explain
    spread = apart.std()
    # Long tails count little, as in the paper: hyperbolic tangent of the difference in standard deviations.
    term = np.tanh(apart / spread) if spread > 0 else np.zeros_like(apart)
    design = np.stack([np.ones_like(term), term], axis=1)
    ridge = np.diag([0.0, _RIDGE])
    weights = np.zeros(2)
    for _ in range(_STEPS):
        fitted = _sigmoid(design @ weights)
        curvature = (design * (fitted * (1 - fitted))[:, None]).T @ design + ridge
        slope = design.T @ (won - fitted) - ridge @ weights
        step = np.linalg.solve(curvature, slope)
        step *= min(1.0, 2.0 / max(np.abs(step).max(), 1e-12))  # far from the optimum a whole step overshoots
        weights = weights + step
        if np.abs(step).max() < _TOLERANCE:
            break
    fitted = _sigmoid(design @ weights)
    curvature = (design * (fitted * (1 - fitted))[:, None]).T @ design + ridge
    rate = _sigmoid(weights[:1])[0]
    influence = (design * (won - fitted)[:, None]) @ np.linalg.inv(curvature)[0] * rate * (1 - rate) * len(won)
    terms: np.ndarray = rate + influence - influence.mean()
    return terms


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * values))
