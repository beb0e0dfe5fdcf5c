"""Statistics of crossed seeds and examples: hand-worked numbers, properties, calibration on simulated experiments."""

import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import astuple, replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.calibration import WORLDS, Coverage, coverage
from sweeps.inference.random_effects import Components, critical_value
from sweeps.inference.significance import (
    Difference,
    difference,
    equivalence,
    estimate,
    excess,
    holm,
    more_seeds_needed,
    smallest_detectable,
    verdict,
)


def share(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


def hits(rows: list[list[float]]) -> np.ndarray:
    """(S, N) outcomes as contributions (S, N, 2) of a mean; of a share, where all of them are 0 or 1."""
    outcomes = np.asarray(rows, dtype=float)
    return np.stack([outcomes, np.ones_like(outcomes)], axis=-1)


def f1(sums: np.ndarray) -> np.ndarray:
    return 2 * sums[..., 0] / (sums[..., 1] + sums[..., 2])


def random_arm(seed: int, seeds: int = 4, examples: int = 50) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ease = np.random.default_rng(99).standard_normal(examples)
    return hits((ease + rng.standard_normal((seeds, examples)) + 0.3 * rng.standard_normal((seeds, 1)) > -0.5).tolist())


# Numbers that can be followed by eye


def test_two_way_analysis_of_variance_by_hand():
    # Points 2 1 2 / 2 2 2: grand mean 11/6, seed means 5/3 and 2, example means 2, 3/2, 2.
    # MS_seed = 3 * 2 (1/6)^2 / 1 = 1/6; MS_example = 2 (1/36 + 4/36 + 1/36) / 2 = 1/6;
    # total sum of squares 5/36 + 25/36 = 5/6, so MS_residual = (5/6 - 1/6 - 1/3) / 2 = 1/6.
    found = estimate(hits([[2, 1, 2], [2, 2, 2]]), share)
    assert found.value == pytest.approx(11 / 6)
    assert found.components.residual == pytest.approx(1 / 6)
    assert (found.components.seed, found.components.example) == (pytest.approx(0), pytest.approx(0))
    # V = MS_seed / (S N) = 1/36 on S - 1 = 1 degree of freedom, whose t quantile is 12.706.
    assert found.standard_error == pytest.approx(1 / 6)
    assert found.degrees_of_freedom == pytest.approx(1)
    assert found.high - found.value == pytest.approx(12.7062 / 6, rel=1e-5)


def test_one_seed_is_the_textbook_interval_over_examples():
    outcomes = [2.0, 1, 2, 2, 1, 2, 2, 2]  # no share: of shares the exact interval is known
    found = estimate(hits([outcomes]), share)
    low, high = stats.t.interval(0.95, 7, np.mean(outcomes), stats.sem(outcomes))
    assert (found.low, found.high, found.seeds) == (pytest.approx(low), pytest.approx(high), 1)


def test_one_seed_against_one_seed_is_the_paired_t_test():
    left, right = np.random.default_rng(0).random((2, 40))
    found = difference(hits([left]), hits([right]), share)
    assert found.p_value == pytest.approx(stats.ttest_rel(left, right).pvalue, rel=1e-6)


def test_examples_that_agree_leave_the_t_test_over_seeds():
    # Every example moves with its seed alone: the seed means are all there is.
    means = np.array([0.2, 0.5, 0.4, 0.9, 0.3])
    found = estimate(hits(np.repeat(means[:, None], 30, axis=1)), share)
    low, high = stats.t.interval(0.95, 4, means.mean(), stats.sem(means))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.degrees_of_freedom == pytest.approx(4)


def test_holm_by_hand_and_against_statsmodels():
    # Sorted 0.01, 0.03, 0.04 times 3, 2, 1: 0.03, 0.06, and 0.04 raised to 0.06.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []
    assert holm([0.7, 0.9]) == [1.0, 1.0]
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(1).random(12) ** 3
    assert holm(p.tolist()) == pytest.approx(multitest.multipletests(p, method="holm")[1].tolist())


def test_smallest_detectable_is_two_quantiles_of_standard_errors():
    found = difference(*(hits(np.random.default_rng(seed).random((1, 100_000)).tolist()) for seed in (1, 2)), share)
    assert smallest_detectable(found) == pytest.approx((1.95996 + 0.84162) * found.standard_error, rel=1e-3)


# Jackknife


def test_jackknife_agrees_with_leaving_examples_out_one_by_one():
    rng = np.random.default_rng(3)
    parts = rng.integers(0, 2, (3, 25, 3)).astype(float)
    pseudo = np.empty((3, 25))
    for seed in range(3):
        for example in range(25):
            without = np.delete(parts[seed], example, axis=0)
            pseudo[seed, example] = 25 * f1(parts[seed].sum(0)) - 24 * f1(without.sum(0))
    # A mean with the pseudo-values as its entries has the same spread; only its centre differs (bias).
    as_mean, found = estimate(hits(pseudo.tolist()), share), estimate(parts, f1)
    assert found.standard_error == pytest.approx(as_mean.standard_error)
    assert found.value == pytest.approx(np.mean([f1(parts[seed].sum(0)) for seed in range(3)]))


def test_jackknife_is_fast():
    parts = np.random.default_rng(0).random((5, 2717, 30))
    elapsed = []
    for _ in range(3):
        start = time.perf_counter()
        estimate(parts, lambda sums: (2 * sums[..., :10] / (sums[..., 10:20] + sums[..., 20:])).mean(-1))
        elapsed.append(time.perf_counter() - start)
    assert min(elapsed) < 0.2


# Properties


@pytest.mark.parametrize("seed", range(20))
def test_p_value_and_interval_tell_the_same(seed):
    left, right = random_arm(seed), random_arm(seed + 100)
    for level in (0.9, 0.95, 0.99):
        found = difference(left, right, share, level)
        assert (found.p_value < 1 - level) == (not found.low <= 0 <= found.high)
    if found.p_value < 0.9:  # the p-values of an exact test reach 1 before the difference reaches 0
        exact = difference(left, right, share, 1 - found.p_value)
        assert min(abs(exact.low), abs(exact.high)) == pytest.approx(0, abs=1e-6)


def test_order_scale_and_sides():
    left, right, rng = random_arm(1), random_arm(2), np.random.default_rng(0)
    found = difference(left, right, share)
    examples = rng.permutation(left.shape[1])
    assert difference(left[:, examples], right[:, examples], share).low == pytest.approx(found.low)
    seeds = rng.permutation(len(left))
    assert difference(left[seeds], right[seeds], share).low == pytest.approx(found.low)
    mirrored = difference(right, left, share)
    assert (mirrored.low, mirrored.p_value) == (pytest.approx(-found.high), pytest.approx(found.p_value))
    assert difference(left, right, lambda sums: 100 * share(sums)).low == pytest.approx(100 * found.low)


def test_a_single_run_meets_every_seed():
    left, single = random_arm(1), random_arm(7, seeds=1)
    assert difference(left, single, share) == difference(left, np.repeat(single, 4, axis=0), share)
    assert difference(single, left, share).value == pytest.approx(-difference(left, single, share).value)


def test_seeds_are_paired_by_name():
    left, right = random_arm(1), random_arm(2)
    found = difference(left, right, share, left_seeds=[0, 1, 2, 3], right_seeds=[0, 1, 2, 3])
    turned = difference(left[::-1], right, share, left_seeds=[3, 2, 1, 0], right_seeds=[0, 1, 2, 3])
    assert turned == found
    common = difference(left, right, share, left_seeds=[0, 1, 2, 3], right_seeds=[2, 3, 4, 5], common_seeds=True)
    assert common == difference(left[2:], right[:2], share)


def test_equal_arms_and_constant_gaps():
    arm = random_arm(1)
    same = difference(arm, arm, share)
    # None of 50 examples differs: with 97.5% confidence fewer than 1 - 0.025^(1/50) of all do.
    assert (same.value, same.high, same.p_value) == (0, pytest.approx(1 - 0.025 ** (1 / 50)), 1)
    assert more_seeds_needed(same) is None
    # Six examples, all right against all wrong: a sign test can say 2 (1/2)^6 and no more.
    gap = difference(hits([[1.0] * 6] * 3), hits([[0.0] * 6] * 3), share)
    assert (gap.value, gap.standard_error, gap.p_value) == (1, 0, pytest.approx(2.0**-5))


def test_tiny_p_values_stay_ordered_and_finite():
    close, far = (difference(arm, 0 * arm + [0, 1], share) for arm in (random_arm(1), random_arm(1, 4, 3000)))
    assert 0 < far.p_value < close.p_value < 1e-2


def test_an_absent_class_is_the_scores_business():
    parts = np.zeros((2, 6, 3))
    with pytest.raises(ValueError, match="not finite on these contributions"), np.errstate(invalid="ignore"):
        estimate(parts, f1)
    defined = estimate(parts, lambda sums: 2 * sums[..., 0] / np.maximum(sums[..., 1] + sums[..., 2], 1))
    assert (defined.value, defined.low, defined.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arm: arm[0], "three axes"),
        (lambda arm: arm[:, :1], "2 examples"),
        (lambda arm: arm[:0], "0 seeds"),
        (lambda arm: np.where(np.arange(arm.size).reshape(arm.shape) == 7, np.nan, arm), "nan at seed 0, example 3"),
    ],
)
def test_refuses_bad_contributions(change, message):
    with pytest.raises(ValueError, match=message):
        estimate(change(random_arm(1)), share)


def test_refuses_what_cannot_be_paired():
    left, right = random_arm(1), random_arm(2)
    with pytest.raises(ValueError, match="same examples"):
        difference(left, right[:, :-1], share)
    with pytest.raises(ValueError, match="2 examples are in one arm only"):
        ids = [str(number) for number in range(50)]
        difference(left, right, share, left_examples=ids, right_examples=[*ids[:-1], "other"])
    with pytest.raises(ValueError, match="order of the examples"):
        difference(left, right, share, left_examples=ids, right_examples=ids[::-1])
    with pytest.raises(ValueError, match="4 and 3 runs"):
        difference(left, right[:3], share)
    with pytest.raises(ValueError, match="common_seeds=True"):
        difference(left, right, share, left_seeds=[0, 1, 2, 3], right_seeds=[1, 2, 3, 4])
    with pytest.raises(ValueError, match="confidence level"):
        estimate(left, share, 95)
    with pytest.raises(ValueError, match="p-values"):
        holm([0.2, float("nan")])


# Plans and verdicts


def planned(value: float, components: Components, seeds: int = 5, examples: int = 1000) -> Difference:
    """A difference whose standard error follows from its components."""
    by_seed = (components.seed + components.residual / examples) / seeds
    by_example = components.example / examples
    error = (by_seed + by_example) ** 0.5
    return Difference(value, 0, 0, error, 0, seeds, examples, 0.95, by_seed / error**2, components, p_value=0.5)


@pytest.mark.parametrize("value", [0.9, 1.1, 1.5, 2.5])
def test_further_seeds_are_the_fewest_that_suffice(value):
    components = Components(seed=4.0, example=20.0, residual=100.0)
    found = planned(value, components)
    more = more_seeds_needed(found)
    assert more is not None and more > 0
    assert smallest_detectable(planned(value, components, 5 + more)) <= value
    assert smallest_detectable(planned(value, components, 5 + more - 1)) > value


def test_no_number_of_seeds_helps_where_examples_leave_the_doubt():
    # Examples alone: standard error sqrt(250 / 1000) = 0.5, so nothing below 2.8 * 0.5 = 1.4 is ever found.
    components = Components(seed=1.0, example=250.0, residual=0.0)
    assert more_seeds_needed(planned(1.39, components)) is None
    assert more_seeds_needed(planned(1.42, components)) is not None
    assert more_seeds_needed(planned(5.0, components)) == 0
    assert more_seeds_needed(replace(planned(1.42, components), seeds=1)) is None


def test_verdicts():
    found = planned(1.0, Components(1, 0, 0))
    below = replace(found, value=-1.0)
    assert verdict("greater", found, 0.01) == "holds"
    assert verdict("greater", below, 0.01) == "fails"
    assert verdict("greater", found, 0.06) == "undecided"
    assert verdict("at_least", below, 0.01) == "fails"
    assert verdict("equal_within", below, 0.01, margin=2.0) == "holds"
    assert verdict("equal_within", below, 0.01, margin=0.5) == "fails"
    assert verdict("greater", found, float("nan")) == "undecided"
    with pytest.raises(ValueError, match="'less'"):
        verdict("less", found, 0.01)


def test_equivalence_holds_exactly_when_the_interval_lies_within_the_margin():
    found = difference(random_arm(1), random_arm(2), share)
    edge = max(abs(found.low), abs(found.high))
    assert equivalence(found, edge * 1.001).p_value < 0.05 < equivalence(found, edge * 0.999).p_value
    with pytest.raises(ValueError, match="margin"):
        equivalence(found, 0.0)


def test_excess_moves_the_interval_to_the_threshold():
    found = estimate(random_arm(1), share)
    assert excess(found, found.low).p_value == pytest.approx(0.05)
    assert excess(found, 0.5).value == pytest.approx(found.value - 0.5)


# Calibration


@pytest.mark.parametrize(
    ("seeds", "alpha", "least", "most"),
    [
        (3, 0.05, 0.946, 0.966),
        (5, 0.05, 0.9495, 0.96),
        (10, 0.05, 0.9495, 0.956),
        (3, 0.01, 0.985, 0.9955),
        (5, 0.01, 0.989, 0.994),
        (10, 0.01, 0.9895, 0.993),
    ],
)
def test_coverage_of_normal_entries_by_integration(seeds, alpha, least, most):
    # B = 1 known, A m-distributed: m (S - 1) / A is chi-square. Coverage = E P(|z| sqrt(1 + A) < c(w) sqrt(1 + m)).
    quantiles = (np.arange(4000) + 0.5) / 4000
    spread = stats.chi2.ppf(quantiles, seeds - 1) / (seeds - 1)
    covered = []
    for ratio in np.geomspace(0.01, 1000, 25):
        by_seed = ratio * spread
        critical = np.array([critical_value(alpha, m / (1 + m), seeds, 1_000_000) for m in by_seed])
        covered.append(float(1 - 2 * stats.norm.sf(critical * np.sqrt((1 + by_seed) / (1 + ratio))).mean()))
    assert least < min(covered) and max(covered) < most


def assert_calibrated(found: Coverage, seeds: int, experiments: int, errors: float, where: str) -> None:
    """Coverage 93-97%, at most 5% (1%) of nulls rejected, each within so many binomial standard errors.

    At 3 seeds the strict level is 1.5%, see test_coverage_of_normal_entries_by_integration.
    """
    slack = errors * (0.05 * 0.95 / experiments) ** 0.5
    strict_slack = errors * (0.01 * 0.99 / experiments) ** 0.5
    where = f"{where}, {seeds} seeds: {found}"
    assert 0.93 - slack <= found.covered <= 0.97 + slack, where
    assert 0.93 - slack <= found.paired <= 0.97 + slack, where
    assert found.rejected <= 0.05 + slack, where
    assert found.rejected_strictly <= (0.015 if seeds == 3 else 0.01) + strict_slack, where


def check_worlds(worlds: Iterable[str], seeds: int, repeats: int, stream: int) -> None:
    """Each world within 3.2 standard errors (one in a thousand, as there are many checks), their mean within 2.5."""
    shares: dict[str, list[Coverage]] = {"accuracy": [], "macro_f1": []}
    for world in worlds:
        for score, found in coverage(WORLDS[world], seeds, repeats, stream).items():
            assert_calibrated(found, seeds, repeats, 3.2, f"{world}, {score}")
            shares[score].append(found)
    for score, every in shares.items():
        pooled = Coverage(*np.mean([astuple(found) for found in every], axis=0))
        assert_calibrated(pooled, seeds, repeats * len(every), 2.5, f"all worlds, {score}")


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_calibration(seeds):
    check_worlds(["few examples", "high, few examples", "17 classes, few examples"], seeds, repeats=400, stream=1)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_calibration_of_every_world(seeds):
    check_worlds(WORLDS, seeds, repeats=1000, stream=2)


def test_intervals_that_take_seeds_as_more_examples_would_not_pass():
    # The check has teeth: a standard error that ignores the crossing covers far too seldom.
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        entries = rng.standard_normal((5, 1)) * 0.3 + rng.standard_normal(200) + rng.standard_normal((5, 200))
        covered.append(abs(entries.mean()) < 1.96 * entries.std() / 1000**0.5)
    assert np.mean(covered) < 0.6


def test_import_is_light():
    code = "import sys, sweeps.reporting.table, sweeps.reporting.render; print({'torch', 'scipy', 'matplotlib'} & set(sys.modules))"  # noqa: E501
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "set()"
