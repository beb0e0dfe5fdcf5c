"""Claims of a sweep: typed comparisons of its rows, answered together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sweeps.inference import significance
from sweeps.inference.bounded import Range
from sweeps.inference.random_effects import FEW, Value
from sweeps.inference.significance import Difference

RUNS, SEEDS, EXAMPLES = "the missing runs", "more seeds", "more examples"


@dataclass(frozen=True)
class Claim:
    """A typed comparison: left above right, left at least a constant, or both equal within a margin."""

    id: str
    text: str
    kind: str  # one of significance.KINDS
    left: str  # a row
    right: str | float  # a row; for at_least the threshold
    column: str
    published: str = ""
    margin: float = 0.0  # for equal_within


@dataclass(frozen=True)
class ClaimResult:
    """The answer to one claim."""

    claim: Claim
    verdict: str  # one of significance.VERDICTS
    difference: Difference | None
    p_adjusted: float | None  # None: the claim cannot be decided by what is there, and `note` says why
    smallest_detectable: float | None
    more_seeds: int | None  # for an undecided claim with a p-value; None there: no number of seeds is enough
    note: str
    needs: str = ""  # RUNS, SEEDS or EXAMPLES, before it can be decided at all


@dataclass(frozen=True)
class Arm:
    """One row under one score, ready for statistics.

    Attributes:
        seeds: of the runs, in their order.
        contributions: (S, N, D).
        deterministic: no seed changes the row, so that its one run is all there is.
        missing: seeds whose runs are not finished.
        limits: range of one example's score, where the score is their mean; see `significance.estimate`.
        rarest: gold examples of the rarest class, where the score is a mean over classes.
    """

    seeds: tuple[int, ...]
    examples: tuple[str, ...]
    contributions: np.ndarray
    deterministic: bool
    missing: tuple[int, ...] = ()
    limits: Range | None = None
    rarest: int | None = None


def answer_claims(
    claims: Sequence[Claim],
    names: Sequence[str],
    arms: Mapping[tuple[str, str], Arm],
    values: Mapping[str, Value],
    level: float,
) -> tuple[ClaimResult, ...]:
    """Answers all claims of a table, Holm-corrected over all of them.

    A claim that waits for runs, or that what is there cannot decide, counts in the correction as one with a p-value of
    1. So a verdict of "holds" or "fails" stays what it is when the missing runs come: p-values of others only fall.

    Args:
        claims: in the order in which they are shown.
        names: all rows of the table.
        arms: (row, column) -> the runs there; rows without finished runs have none.
        values: column -> score in table units.
        level: confidence level; claims are decided at 1 - level.

    Raises:
        ValueError: a claim of an unknown kind or column, or with a row where a number belongs.
    """
    results = [_measured(claim, names, arms, values, level) for claim in claims]
    p_values = [
        result.difference.p_value if result.difference and result.p_adjusted is not None else 1.0 for result in results
    ]
    alpha = 1 - level
    strict = alpha / max(1, len(claims))  # Holm's first step, so that no order of the claims can undo the plan
    final = []
    for result, p in zip(results, significance.holm(p_values), strict=True):
        found, claim = result.difference, result.claim
        if found is None or result.p_adjusted is None:
            final.append(result)
            continue
        margin = claim.margin if claim.kind == "equal_within" else 0.0
        answer = significance.verdict(claim.kind, found, p, margin=margin, alpha=alpha)
        final.append(
            replace(
                result,
                verdict=answer,
                p_adjusted=p,
                smallest_detectable=significance.smallest_detectable(found, alpha=strict),
                more_seeds=significance.more_seeds_needed(found, alpha=strict, margin=margin)
                if answer == "undecided"
                else None,
            )
        )
    return tuple(final)


def _measured(
    claim: Claim,
    names: Sequence[str],
    arms: Mapping[tuple[str, str], Arm],
    values: Mapping[str, Value],
    level: float,
) -> ClaimResult:
    """The claim's difference with its own p-value, where there is one; its verdict comes later."""
    constant = claim.kind == "at_least"
    if claim.kind not in significance.KINDS:
        raise ValueError(f"claim {claim.id!r} has the kind {claim.kind!r}: use one of {', '.join(significance.KINDS)}")
    if constant != isinstance(claim.right, int | float):
        raise ValueError(
            f"claim {claim.id!r} is {claim.kind}, its right side is {claim.right!r}: "
            f"give {'a number' if constant else 'a row'}"
        )
    if claim.column not in values:
        raise ValueError(f"claim {claim.id!r} speaks of the column {claim.column!r}: use one of {', '.join(values)}")
    sides = [claim.left] if constant else [claim.left, str(claim.right)]

    def unanswered(note: str, needs: str = "") -> ClaimResult:
        return ClaimResult(claim, "undecided", None, None, None, None, note, needs)

    for side in sides:
        if side not in names:
            return unanswered(f"the table has no row {side!r}")
    open_sides = [side for side in sides if (side, claim.column) not in arms]
    if open_sides:
        ran = {name for name, _ in arms}  # a row may have runs, and none of them this column
        if ran.issuperset(open_sides):
            return unanswered(f"no {claim.column} in the runs of {' and '.join(open_sides)}")
        return unanswered(f"no finished run of {' and '.join(open_sides)}", RUNS)
    compared = {side: arms[side, claim.column] for side in sides}
    if len({arm.examples for arm in compared.values()}) > 1:
        return unanswered(f"{claim.left} and {claim.right} saw different examples: run both on one data set")
    paired = _paired(list(compared.values()))
    if paired is None:
        alone = [side for side, arm in compared.items() if len(arm.seeds) == 1]
        why = f"; one seed only of {' and '.join(alone)}" if alone else ""
        needs = RUNS if any(arm.missing for arm in compared.values()) else SEEDS
        return unanswered(f"{claim.left} and {claim.right} have no finished seed in common{why}", needs)
    value, limits = values[claim.column], paired[0].limits
    if isinstance(claim.right, int | float):
        found = significance.excess(
            significance.estimate(paired[0].contributions, value, level, limits=limits), float(claim.right)
        )
    else:
        found = significance.difference(paired[0].contributions, paired[-1].contributions, value, level, limits=limits)
    if claim.kind == "equal_within":
        found = significance.equivalence(found, claim.margin)
    lacking = list(_lacking(compared, paired, found, claim))
    note = "; ".join([*(why for why, _ in lacking), *_cautions(compared, found, claim)])
    p = None if lacking else found.p_value  # not adjusted yet
    return ClaimResult(claim, "undecided", found, p, None, None, note, lacking[0][1] if lacking else "")


def _paired(arms: Sequence[Arm]) -> list[Arm] | None:
    """The arms cut to the seeds that all of them have, where more than one has seeds; None where there are none."""
    if len(arms) == 1 or any(arm.deterministic for arm in arms):
        return list(arms)
    both = sorted(set.intersection(*(set(arm.seeds) for arm in arms)))
    if not both:
        return None
    return [
        replace(arm, seeds=tuple(both), contributions=arm.contributions[[arm.seeds.index(s) for s in both]])
        for arm in arms
    ]


def _lacking(
    compared: Mapping[str, Arm], paired: Sequence[Arm], found: Difference, claim: Claim
) -> Iterator[tuple[str, str]]:
    """Why what is there cannot decide the claim, and what could; nothing where it can."""
    for side, arm in compared.items():
        if arm.missing:
            seeds = f"seed{'s' if len(arm.missing) > 1 else ''} {', '.join(map(str, arm.missing))}"
            yield f"waits for {seeds} of {side}", RUNS
    if found.seeds == 1 and not all(arm.deterministic for arm in paired):
        yield "one seed only: how seeds vary is not known", SEEDS
    elif not found.decidable:
        tell = f"only {found.telling:.1f} examples tell" if found.telling else "no example differs from another"
        yield f"{tell}, and this score has no exact bound for unseen ones", EXAMPLES
    rarest = _rarest(compared)
    if rarest is not None and rarest < FEW and claim.kind != "greater":
        yield few_of_a_class(claim.column, rarest), EXAMPLES


def _cautions(compared: Mapping[str, Arm], found: Difference, claim: Claim) -> Iterator[str]:
    """What a reader of the verdict should know."""
    if max(len(arm.seeds) for arm in compared.values()) > found.seeds:
        yield f"paired on the {found.seeds} seed{'s' if found.seeds > 1 else ''} that both rows have"
    rarest = _rarest(compared)
    if rarest is not None and rarest < FEW and claim.kind == "greater":
        yield few_of_a_class(claim.column, rarest)


def _rarest(compared: Mapping[str, Arm]) -> int | None:
    return min((arm.rarest for arm in compared.values() if arm.rarest is not None), default=None)


def few_of_a_class(column: str, rarest: int) -> str:
    """The caution beside a mean over classes of which one is rare among the examples."""
    return f"{column}: a class has only {rarest} gold example{'s' if rarest > 1 else ''}, its interval is too short"
