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

Where the score is the mean of its examples' values and these have a known range, as shares have,
`sweeps.inference.bounded` has an exact bound over examples, given the seeds. With one seed its distance E is the
half-width: Clopper and Pearson's interval for a share. With more it takes the place of the examples' normal part P, t
times the standard error of the examples' means, in the crossed half-width C:

    sqrt(C^2 + E^2 - P^2) where C > P,   E C / P where C < P (seeds that agree by luck),

but never less than E sqrt(10 / telling), where ten examples or fewer differ from the usual one never less than E. In C
the seeds are taken to differ more, as the examples do, were the bound the truth: seeds that miss 2% on average differ
less than seeds that miss 6%. For any other score the interval is the crossed one, and with fewer than ten telling
examples there is no verdict (`Estimate.decidable`).

Where it ends: with one seed the interval speaks of the examples only (`seeds == 1` shows it). A seed that fails once in
ten times is not seen in three; where seeds change an error rate by half of itself, claims at their margin are decided
wrongly in up to 5% at three seeds in place of 2.5%. Macro-F1 leaves a class that is absent from gold out of its mean,
as data.scoring does. A class with few gold examples that the arm gets all wrong, or all right, adds its full weight to
the score and nothing to the variance seen, and one that is absent is missing from the mean: where rare classes are also
harder, intervals cover as little as 82% (`benchmarks/calibration.py --rare`). Tables print a caution below ten gold
examples of a class; from ten on intervals cover 94-97%.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from sweeps.inference.bounded import PLACES, Bound, Sample, Tail, root

Value = Callable[[np.ndarray], np.ndarray]

FEW = 10
"""Telling examples below which a score that is no mean of known range decides nothing."""

LOG_P = -230.0
SMALLEST_P = float(np.exp(LOG_P))
"""About 1e-100; stands for all smaller p-values, whose quantiles are unreliable."""


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
    sample: Sample | None = field(default=None, kw_only=True, repr=False)  # for the exact bound; None: normal theory
    telling: float = field(default=math.inf, kw_only=True)  # examples that differ from the usual one; few large: few

    @property
    def decidable(self) -> bool:
        """Whether enough differs from entry to entry to tell how far other entries might lie."""
        if self.sample is not None or self.telling >= FEW:
            return True
        # A figure of the whole run, the same for all of its examples: its seeds are the sample.
        return self.telling == 0 and self.seeds > 1 and self.components.seed > 0

    def half_width(self, alpha: float, *, above: bool) -> float:
        """Distance from the value to one end of the interval of level 1 - alpha."""
        return self._width(alpha, Tail(self.sample, above=above).bound(alpha) if self.sample else None, above)

    def significance(self, distance: float, *, above: bool) -> float:
        """Two-sided p-value of a truth on that side: the level at which the interval's end is as far from the value."""
        tail = Tail(self.sample, above=above) if self.sample else None
        if distance <= 0 or not self.decidable:
            return 1.0
        if tail is None or tail.degenerate:
            if self._width(SMALLEST_P, None, above) <= distance:
                return SMALLEST_P
            at = root(lambda log_p: self._width(float(np.exp(log_p)), None, above) - distance, LOG_P, 0.0)
            return float(np.exp(at))
        if self.seeds == 1:
            return max(SMALLEST_P, tail.p_value(distance))

        def gap(place: float) -> float:
            bound = tail.at(place)
            return self._width(bound.p_value, bound, above) - distance

        return max(SMALLEST_P, tail.at(root(gap, *PLACES)).p_value)

    def _width(self, alpha: float, bound: Bound | None, above: bool) -> float:
        """Half-width at a level, given the exact bound over examples where there is one."""
        from scipy.special import stdtrit

        if bound and self.seeds == 1:
            return bound.distance
        alpha = max(alpha, SMALLEST_P)
        crossed = self._crossed(alpha, 1.0)
        if not (bound and bound.distance and self.sample):
            return crossed
        normal = -self.sample.standard_error * float(stdtrit(self.sample.examples - 1, alpha / 2))
        furthest = max(crossed, bound.distance)
        crossed = self._crossed(alpha, self.sample.growth(self.sample.mean + (furthest if above else -furthest)))
        if crossed < normal:
            width = bound.distance * crossed / normal
        else:
            width = math.hypot((crossed - normal) ** 0.5 * (crossed + normal) ** 0.5, bound.distance)
        least = bound.distance * min(1.0, FEW / self.telling) ** 0.5 if self.telling else bound.distance
        return max(width, least)

    def _crossed(self, alpha: float, growth: float) -> float:
        """Half-width from the variance components, where seeds deviate `growth` times as far as was seen."""
        by_seed, by_example = self.seed_share * self.standard_error**2, (1 - self.seed_share) * self.standard_error**2
        by_seed += self.components.seed / self.seeds * (growth**2 - 1)
        total = by_seed + by_example
        return total**0.5 * critical_value(alpha, by_seed / total if total else 0.0, self.seeds, self.examples)


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
        raise ValueError(
            f"contributions hold {array[tuple(where)]} at seed {where[0]}, example {where[1]}: "
            "score every example with finite numbers (an invalid output counts as wrong, not as missing)"
        )
    totals = array.sum(axis=1, keepdims=True)
    scores = np.asarray(value(totals), dtype=np.float64)
    without = np.asarray(value(totals - array), dtype=np.float64)
    if scores.shape != (seeds, 1) or without.shape != (seeds, examples):
        raise ValueError(f"the score maps {totals.shape} to {scores.shape}: it has to sum up the last axis only")
    if not (np.isfinite(scores).all() and np.isfinite(without).all()):
        raise ValueError("the score is not finite on these contributions: define it where a class is absent (0, say)")
    return scores[:, 0], examples * scores - (examples - 1) * without


def two_way(value: float, entries: np.ndarray, level: float, sample: Sample | None = None) -> Estimate:
    """Two-way random effects of entries (S, N), one observation each, around a given centre.

    Args:
        value: the centre.
        entries: (S, N), finite.
        level: confidence level.
        sample: what the examples say, for the exact bound; None: the entries alone, by normal theory.
    """
    if not 0 < level < 1:
        raise ValueError(f"the confidence level is {level}: give a number between 0 and 1, such as 0.95")
    seeds, examples = entries.shape
    centred = entries - entries.mean()
    rounding = 1e-9 * max(1.0, float(np.abs(entries).max()))
    if np.abs(centred).max() <= rounding:
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
    away = np.abs(by_example - np.median(by_example))
    away[away <= rounding] = 0.0
    telling = float(away.sum() ** 2 / (away @ away)) if away.any() else 0.0
    found = Estimate(
        value, value, value, error, free, seeds, examples, level, share, components, sample=sample, telling=telling
    )
    low, high = (found.half_width(1 - level, above=above) for above in (False, True))
    return replace(found, low=value - low, high=value + high)


def critical_value(alpha: float, share: float, seeds: int, examples: int) -> float:
    """Two-sided critical value between the t quantiles of both parts; share is w of the module's docstring."""
    from scipy.special import stdtrit

    by_example = -float(stdtrit(examples - 1, alpha / 2))
    if seeds == 1:
        return by_example
    return by_example + (-float(stdtrit(seeds - 1, alpha / 2)) - by_example) * share**1.25
