"""Claims of a sweep: typed comparisons of its rows, answered together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sweeps import statistics
from sweeps.crossed import Value
from sweeps.statistics import Difference


@dataclass(frozen=True)
class Claim:
    """A typed comparison: left above right, left at least a constant, or both equal within a margin."""

    id: str
    text: str
    kind: str  # one of statistics.KINDS
    left: str  # a row
    right: str | float  # a row; for at_least the threshold
    column: str
    published: str = ""
    margin: float = 0.0  # for equal_within


@dataclass(frozen=True)
class ClaimResult:
    """The answer to one claim."""

    claim: Claim
    verdict: str  # one of statistics.VERDICTS
    difference: Difference | None
    p_adjusted: float | None
    smallest_detectable: float | None
    more_seeds: int | None  # for an undecided claim with a difference; None there: no number of seeds is enough
    note: str


@dataclass(frozen=True)
class Arm:
    """One row under one score, ready for statistics."""

    seeds: tuple[int, ...]
    examples: tuple[str, ...]
    contributions: np.ndarray  # (S, N, D)
    deterministic: bool


def answer_claims(
    claims: Sequence[Claim], names: Sequence[str], arms: Mapping[tuple[str, str], Arm],
    values: Mapping[str, Value], level: float,
) -> tuple[ClaimResult, ...]:
    """Answers all claims of a table, Holm-corrected over those whose arms have results.

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
    tested = [result for result in results if result.difference]
    adjusted = iter(statistics.holm([result.difference.p_value for result in tested if result.difference]))
    alpha = 1 - level
    final = []
    for result in results:
        found, claim = result.difference, result.claim
        if found is None:
            final.append(result)
            continue
        p = next(adjusted)
        answer = statistics.verdict(claim.kind, found, p, margin=claim.margin, alpha=alpha)
        strict = alpha / len(tested)  # Holm's first step, so that no order of the claims can undo the plan
        gap = abs(claim.margin - abs(found.value)) if claim.kind == "equal_within" else None
        final.append(replace(
            result, verdict=answer, p_adjusted=p,
            smallest_detectable=statistics.smallest_detectable(found, alpha=strict),
            more_seeds=statistics.more_seeds_needed(found, alpha=strict, gap=gap) if answer == "undecided" else None,
        ))
    return tuple(final)


def _measured(
    claim: Claim, names: Sequence[str], arms: Mapping[tuple[str, str], Arm], values: Mapping[str, Value],
    level: float,
) -> ClaimResult:
    """The claim's difference, where both of its arms have results; its verdict comes later."""
    constant = claim.kind == "at_least"
    if claim.kind not in statistics.KINDS:
        raise ValueError(f"claim {claim.id!r} has the kind {claim.kind!r}: use one of {', '.join(statistics.KINDS)}")
    if constant != isinstance(claim.right, int | float):
        raise ValueError(f"claim {claim.id!r} is {claim.kind}, its right side is {claim.right!r}: "
                         f"give {'a number' if constant else 'a row'}")
    if claim.column not in values:
        raise ValueError(f"claim {claim.id!r} speaks of the column {claim.column!r}: use one of {', '.join(values)}")
    sides = [claim.left] if constant else [claim.left, str(claim.right)]
    for side in sides:
        if side not in names:
            return ClaimResult(claim, "undecided", None, None, None, None, f"the table has no row {side!r}")
    open_sides = [side for side in sides if (side, claim.column) not in arms]
    if open_sides:
        ran = {name for name, _ in arms}  # a row may have runs, and none of them this column
        lacking = f"no {claim.column} in the runs of" if ran.issuperset(open_sides) else "no finished run of"
        return ClaimResult(claim, "undecided", None, None, None, None, f"{lacking} {' and '.join(open_sides)}")
    left = arms[claim.left, claim.column]
    value = values[claim.column]
    if isinstance(claim.right, int | float):
        found = statistics.excess(statistics.estimate(left.contributions, value, level), float(claim.right))
        return ClaimResult(claim, "undecided", found, None, None, None, _caution([left], found))
    right = arms[claim.right, claim.column]
    if left.examples != right.examples:
        return ClaimResult(claim, "undecided", None, None, None, None,
                           f"{claim.left} and {claim.right} saw different examples: run both on one data set")
    paired = [left, right]
    if not (left.deterministic or right.deterministic):
        both = sorted(set(left.seeds) & set(right.seeds))
        if not both:
            return ClaimResult(claim, "undecided", None, None, None, None,
                               f"{claim.left} and {claim.right} have no finished seed in common")
        paired = [replace(arm, seeds=tuple(both), contributions=arm.contributions[[arm.seeds.index(s) for s in both]])
                  for arm in paired]
    found = statistics.difference(paired[0].contributions, paired[1].contributions, value, level)
    if claim.kind == "equal_within":
        found = statistics.equivalence(found, claim.margin)
    note = _caution(paired, found)
    if max(len(left.seeds), len(right.seeds)) > found.seeds:
        note = f"{note}; " * bool(note) + f"paired on the {found.seeds} seeds that both rows have"
    return ClaimResult(claim, "undecided", found, None, None, None, note)


def _caution(arms: Sequence[Arm], found: Difference) -> str:
    """Says where one run of a row that has a seed leaves the seeds' variation unknown."""
    alone = found.seeds == 1 and not all(arm.deterministic for arm in arms)
    return "one seed only: how seeds vary is not known" if alone else ""
