"""Estimates, tests and plans for scores whose seeds and examples are crossed (see ``random_effects.py``)."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from sweeps.inference.bounded import Range, Sample, root, sample
from sweeps.inference.random_effects import LOG_P, Estimate, Value, critical_value, pseudo_values, two_way

KINDS = ("greater", "at_least", "equal_within")
VERDICTS = ("holds", "fails", "undecided")
MOST_SEEDS = 1_000_000  # beyond any budget: a plan that needs more is answered like one that needs infinitely many


@dataclass(frozen=True)
class Difference(Estimate):
    """An estimated difference with the two-sided p-value of its null hypothesis (a true difference of zero)."""

    p_value: float


def estimate(contributions: np.ndarray, value: Value, level: float = 0.95, *, limits: Range | None = None) -> Estimate:
    """Mean score of a seed, with an interval over seeds and examples.

    Args:
        contributions: (S, N, D) of S seeds on the same N examples, in the same order.
        value: smooth map (..., D) -> (...) from contributions summed over examples to the score.
        level: confidence level of the interval.
        limits: range of a single example's score, where the score is the mean of its examples' scores: D is 2 then, an
            example has its score and 1, or 0 and 0 where it is left out. None: no mean, or no range is known; a share
            of right answers (parts 0 or 1, and 1) is found out all the same.

    Raises:
        ValueError: not three axes, no seed, fewer than two examples, entries that are not finite, a bad level.
    """
    scores, pseudo = pseudo_values(contributions, value)
    return two_way(float(scores.mean()), pseudo, level, _sample([contributions], value, limits))


def difference(
    left: np.ndarray,
    right: np.ndarray,
    value: Value,
    level: float = 0.95,
    *,
    limits: Range | None = None,
    left_seeds: Sequence[int] | None = None,
    right_seeds: Sequence[int] | None = None,
    left_examples: Sequence[str] | None = None,
    right_examples: Sequence[str] | None = None,
    common_seeds: bool = False,
) -> Difference:
    """Mean score of `left` minus that of `right`, paired on seeds and on examples.

    An arm with a single run (S = 1) is taken as deterministic and meets every seed of the other arm. Seed names and
    example ids are compared where both arms give them; pairing relies on position otherwise.

    Args:
        left: (S, N, D) contributions.
        right: (S, N, D) contributions on the same examples, in the same order.
        value: as in `estimate`.
        level: as in `estimate`.
        limits: as in `estimate`.
        left_seeds: names of the S seeds of `left`.
        right_seeds: names of the S seeds of `right`.
        left_examples: ids of the N examples of `left`.
        right_examples: ids of the N examples of `right`.
        common_seeds: pair on the seeds that both arms have, and leave the others out, instead of refusing.

    Raises:
        ValueError: other examples, other seeds, or what `estimate` refuses.
    """
    left, right = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if left.shape[1:] != right.shape[1:]:
        raise ValueError(
            f"the arms have contributions of shapes {left.shape} and {right.shape}: score both on the same examples"
        )
    if left_examples is not None and right_examples is not None and list(left_examples) != list(right_examples):
        only = len(set(left_examples) ^ set(right_examples))
        found = f"{only} examples are in one arm only" if only else "the order of the examples differs"
        raise ValueError(f"{found}: score both arms on the same examples and sort them by id")
    if len(left) > 1 and len(right) > 1:
        left, right = _pair_seeds(left, right, left_seeds, right_seeds, common_seeds)
    left_scores, left_pseudo = pseudo_values(left, value)
    right_scores, right_pseudo = pseudo_values(right, value)
    gap = float(left_scores.mean() - right_scores.mean())
    return _tested(two_way(gap, left_pseudo - right_pseudo, level, _sample([left, right], value, limits)), 0.0)


def excess(result: Estimate, threshold: float) -> Difference:
    """How far an estimate lies above a constant; its null hypothesis is that the true score is the constant."""
    shifted = replace(result, value=result.value - threshold, low=result.low - threshold, high=result.high - threshold)
    return _tested(shifted, 0.0)


def equivalence(result: Difference, margin: float) -> Difference:
    """The same difference, tested against the ends of (-margin, margin) in place of zero.

    Inside the margin this is the larger p-value of two one-sided tests, doubled: significant exactly when the interval
    shown lies within the margin (the usual two one-sided tests would allow the 90% interval). Outside it is that of the
    nearer end.
    """
    if not margin > 0:
        raise ValueError(f"the margin of equivalence is {margin}: give a number above 0, in the units of the score")
    if abs(result.value) >= margin:
        return _tested(result, margin if result.value > 0 else -margin)
    return max((_tested(result, end) for end in (-margin, margin)), key=lambda tested: tested.p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment over a family of claims; p-values and result in the same order.

    The same numbers as statsmodels' multipletests(method="holm"), whose import alone takes longer than a table may.
    """
    given = np.asarray(p_values, dtype=np.float64)
    if given.ndim != 1 or not np.all((given >= 0) & (given <= 1)):
        raise ValueError(f"got the p-values {list(p_values)}: give a flat list of numbers from 0 to 1")
    order = np.argsort(given, kind="stable")
    stepped = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted.tolist()


def smallest_detectable(result: Difference, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest true difference that this design finds significant with probability `power`, in the score's units.

    Never below what the exact test can find: a difference that shows in so few examples that they may all be missed.

    Args:
        result: a difference; its standard error and its components are taken as the truth.
        power: wanted probability of a significant result.
        alpha: two-sided level of the test; divide by the number of claims for Holm's first step.
    """
    _check_levels(power, alpha)
    error, share = result.standard_error, result.seed_share
    reach = critical_value(2 * (1 - power), share, result.seeds, result.examples) if power > 0.5 else 0.0
    normal = error * (critical_value(alpha, share, result.seeds, result.examples) + reach)
    if result.sample is None:
        return normal
    # Where a share d / step of the examples differs and no other does, their number has to be this large.
    quantiles = sum(critical_value(level, 0.0, 1, result.sample.examples) for level in (alpha, 2 * min(0.5, 1 - power)))
    return max(normal + max(_beyond_normal(result, alpha)), quantiles**2 * result.sample.step / result.sample.examples)


def more_seeds_needed(
    result: Difference, power: float = 0.8, alpha: float = 0.05, *, margin: float = 0.0
) -> int | None:
    """Further seeds after which a true difference as large as the observed one is found with probability `power`.

    Args:
        result: a difference; its value and components are taken as the truth.
        power: wanted probability of a significant result.
        alpha: two-sided level of the test.
        margin: of an equivalence: found is then that the difference lies within the margin (where it does: both of its
            ends have to be excluded) or outside of it; 0: that it is not zero.

    Returns:
        Zero where the seeds at hand are enough; None where no number of seeds is, because the examples alone leave more
        doubt than the difference, where the difference lies where it is tested, or where one seed shows nothing of how
        seeds vary.
    """
    _check_levels(power, alpha)
    value = abs(result.value)
    if value == margin:
        return None
    more = max(0.0, *_beyond_normal(result, alpha))
    # Inside the margin the interval has to end before both of its ends.
    gaps = [value - margin - more] if value > margin else [margin - value - more, margin + value - more]

    def enough(seeds: int) -> bool:
        by_seed = (result.components.seed + result.components.residual / result.examples) / seeds
        by_example = result.components.example / result.examples
        error = (by_seed + by_example) ** 0.5
        if min(gaps) <= 0 or not error:
            return min(gaps) > 0
        share = by_seed / error**2
        critical = critical_value(alpha, share, seeds, result.examples)
        missed = sum(_miss(gap / error - critical, share, seeds, result.examples) for gap in gaps)
        return 1 - missed >= power

    if enough(result.seeds):
        return 0
    if result.seeds == 1 or not enough(MOST_SEEDS):
        return None
    few, many = result.seeds, MOST_SEEDS
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many - result.seeds


def verdict(kind: str, result: Difference, adjusted_p: float, *, margin: float = 0.0, alpha: float = 0.05) -> str:
    """What a claim's difference says of it.

    Args:
        kind: "greater" (left above right), "at_least" (an `excess` over a constant), "equal_within" (an `equivalence`).
        result: the difference that the claim is about.
        adjusted_p: its p-value after correction over the sweep's claims.
        margin: of an "equal_within" claim.
        alpha: level at which a claim is decided.

    Returns:
        "holds" or "fails" where the difference lies significantly on that side, "undecided" otherwise.
    """
    if kind not in KINDS:
        raise ValueError(f"a claim has the kind {kind!r}: use one of {', '.join(KINDS)}")
    if not adjusted_p < alpha:
        return "undecided"
    supported = abs(result.value) < margin if kind == "equal_within" else result.value > 0
    return "holds" if supported else "fails"


def _pair_seeds(
    left: np.ndarray,
    right: np.ndarray,
    left_seeds: Sequence[int] | None,
    right_seeds: Sequence[int] | None,
    common: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Both arms cut to the same seeds in the same order, or a refusal."""
    if left_seeds is None or right_seeds is None:
        if len(left) != len(right):
            raise ValueError(
                f"the arms have {len(left)} and {len(right)} runs: run the missing ones, or name the seeds of both"
            )
        return left, right
    both = sorted(set(left_seeds) & set(right_seeds))
    if not both or (set(left_seeds) != set(right_seeds) and not common):
        raise ValueError(
            f"the arms have the seeds {sorted(left_seeds)} and {sorted(right_seeds)}: run the missing ones"
            + (", or pair on the common seeds (common_seeds=True)" if both else "")
        )
    at_left, at_right = list(left_seeds), list(right_seeds)
    return left[[at_left.index(seed) for seed in both]], right[[at_right.index(seed) for seed in both]]


def _sample(arms: Sequence[np.ndarray], value: Value, limits: Range | None) -> Sample | None:
    """What the examples say, where the score is the mean of their values and these have a known range; else None."""
    parts = [np.asarray(arm, dtype=np.float64) for arm in arms]
    if any(arm.shape[-1] != 2 for arm in parts):
        return None
    counted = parts[0][0, :, 1] > 0
    if counted.sum() < 2 or not all(np.all(arm[..., 1] == counted) for arm in parts):
        return None
    if limits is None:
        if not all(np.isin(arm[..., 0], (0.0, 1.0)).all() for arm in parts):
            return None
        limits = float(value(np.array([0.0, 1.0]))), float(value(np.array([1.0, 1.0])))
        halfway = float(value(np.array([1.0, 2.0])))
        if not (limits[0] < limits[1] and np.isclose(halfway, sum(limits) / 2)):
            return None
    said = [np.asarray(value(arm[:, counted]), dtype=np.float64) for arm in parts]
    (low, high), reach = limits, limits[1] - limits[0]
    if any(scores.min() < low - 1e-9 * reach or scores.max() > high + 1e-9 * reach for scores in said):
        return None
    means = [scores.mean(axis=0) for scores in said]
    return sample(means[0], limits, reach) if len(means) == 1 else sample(means[0] - means[1], (-reach, reach), reach)


def _check_levels(power: float, alpha: float) -> None:
    if not (0 < alpha < 1 and alpha < power < 1):
        raise ValueError(f"got power {power} and alpha {alpha}: give 0 < alpha < power < 1")


def _beyond_normal(found: Estimate, alpha: float) -> tuple[float, float]:
    """How much longer than by normal theory alone the interval of level 1 - alpha is, below and above."""
    normal = found.standard_error * critical_value(alpha, found.seed_share, found.seeds, found.examples)
    below, above = (found.half_width(alpha, above=above) - normal for above in (False, True))
    return below, above


def _miss(quantile: float, share: float, seeds: int, examples: int) -> float:
    """Probability that an estimate lies further than so many standard errors off its truth, on one given side."""
    log_p = root(lambda log_p: critical_value(float(np.exp(log_p)), share, seeds, examples) - abs(quantile), LOG_P, 0.0)
    one_sided = float(np.exp(log_p)) / 2
    return one_sided if quantile > 0 else 1 - one_sided


def _tested(found: Estimate, null: float) -> Difference:
    """Adds the p-value of a true value of `null`: the level at which the interval ends there."""
    p = found.significance(abs(found.value - null), above=found.value < null)
    parts: dict[str, Any] = {field.name: getattr(found, field.name) for field in fields(Estimate)}
    return Difference(**parts, p_value=p)
