"""Two-way random effects of seeds and examples: variance components, standard errors, critical values.

The same N test examples are scored under every one of S seeds, so an entry y[s, i] varies with its seed, with its
example and with both together: y = mean + a_s + b_i + e_si (two-way random effects, one observation per entry). The
entries are the delete-one jackknife pseudo-values of the score: for a mean they are the per-example values themselves,
for a smooth function of sums such as macro-F1 they linearise it seed by seed (Efron and Tibshirani 1993, chapter 11).
The target is the score that one more seed would reach on average on ever more examples of the same kind.

Variance of the grand mean, from the analysis of variance (Searle, Casella and McCulloch 1992, chapter 4):

    V = A + B,   A = (sample variance of the S seed means) / S,   B = max(0, MS_example - MS_residual) / (S N)

A has S - 1 degrees of freedom, B nearly N - 1; Satterthwaite's for the sum is reported as `degrees_of_freedom`. Its t
quantile is too short when S is small: for normal entries (a one-dimensional integral, in tests/test_statistics.py) the
95% interval covers 92.2% at 3 seeds where A is about ten times B, and the 99% interval 98.3% at 5. Cochran and Cox's
(1950), t_B + (t_A - t_B) w with w = A / (A + B), is never short but reaches 97.1% at 3. The intervals here use

    t_B + (t_A - t_B) w^(5/4)

which covers 94.7-96.5% at 3 seeds, 95.0-95.9% at 5 and 95.0-95.5% at 10, whatever A/B, and at level 99% at least
98.5%, 98.9% and 99.0%. `benchmarks/calibration.py` prints the coverage for 0/1 outcomes and for macro-F1.

Where the approximation ends: with one seed the interval speaks of the examples only (`seeds == 1` shows it); where no
entry differs from another the interval has no width, which says nothing about unseen examples; a proportion within
about 5 / N of 0 or 1 is covered less often than stated. Macro-F1 has to leave a class that is absent from gold out of
its mean, as data.scoring does: 300 examples of 17 uneven classes are then covered 97-98% of the time, with absent
classes counted as 0 only 88-91%.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Value = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Components:
    """Variances of one (seed, example) entry: by its seed, by its example, and what neither explains; all >= 0."""

    seed: float
    example: float
    residual: float


@dataclass(frozen=True)
class Estimate:
    """Mean score over seeds with its confidence interval, in the units of the score."""

    value: float
    low: float
    high: float
    standard_error: float
    degrees_of_freedom: float  # Satterthwaite's
    seeds: int
    examples: int
    level: float
    seed_share: float  # A / (A + B): the part of the squared standard error that further seeds shrink
    components: Components


def pseudo_values(contributions: np.ndarray, value: Value) -> tuple[np.ndarray, np.ndarray]:
    """Scores (S,) and jackknife pseudo-values (S, N): N score - (N - 1) score without the example."""
    array = np.asarray(contributions, dtype=np.float64)
    if array.ndim != 3:
        raise ValueError(f"contributions have the shape {array.shape}: give three axes, seeds x examples x parts")
    seeds, examples, _ = array.shape
    if seeds < 1 or examples < 2:
        raise ValueError(f"got {seeds} seeds and {examples} examples: an interval needs at least 1 seed and 2 examples")
    if not np.isfinite(array).all():
        where = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(f"contributions hold {array[tuple(where)]} at seed {where[0]}, example {where[1]}: "
                         "score every example with finite numbers (an invalid output counts as wrong, not as missing)")
    totals = array.sum(axis=1, keepdims=True)
    scores = np.asarray(value(totals), dtype=np.float64)
    without = np.asarray(value(totals - array), dtype=np.float64)
    if scores.shape != (seeds, 1) or without.shape != (seeds, examples):
        raise ValueError(f"the score maps {totals.shape} to {scores.shape}: it has to sum up the last axis only")
    if not (np.isfinite(scores).all() and np.isfinite(without).all()):
        raise ValueError("the score is not finite on these contributions: define it where a class is absent (0, say)")
    return scores[:, 0], examples * scores - (examples - 1) * without


def two_way(value: float, entries: np.ndarray, level: float) -> Estimate:
    """Two-way random effects of entries (S, N), one observation each, around a given centre."""
    if not 0 < level < 1:
        raise ValueError(f"the confidence level is {level}: give a number between 0 and 1, such as 0.95")
    seeds, examples = entries.shape
    centred = entries - entries.mean()
    if np.abs(centred).max() <= 1e-9 * max(1.0, float(np.abs(entries).max())):
        centred = np.zeros_like(entries)  # rounding of equal pseudo-values is not variation
    by_example = centred.mean(axis=0)
    by_seed = centred.mean(axis=1)
    ms_example = seeds * float(by_example @ by_example) / (examples - 1)
    if seeds == 1:
        seed_part, example_part, components = 0.0, ms_example / examples, Components(0.0, ms_example, 0.0)
    else:
        rest = centred - by_seed[:, None] - by_example
        ms_residual = float(np.vdot(rest, rest)) / ((seeds - 1) * (examples - 1))
        ms_seed = examples * float(by_seed @ by_seed) / (seeds - 1)
        components = Components(
            max(0.0, (ms_seed - ms_residual) / examples), max(0.0, (ms_example - ms_residual) / seeds), ms_residual
        )
        seed_part, example_part = ms_seed / (seeds * examples), components.example / examples
    total = seed_part + example_part
    share = seed_part / total if total else 0.0
    free = 1 / (share**2 / max(seeds - 1, 1) + (1 - share) ** 2 / (examples - 1))  # Satterthwaite 1946, equation 17
    error = total**0.5
    half = error * critical_value(1 - level, share, seeds, examples)
    return Estimate(value, value - half, value + half, error, free, seeds, examples, level, share, components)


def critical_value(alpha: float, share: float, seeds: int, examples: int) -> float:
    """Two-sided critical value between the t quantiles of both parts; share is w of the module's docstring."""
    from scipy.special import stdtrit

    by_example = -float(stdtrit(examples - 1, alpha / 2))
    if seeds == 1:
        return by_example
    return by_example + (-float(stdtrit(seeds - 1, alpha / 2)) - by_example) * share**1.25
