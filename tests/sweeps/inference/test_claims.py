"""Claims that luck must not decide: one seed, missing runs, rare classes; and what their tables say of it."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.scoring.registry import all_scores
from sweeps.reporting.formats.wording import claim_text, column_of
from sweeps.reporting.render import FORMATS, render
from sweeps.reporting.table import Claim, RowRuns, Table, build_table

SCORES = all_scores()

LABELS = ("Cause-Effect(e1,e2)", "Component-Whole(e2,e1)", "Message-Topic(e1,e2)", "Entity-Origin(e1,e2)")


def frame(right: float, seed: int, examples: int = 300, gold: list[str] | None = None) -> pd.DataFrame:
    """Examples of which about that share is answered rightly."""
    rng = np.random.default_rng(seed)
    gold = gold or [LABELS[number % 4] for number in range(examples)]
    hit = rng.random(len(gold)) < right
    answers = [label if one else "Other" for label, one in zip(gold, hit, strict=True)]
    ids = [f"{number:04d}" for number in range(len(gold))]
    return pd.DataFrame({"example_id": ids, "gold": gold, "prediction": answers})


def row(name: str, right: float, seeds: tuple[int, ...], expected: tuple[int, ...] | None = None, **more) -> RowRuns:
    stream = sum(map(ord, name))
    return RowRuns(name, {seed: frame(right, 100 * stream + seed) for seed in seeds}, expected or seeds, **more)


def table(rows: list[RowRuns], claims: list[Claim], columns: tuple[str, ...] = ("accuracy",)) -> Table:
    return build_table("t", "q", columns, rows, [], claims, SCORES, command="go")


GREATER = Claim("greater", "a beats b", "greater", "a", "b", "accuracy")
EQUAL = Claim("equal", "a equals b", "equal_within", "a", "b", "accuracy", margin=20.0)
REACHES = Claim("reaches", "a reaches 30", "at_least", "a", 30.0, "accuracy")


# One seed


@pytest.mark.parametrize("claim", [GREATER, EQUAL, REACHES])
def test_a_row_with_one_seed_is_not_deterministic_for_that(claim):
    one = table([row("a", 0.9, (0,)), row("b", 0.5, (0,))], [claim]).claims[0]
    assert one.verdict == "undecided" and "one seed" in one.note
    assert (one.p_adjusted, one.needs) == (None, "more seeds")
    said = claim_text(one, column_of(table([], []), "accuracy"))
    assert said.difference and said.plan == "more seeds" and said.p == ""


def test_a_deterministic_row_needs_no_second_seed():
    rows = [row("a", 0.9, (0,), deterministic=True), row("b", 0.5, (0,), deterministic=True)]
    answers = table(rows, [GREATER, REACHES]).claims
    assert [answer.verdict for answer in answers] == ["holds", "holds"] and not any(one.note for one in answers)


@pytest.mark.parametrize("other", [(0, 1, 2), (0,)])
def test_one_seed_against_a_row_that_has_more_or_none_is_one_seed(other):
    fixed = len(other) == 1
    rows = [row("a", 0.9, (0,)), row("b", 0.5, other, deterministic=fixed)]
    answer = table(rows, [GREATER]).claims[0]
    assert answer.verdict == "undecided" and "one seed" in answer.note


def test_one_seed_of_another_number_says_so():
    answer = table([row("a", 0.9, (100,)), row("b", 0.5, (0, 1, 2))], [GREATER]).claims[0]
    assert "no finished seed in common" in answer.note and "one seed only of a" in answer.note


def test_rows_of_one_seed_that_differ_by_the_luck_of_it_are_never_decided():
    # Two rows of equal truth whose seeds differ by 3 points: decided in half of all cases when taken as deterministic.
    decided = 0
    for repeat in range(40):
        rng = np.random.default_rng(repeat)
        left, right = (0.8 + 0.03 * rng.standard_normal() for _ in range(2))
        rows = [
            RowRuns("a", {0: frame(left, 2 * repeat, 2000)}, (0,)),
            RowRuns("b", {0: frame(right, 2 * repeat + 1, 2000)}, (0,)),
        ]
        decided += table(rows, [GREATER]).claims[0].verdict != "undecided"
    assert decided == 0


def test_a_row_that_is_said_to_be_deterministic_and_has_several_seeds_is_taken_by_its_seeds():
    rows = [row("a", 0.9, (0, 1, 2), deterministic=True), row("b", 0.5, (0, 1, 2))]
    assert table(rows, [GREATER]).claims[0].difference.seeds == 3


# Missing runs


def test_a_claim_waits_for_the_runs_of_its_rows():
    rows = [row("a", 0.9, (0, 1), (0, 1, 2)), row("b", 0.5, (0, 1, 2))]
    answer = table(rows, [GREATER]).claims[0]
    assert (answer.verdict, answer.needs) == ("undecided", "the missing runs")
    assert "waits for seed 2 of a" in answer.note and answer.difference.low > 0


@pytest.mark.parametrize("style", [style for style in FORMATS if "csv" not in style])
def test_a_table_with_missing_runs_says_that_its_verdicts_are_provisional(style):
    rows = [row("a", 0.9, (0, 1), (0, 1, 2)), row("b", 0.5, (0, 1, 2)), row("c", 0.4, (0, 1, 2))]
    claims = [GREATER, Claim("other", "b beats c", "greater", "b", "c", "accuracy")]
    text = " ".join(render(table(rows, claims), style).split())
    assert "Provisional: 1 of 2 claims wait" in text
    assert "Provisional" not in render(table([*rows[1:], row("a", 0.9, (0, 1, 2))], claims), style)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.permutations(list(itertools.product("abc", (0, 1, 2)))))
def test_a_verdict_once_given_stays_whatever_runs_come_after_it(stream, order):
    rng = np.random.default_rng(stream)
    share = dict(zip("abc", rng.choice([0.5, 0.55, 0.6, 0.75], 3), strict=True))
    runs = {cell: frame(share[cell[0]], stream + 7 * index, 150) for index, cell in enumerate(order)}
    pairs = [("a", "b"), ("b", "c"), ("a", "c")]
    claims = [Claim(f"{left}{right}", "", "greater", left, right, "accuracy") for left, right in pairs]
    claims += [
        Claim("a60", "", "at_least", "a", 60.0, "accuracy"),
        Claim("close", "", "equal_within", "b", "c", "accuracy", margin=15.0),
    ]
    given_already: dict[str, str] = {}
    for count in range(len(order) + 1):
        there = order[:count]
        rows = [
            RowRuns(name, {seed: runs[name, seed] for other, seed in there if other == name}, (0, 1, 2))
            for name in "abc"
        ]
        for result in table(rows, claims).claims:
            told = given_already.setdefault(result.claim.id, "undecided")
            assert told in ("undecided", result.verdict)
            given_already[result.claim.id] = result.verdict


# Holm's correction


def test_claims_that_cannot_be_decided_count_in_the_correction():
    rows = [row("a", 0.70, (0, 1, 2)), row("b", 0.5, (0, 1, 2))]
    alone = table(rows, [GREATER]).claims[0]
    waiting = [Claim(str(number), "", "greater", "a", "c", "accuracy") for number in range(3)]
    among = table([*rows, row("c", 0.5, (), (0, 1, 2))], [GREATER, *waiting]).claims[0]
    assert among.p_adjusted == pytest.approx(min(1.0, 4 * alone.p_adjusted))


# Rare classes


def rare(count: int, examples: int = 300) -> list[str]:
    """Gold labels with so many of one class."""
    return [LABELS[0]] * count + [LABELS[1 + number % 3] for number in range(examples - count)]


@pytest.mark.parametrize(("count", "warned"), [(3, True), (9, True), (10, False), (60, False)])
def test_macro_f1_with_a_rare_class_carries_its_caution(count, warned):
    rows = [
        RowRuns(name, {seed: frame(right, 9 * seed + len(name), gold=rare(count)) for seed in range(3)}, (0, 1, 2))
        for name, right in (("left", 0.95), ("right_", 0.2))
    ]
    greater = Claim("g", "", "greater", "left", "right_", "macro_f1")
    others = [
        Claim("e", "", "equal_within", "left", "right_", "macro_f1", margin=95.0),
        Claim("m", "", "at_least", "left", 10.0, "macro_f1"),
    ]
    made = table(rows, [greater, *others], ("macro_f1", "accuracy"))
    assert [bool(cell.caution) for cell in made.cells[0]] == [warned, False]
    assert [bool(result.note) for result in made.claims] == [warned] * 3
    # A null difference is as likely on either side, a level or closeness is what the rare class makes uncertain.
    assert [result.verdict for result in made.claims] == ["holds", *["undecided" if warned else "holds"] * 2]
    for style in FORMATS:
        told = render(made, style).replace("\\", "")
        assert (f"a class has only {count} gold example" in " ".join(told.split())) == warned


# Few examples that differ, from end to end


def test_tables_give_no_verdict_that_thirty_equal_outcomes_cannot_bear():
    every = {0: frame(1.0, 0, 30)}
    rows = [RowRuns(name, every, (0,), deterministic=True) for name in "ab"]
    claims = [
        Claim("most", "", "at_least", "a", 99.5, "accuracy"),
        Claim("same", "", "equal_within", "a", "b", "accuracy", margin=0.5),
        Claim("sum", "", "at_least", "a", 99.5, "macro_f1"),
    ]
    made = table(rows, claims, ("accuracy", "macro_f1"))
    assert [result.verdict for result in made.claims] == ["undecided"] * 3
    assert made.cells[0][0].ours.low == pytest.approx(100 * 0.025 ** (1 / 30))
    assert made.claims[1].smallest_detectable > 20  # points: eight examples of thirty
    assert made.claims[1].more_seeds is None
    assert claim_text(made.claims[1], column_of(made, "accuracy")).plan == "more examples"


def test_a_score_of_unknown_range_that_hardly_varies_waits_for_examples():
    def runs(values):
        return {0: pd.DataFrame({"example_id": [str(n) for n in range(len(values))], "reward": values})}

    rows = [
        RowRuns(name, runs([value] * 57 + [5.0, 6.0, 7.0]), (0,), deterministic=True)
        for name, value in (("a", 2.0), ("b", 1.0))
    ]
    claims = [
        Claim("g", "", "greater", "a", "b", "reward"),
        Claim("m", "", "at_least", "a", 1.0, "reward"),
        Claim("e", "", "equal_within", "a", "b", "reward", margin=3.0),
    ]
    for result in table(rows, claims, ("reward",)).claims:
        assert (result.verdict, result.needs) == ("undecided", "more examples") and "no exact bound" in result.note
