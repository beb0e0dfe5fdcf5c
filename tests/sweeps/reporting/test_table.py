"""The table model: cells, published numbers, claims, and what is missing."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from data.scoring.registry import all_scores
from sweeps.inference.claims import answer_claims
from sweeps.inference.significance import difference, estimate, holm
from sweeps.reporting.table import Claim, Published, RowRuns, build_table
from tests.sweeps.example_table import CLAIMS, LABELLED, PUBLISHED, example_table, frame, rows

SCORES = all_scores()


def build(row_runs, claims=(), published=(), columns=("accuracy",)):
    return build_table("title", "question", columns, row_runs, published, claims, SCORES)


def outcomes(right: str, name: str = "r") -> pd.DataFrame:
    """One example per character: 1 right, 0 wrong."""
    answers = {"1": "Other", "0": "Message-Topic(e1,e2)"}
    lines = [(f"{name}{place}", "Other", answers[outcome]) for place, outcome in enumerate(right)]
    return pd.DataFrame(lines, columns=["example_id", "gold", "prediction"])


def test_cells_hold_the_scores_in_percent():
    table = build([RowRuns("a", {0: outcomes("1110"), 1: outcomes("1010")}, (0, 1))])
    # Seeds score 75 and 50.
    assert table.cells[0][0].ours.value == pytest.approx(62.5)
    assert (table.cells[0][0].seeds, table.missing, table.command) == (2, (), "")


def test_every_cell_agrees_with_statistics():
    table = example_table()
    for row, cells in zip(rows(), table.cells, strict=True):
        for cell in cells:
            if row.runs:
                parts = np.stack([SCORES[cell.column].contributions(found) for found in row.runs.values()])
                expected = estimate(parts, SCORES[cell.column].value)
                assert cell.ours.low == pytest.approx(100 * expected.low)
                mean = np.mean([SCORES[cell.column].of(found) for found in row.runs.values()])
                assert cell.ours.value == pytest.approx(100 * mean)
            else:
                assert (cell.ours, cell.missing) == (None, "no finished run")


def test_published_numbers_are_subtracted_only_where_comparable():
    cells = {(cell.row, cell.column): cell for line in example_table().cells for cell in line}
    simple = cells["Fine-tuned, simple", "macro_f1"]
    assert simple.difference == pytest.approx(simple.ours.value - 90.5)
    other_metric = cells[LABELLED, "accuracy"]
    assert (other_metric.difference, other_metric.published.value) == (None, 86.59)
    assert cells["Fine-tuned, + unlabelled neighbour", "macro_f1"].difference is None
    assert cells["Constant class", "macro_f1"].published is None


def test_order_of_examples_and_seeds_does_not_matter():
    shuffled = []
    for row in rows():
        turned = sorted(row.runs, reverse=True)
        shuffled.append(replace(row, runs={seed: row.runs[seed].sample(frac=1, random_state=seed) for seed in turned}))
    again = build_table("t", "q", ["macro_f1", "accuracy"], shuffled, PUBLISHED[:3], CLAIMS, SCORES)
    before = build_table("t", "q", ["macro_f1", "accuracy"], rows(), PUBLISHED[:3], CLAIMS, SCORES)
    assert again == before


def test_claims_are_holm_corrected_over_all_of_them():
    results = example_table().claims
    tested = [result for result in results if result.p_adjusted is not None]
    assert (len(results), len(tested)) == (6, 4)
    # Claims that wait for runs count as claims with a p-value of 1.
    adjusted = holm([result.difference.p_value if result in tested else 1.0 for result in results])
    assert [result.p_adjusted for result in tested] == [adjusted[results.index(result)] for result in tested]
    for result in tested:
        decided = result.p_adjusted < 0.05
        assert (result.verdict != "undecided") == decided
        assert decided or result.more_seeds is None or result.more_seeds > 0


def test_verdicts_of_clear_cases():
    answers = {result.claim.id: result for result in example_table().claims}
    assert answers["tuning"].verdict == "holds"
    assert answers["yardstick"].verdict == "fails"
    assert answers["retrieval"].verdict == "undecided"
    assert answers["more"].note == "no finished run of Fine-tuned, k = 10"
    assert answers["more"].difference is None and answers["more"].p_adjusted is None


def test_rows_that_ran_without_a_claims_column_are_not_called_unfinished():
    claim = Claim("c", "a beats b", "greater", "a", "b", "micro_f1")
    values = {"accuracy": SCORES["accuracy"].value, "micro_f1": SCORES["accuracy"].value}
    (result,) = answer_claims([claim], ["a", "b"], {("a", "accuracy"): None, ("b", "accuracy"): None}, values, 0.95)
    assert (result.verdict, result.note) == ("undecided", "no micro_f1 in the runs of a and b")


def test_unfinished_rows_are_paired_on_common_seeds():
    result = next(result for result in example_table().claims if result.claim.id == "label")
    left, right = ({s: frame(s, arm, level) for s in range(3)} for arm, level in ((4, 720), (3, 645)))
    score = SCORES["accuracy"]
    parts = [np.stack([score.contributions(runs[seed]) for seed in range(3)]) for runs in (left, right)]
    assert result.difference.value == pytest.approx(100 * difference(*parts, score.value).value)
    assert "3 seeds that both rows have" in result.note and "waits for seeds 3, 4" in result.note


def test_one_finished_seed_is_not_taken_for_a_deterministic_row():
    claim = Claim("c", "a beats b", "greater", "a", "b", "accuracy")
    seeds = {seed: frame(seed, 2, 600) for seed in range(3)}
    one = {1: frame(1, 3, 600)}
    partial = build([RowRuns("a", seeds, (0, 1, 2)), RowRuns("b", one, (0, 1, 2))], [claim]).claims[0]
    assert partial.difference.seeds == 1 and "one seed only" in partial.note
    deterministic = RowRuns("b", one, (1,), deterministic=True)
    told = build([RowRuns("a", seeds, (0, 1, 2)), deterministic], [claim]).claims[0]
    assert told.difference.seeds == 3 and told.note == ""
    # One seed is all that was asked for, which does not make the row deterministic.
    single = build([RowRuns("a", seeds, (0, 1, 2)), RowRuns("b", one, (1,))], [claim]).claims[0]
    assert single.verdict == "undecided" and "one seed only" in single.note
    nothing = build([RowRuns("a", {0: seeds[0]}, (0, 1)), RowRuns("b", one, (0, 1))], [claim]).claims[0]
    assert nothing.difference is None and "no finished seed in common" in nothing.note


def test_missing_seeds_are_listed_with_the_command():
    partial = RowRuns("a", {1: outcomes("10")}, (0, 1, 2))
    table = build_table("t", "q", ["accuracy"], [partial], [], [], SCORES, command="go")
    assert table.missing == ("a: seeds 0, 2 not finished",) and table.command == "go"
    assert example_table().missing == (
        f"{LABELLED}: seeds 3, 4: out of memory",
        "Fine-tuned, k = 10: seeds 0, 1, 2, 3, 4 not finished",
    )


def test_rows_on_different_examples_are_not_compared():
    claim = Claim("c", "a beats b", "greater", "a", "b", "accuracy")
    left, right = (RowRuns(name, {0: outcomes("1101", name)}, (0,)) for name in "ab")
    table = build([left, right], [claim])
    assert table.claims[0].verdict == "undecided" and "different examples" in table.claims[0].note


def two_seeds(first: pd.DataFrame, second: pd.DataFrame) -> list[RowRuns]:
    return [RowRuns("a", {0: first, 1: second}, (0, 1))]


def relabelled(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(gold="Entity-Origin(e1,e2)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": ("acuracy",)}, "column 'acuracy' is no score"),
        ({"row_runs": [RowRuns("a", {0: outcomes("10")}, (0,))] * 2}, "occurs twice"),
        ({"row_runs": two_seeds(outcomes("10"), outcomes("101"))}, "seeds 0 and 1 were scored on different examples"),
        ({"row_runs": two_seeds(outcomes("10"), relabelled(outcomes("10")))}, "different gold labels"),
        ({"row_runs": [RowRuns("a", {0: pd.concat([outcomes("10")] * 2)}, (0,))]}, "'r0' occurs twice"),
        ({"row_runs": [RowRuns("a", {0: outcomes("1")}, (0,))]}, "2 examples"),
        ({"published": [Published("a", "accuracy", 1.0, "", "")] * 2}, "two published values"),
        ({"claims": [Claim("c", "", "more", "a", "b", "accuracy")]}, "kind 'more'"),
        ({"claims": [Claim("c", "", "at_least", "a", "b", "accuracy")]}, "give a number"),
        ({"claims": [Claim("c", "", "greater", "a", 3.0, "accuracy")]}, "give a row"),
        ({"claims": [Claim("c", "", "greater", "a", "b", "macro_f1")]}, "column 'macro_f1'"),
        ({"claims": [Claim("c", "", "equal_within", "a", "a", "accuracy")]}, "margin of equivalence"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**{"row_runs": [RowRuns("a", {0: outcomes("1011")}, (0,))], **arguments})


def test_a_score_without_any_value_in_a_row_is_missing_and_not_zero():
    def runs(values):
        return {0: pd.DataFrame({"example_id": ["a", "b"], "reward": values})}

    known, unknown = RowRuns("known", runs([1.0, 3.0]), (0,)), RowRuns("unknown", runs([float("nan")] * 2), (0,))
    claim = Claim(id="c", text="t", kind="greater", left="known", right="unknown", column="reward")
    table = build_table("t", "q", ["reward"], [known, unknown], [], [claim], SCORES)
    assert table.cells[0][0].ours.value == 2.0
    assert table.cells[1][0].ours is None and table.cells[1][0].missing == "no value in its runs"
    assert table.claims[0].verdict not in ("holds", "fails")
