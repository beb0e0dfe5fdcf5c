"""Bounds for a mean that do not lean on a normal distribution: exact where few examples tell two arms apart.

N examples each say x[i] (the mean over seeds of an arm's score, or of a difference). The lower bound adds one example
more, as bad as an unseen one can be, and draws random weights from a flat Dirichlet distribution over the N + 1
(Gaffke 2005; Learned-Miller and Thomas 2019): the mean is at least h where the weighted mean lies below h with a
probability of at most alpha. For outcomes of 0 and 1 that is Clopper and Pearson's exact binomial bound; for the
difference of two such arms and h = 0 it is McNemar's exact test; with many examples it is the t interval's end,
corrected for skewness. No distribution on a bounded range is known for which it errs more often than alpha, and
`benchmarks/calibration.py` looks for one.

The probability is that of a beta distribution where x has two values, else a saddlepoint approximation (Lugannani and
Rice 1980) that is at most 3% of itself too large.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

PLACES = (-230.0, 25.0)
"""Ends of a tail: p-values far below 1e-100, and of nearly 1."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Sample:
    """What the examples say, each the mean over seeds, and how far an unseen example could lie; units of the score.

    Attributes:
        values: distinct values, ascending.
        counts: examples of each.
        lowest, highest: what an unseen example can say.
        step: most by which one answer can move an example's value.
    """

    values: tuple[float, ...]
    counts: tuple[int, ...]
    lowest: float
    highest: float
    step: float

    @property
    def examples(self) -> int:
        """N."""
        return sum(self.counts)

    @cached_property
    def mean(self) -> float:
        """Of the examples."""
        return float(np.average(self.values, weights=self.counts))

    @cached_property
    def size(self) -> float:
        """Mean absolute value."""
        return float(np.average(np.abs(self.values), weights=self.counts))

    @cached_property
    def standard_error(self) -> float:
        """Of the mean, by normal theory."""
        spread = np.average((np.asarray(self.values) - self.mean) ** 2, weights=self.counts)
        return float((spread / (self.examples - 1)) ** 0.5)

    def growth(self, mean: float) -> float:
        """How much more the examples have to vary than they were seen to, at least, for a mean of `mean`; 1 or more.

        For shares p and q of right answers q (1 - q) / p (1 - p); for a difference, the share of examples in which the
        arms differ.
        """
        if self.lowest == -self.highest:
            seen, needed = self.size, abs(mean)
        else:
            middle = (self.lowest + self.highest) / 2  # where shares vary most
            between = min(max(self.mean, mean), max(middle, min(self.mean, mean)))
            seen, needed = ((at - self.lowest) * (self.highest - at) for at in (self.mean, between))
        return max(1.0, needed / seen) if seen > 0 else 1.0


def sample(entries: np.ndarray, limits: Range, step: float) -> Sample:
    """What examples say: values (N,), the range of an unseen one's, and the most that one answer can move it."""
    scale = max(1.0, float(np.abs(entries).max()))
    values, counts = np.unique(np.round(entries / scale, 10) * scale, return_counts=True)
    low, high = min(limits[0], float(values[0])), max(limits[1], float(values[-1]))  # beyond it by rounding
    return Sample(tuple(values.tolist()), tuple(counts.tolist()), low, high, step)


class Bound(NamedTuple):
    """One bound of a mean: its distance from the mean seen, and its two-sided p-value."""

    distance: float
    p_value: float


class Tail:
    """How the weighted mean of the module's docstring falls off on one side; distances from the mean are above 0.

    Args:
        of: what the examples say.
        above: the side: False for values below the mean, whose worst unseen example is the lowest.
    """

    def __init__(self, of: Sample, *, above: bool) -> None:
        sign = -1.0 if above else 1.0
        worst = sign * (of.highest if above else of.lowest)
        self._values = np.append(sign * np.asarray(of.values), worst)
        self._counts = np.append(np.asarray(of.counts, dtype=np.float64), 1.0)
        self._worst, self._mean = worst, sign * of.mean
        self._scale = float(self._values.max() - worst)
        self._two = len(set(self._values.tolist())) == 2

    @property
    def degenerate(self) -> bool:
        """Whether all examples are as bad as an unseen one can be: the mean cannot lie further on that side."""
        return self._scale == 0

    def at(self, place: float) -> Bound:
        """The bound at any real number `place`, in which its distance and its p-value are monotone.

        Every place is a saddlepoint: the weights that make its distance the mean are proportional to 1 / (x - b), with
        b = worst - scale exp(place).
        """
        away = self._values - self._worst + self._scale * np.exp(place)  # x - b
        weights = self._counts / away
        reach = float(self._counts.sum() / weights.sum())  # mean - b
        mean = self._worst + reach - self._scale * float(np.exp(place))
        return Bound(self._mean - mean, min(1.0, 2.0 * self._probability(mean, away, reach)))

    def p_value(self, distance: float) -> float:
        """Two-sided p-value of a true mean at that distance."""
        if self.degenerate or self._mean - distance <= self._worst:
            return 0.0 if distance > 0 else 1.0
        exact = self._beta(self._mean - distance)
        if exact is not None:
            return min(1.0, 2.0 * exact)
        return self.at(root(lambda place: self.at(place).distance - distance, *PLACES)).p_value

    def bound(self, alpha: float) -> Bound:
        """The bound at a two-sided level."""
        if self.degenerate:
            return Bound(0.0, alpha)
        return self.at(root(lambda place: self.at(place).p_value - alpha, *PLACES))

    def _beta(self, mean: float) -> float | None:
        """P(weighted mean <= mean) where the values that differ from `mean` are two; None where they are more."""
        from scipy.special import betainc

        around = self._values - mean
        around[np.abs(around) <= 1e-12 * self._scale] = 0.0
        below, above = np.unique(around[around < 0]), np.unique(around[around > 0])
        if len(below) != 1 or len(above) != 1:
            return None
        least, most = (float(self._counts[around == end[0]].sum()) for end in (below, above))
        return float(betainc(most, least, -below[0] / (above[0] - below[0])))

    def _probability(self, mean: float, away: np.ndarray, reach: float) -> float:
        """P(weighted mean <= mean), given x - b and mean - b at its saddlepoint."""
        exact = self._beta(mean) if self._two else None
        if exact is not None:
            return exact
        from scipy.special import ndtr

        tilted = (away - reach) * reach / away
        second = float(self._counts @ tilted**2)
        root = -((2.0 * max(0.0, float(self._counts @ np.log(away / reach)))) ** 0.5)
        if root > -1e-3:  # at the mean itself both terms below grow without end
            third = 2.0 * float(self._counts @ tilted**3)
            return float(ndtr(root) + third / (6.0 * (2.0 * np.pi) ** 0.5 * second**1.5))
        saddle = -(second**0.5) / reach
        density = float(np.exp(-(root**2) / 2.0)) / (2.0 * np.pi) ** 0.5
        return max(0.0, float(ndtr(root)) + density * (1.0 / root - 1.0 / saddle))


def root(gap: Callable[[float], float], first: float, last: float) -> float:
    """Where a monotone function is 0; the end at which it is nearer to 0 where it is 0 nowhere between both."""
    from scipy.optimize import brentq

    at_first, at_last = gap(first), gap(last)
    if at_first * at_last > 0:
        return first if abs(at_first) < abs(at_last) else last
    return float(brentq(gap, first, last, xtol=1e-10))
