"""From per-example results to a table: published numbers, ours with intervals, claims with verdicts, what is missing.

Pure functions of frames and plain records: nothing is read, written, trained or timed here. All numbers of a Table are
in table units: percent for a score that says so, the score's own units otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sweeps.inference import significance
from sweeps.inference.claims import Arm, Claim, ClaimResult, answer_claims, few_of_a_class
from sweeps.inference.random_effects import FEW, Estimate

if TYPE_CHECKING:
    import pandas as pd


class Score(Protocol):
    """What a table needs of a score (data.scoring.registry.Score has it).

    `contributions` maps an examples frame to (N, D), `value` maps summed contributions (..., D) to scores (...). A mean
    of values with a known range may give it (`bounds`), a mean over classes the examples of each (`classes`): without
    them its verdicts are the more careful ones.
    """

    @property
    def percent(self) -> bool:
        """Whether the value is a share that is shown in percent."""

    @property
    def higher_is_better(self) -> bool:
        """The direction of improvement."""

    @property
    def contributions(self) -> Callable[[pd.DataFrame], np.ndarray]:
        """Per-example parts of the score."""

    @property
    def value(self) -> Callable[[np.ndarray], np.ndarray]:
        """The score of summed parts."""


@dataclass(frozen=True)
class Published:
    """A number that a paper printed for one row and column, with its origin."""

    row: str
    column: str
    value: float | None  # None: the paper has the row, its number was not seen
    source: str
    confidence: str
    comparable: bool = True  # False: another metric or other data; shown with `note`, never subtracted
    note: str = ""


@dataclass(frozen=True)
class RowRuns:
    """The finished runs of one row.

    Attributes:
        runs: seed -> examples frame.
        expected_seeds: of all runs that the row is to have.
        missing: one line for every run that is not there.
        deterministic: no seed changes the row: one run is all there is. A row with one seed is not deterministic for
            that, what it was trained with may have been luck.
    """

    name: str
    runs: Mapping[int, pd.DataFrame]
    expected_seeds: Sequence[int]
    missing: Sequence[str] = ()
    deterministic: bool = False


@dataclass(frozen=True)
class Column:
    """One score of the table."""

    name: str
    percent: bool
    higher_is_better: bool


@dataclass(frozen=True)
class Cell:
    """One row under one score."""

    row: str
    column: str
    published: Published | None
    ours: Estimate | None
    seeds: int
    expected_seeds: int
    difference: float | None  # ours - published, where the two are comparable
    missing: str  # why `ours` is None, or ""
    caution: str = ""  # why its interval is to be trusted less than its level says


@dataclass(frozen=True)
class Table:
    """Everything that the renderers show."""

    title: str
    question: str
    columns: tuple[Column, ...]
    rows: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]  # rows x columns
    claims: tuple[ClaimResult, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    command: str  # makes what is missing; "" where that is not known
    level: float


def build_table(
    title: str,
    question: str,
    columns: Sequence[str],
    rows: Sequence[RowRuns],
    published: Sequence[Published],
    claims: Sequence[Claim],
    scores: Mapping[str, Any],
    *,
    command: str = "",
    notes: Sequence[str] = (),
    level: float = 0.95,
) -> Table:
    """Scores every row, compares it with the published numbers and answers the claims.

    Args:
        title: heading.
        question: what the sweep asks.
        columns: names of scores, the main one first.
        rows: their runs, in table order; incomplete rows are shown as such.
        published: at most one per row and column; those of rows that are not in the table are left out.
        claims: answered together, Holm-corrected over all of them.
        scores: name -> Score.
        command: what a reader types to make what is missing.
        notes: lines shown under the table.
        level: confidence level; claims are decided at 1 - level.

    Raises:
        ValueError: an unknown score, row or kind of claim, or runs of one row that were scored on different examples.
    """
    known = _columns(columns, scores)
    names = tuple(row.name for row in rows)
    if len(set(names)) != len(names):
        raise ValueError(f"a row occurs twice in {list(names)}: give every row its own name")
    printed: dict[tuple[str, str], Published] = {}
    for entry in published:
        if (entry.row, entry.column) in printed:
            raise ValueError(f"row {entry.row!r} has two published values of {entry.column}: keep one")
        printed[entry.row, entry.column] = entry
    frames = {row.name: _aligned(row) for row in rows}
    arms = {
        (row.name, column.name): _arm(row, frames[row.name], scores[column.name])
        for row in rows
        for column in known
        if _scored(frames[row.name], scores[column.name])
    }
    values = {column.name: _value(scores[column.name]) for column in known}
    cells = tuple(
        tuple(_cell(row, column, arms, values, printed.get((row.name, column.name)), level) for column in known)
        for row in rows
    )
    missing = [line for row in rows for line in _missing(row)]
    results = answer_claims(claims, names, arms, values, level)
    return Table(
        title, question, known, names, cells, results, tuple(missing), tuple(notes), command if missing else "", level
    )


def _columns(columns: Sequence[str], scores: Mapping[str, Any]) -> tuple[Column, ...]:
    for name in columns:
        if name not in scores:
            raise ValueError(f"the column {name!r} is no score: use some of {', '.join(sorted(scores))}")
    return tuple(Column(name, scores[name].percent, scores[name].higher_is_better) for name in columns)


def _value(score: Score) -> significance.Value:
    """The score in table units."""
    factor = 100.0 if score.percent else 1.0
    return lambda sums: factor * score.value(sums)


def _aligned(row: RowRuns) -> dict[int, pd.DataFrame]:
    """Frames of a row by seed, sorted by example id; refuses runs that saw different data."""
    frames = {seed: row.runs[seed].sort_values("example_id", ignore_index=True) for seed in sorted(row.runs)}
    first: pd.DataFrame | None = None
    for seed, frame in frames.items():
        ids = frame["example_id"]
        if ids.duplicated().any():
            raise ValueError(f"row {row.name!r}, seed {seed}: example {ids[ids.duplicated()].iloc[0]!r} occurs twice")
        first = frame if first is None else first
        for column in ("example_id", "gold"):
            if column in frame and frame[column].tolist() != first[column].tolist():
                what = "examples" if column == "example_id" else "gold labels"
                raise ValueError(
                    f"row {row.name!r}: seeds {next(iter(frames))} and {seed} were scored on different {what}: "
                    "run both on the same version of the data"
                )
    return frames


def _scored(frames: Mapping[int, pd.DataFrame], score: Score) -> bool:
    """Whether there are runs, and the score means something for every one of them."""
    applies = getattr(score, "applies", None)
    return bool(frames) and (applies is None or all(applies(frame) for frame in frames.values()))


def _arm(row: RowRuns, frames: Mapping[int, pd.DataFrame], score: Score) -> Arm:
    stacked = np.stack([np.asarray(score.contributions(frame), dtype=np.float64) for frame in frames.values()])
    ids = tuple(str(identifier) for identifier in next(iter(frames.values()))["example_id"])
    classes = getattr(score, "classes", None)
    sizes = np.asarray(classes(stacked[0])) if classes else np.zeros(0)
    bounds = getattr(score, "bounds", None)
    factor = 100.0 if score.percent else 1.0
    return Arm(
        tuple(frames),
        ids,
        stacked,
        row.deterministic and len(row.expected_seeds) == 1,
        missing=tuple(seed for seed in row.expected_seeds if seed not in row.runs),
        limits=(factor * bounds[0], factor * bounds[1]) if bounds else None,
        rarest=int(sizes[sizes > 0].min()) if (sizes > 0).any() else None,
    )


def _cell(
    row: RowRuns,
    column: Column,
    arms: Mapping[tuple[str, str], Arm],
    values: Mapping[str, significance.Value],
    printed: Published | None,
    level: float,
) -> Cell:
    arm = arms.get((row.name, column.name))
    ours = significance.estimate(arm.contributions, values[column.name], level, limits=arm.limits) if arm else None
    gap = None
    if ours and printed and printed.comparable and printed.value is not None:
        gap = ours.value - printed.value
    lacking = "" if ours else "no value in its runs" if row.runs else "no finished run"
    rare = arm is not None and arm.rarest is not None and arm.rarest < FEW
    caution = few_of_a_class(column.name, arm.rarest) if arm and arm.rarest is not None and rare else ""
    return Cell(row.name, column.name, printed, ours, len(row.runs), len(row.expected_seeds), gap, lacking, caution)


def _missing(row: RowRuns) -> list[str]:
    if row.missing:
        return [line if line.startswith(row.name) else f"{row.name}: {line}" for line in row.missing]
    lacking = [str(seed) for seed in row.expected_seeds if seed not in row.runs]
    return [f"{row.name}: seed{'s' if len(lacking) > 1 else ''} {', '.join(lacking)} not finished"] if lacking else []
