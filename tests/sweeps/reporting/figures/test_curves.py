"""The figure over k: which rows become curves, and that their values are the table's."""

import pandas as pd
import pytest

from data.scoring.registry import all_scores
from sweeps.reporting.figures.curves import curves, curves_of
from sweeps.reporting.figures.mu_curve import mu_curve, places
from sweeps.reporting.render import write_figure
from sweeps.reporting.table import RowRuns, build_table

SCORES = all_scores()


def table(*names):
    def frame(right):
        return pd.DataFrame({"example_id": list("abcd"), "exact_match": [1.0] * right + [0.0] * (4 - right)})

    rows = [RowRuns(name, {0: frame(number), 1: frame(number)}, (0, 1)) for number, name in enumerate(names)]
    return build_table("t", "q", ["exact_match"], rows, (), (), SCORES)


def test_rows_that_say_their_k_are_curves_by_rising_k():
    found = curves_of(table("bm25, k=5", "bm25, k=1", "alone, k=3", "None"), 0)
    assert list(found) == ["bm25"]
    assert [(point.k, point.value) for point in found["bm25"]] == [(1, pytest.approx(25)), (5, pytest.approx(0))]
    assert all(point.low <= point.value <= point.high for point in found["bm25"])


def test_the_figure_is_written_where_there_are_curves(tmp_path):
    assert curves(table("bm25", "None")) is None
    assert {"curves.png", "curves.svg"} <= {p.name for p in write_figure(table("r, k=0", "r, k=10"), tmp_path)}


def mixtures(*rows):
    """Rows by name, right answers of four, and mean mu."""

    def frame(right, mu):
        solved = [1.0] * right + [0.0] * (4 - right)
        return pd.DataFrame({"example_id": list("abcd"), "success": solved, "mu": [mu] * 4})

    runs = [RowRuns(name, {0: frame(right, mu), 1: frame(right, mu)}, (0, 1)) for name, right, mu in rows]
    return build_table("t", "q", ["success", "mu"], runs, (), (), SCORES)


def test_fixed_weights_are_a_line_and_what_learns_them_a_point_at_its_mean(tmp_path):
    mixed = mixtures(
        ("Fixed mu 0.5", 2, 0.5), ("AMFT", 3, 0.31), ("Fixed mu 0.05", 1, 0.05), ("Warm-up", 1, float("nan"))
    )
    line, beside = places(mixed, 0)
    assert [(place.mu, place.value) for place in line] == [(0.05, pytest.approx(25)), (0.5, pytest.approx(50))]
    assert [(place.row, place.mu, place.value) for place in beside] == [
        ("AMFT", pytest.approx(0.31), pytest.approx(75))
    ]
    assert {"mu_curve.png", "mu_curve.svg"} <= {path.name for path in write_figure(mixed, tmp_path)}
    assert mu_curve(mixtures(("Fixed mu 0.5", 2, 0.5), ("AMFT", 3, 0.31))) is None
    assert mu_curve(table("Fixed mu 0.1", "Fixed mu 0.2")) is None
