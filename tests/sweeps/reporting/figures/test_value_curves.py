"""Curves of estimates: aligned at the ends of prefixes, drawn only where runs recorded them."""

import pandas as pd

from sweeps.reporting.figures.value_curves import aligned, write


def test_curves_are_averaged_from_their_ends():
    assert aligned([[1.0, 2.0, 3.0], [5.0]]) == {-2: 1.0, -1: 2.0, 0: 4.0}


def test_a_figure_is_written_for_runs_with_estimates_alone(tmp_path):
    plain = pd.DataFrame({"example_id": ["a"], "reward": [1.0]})
    assert write({"one": [plain], "none": []}, tmp_path) == [] and not list(tmp_path.iterdir())
    recorded = plain.assign(good_values=[[0.0, 1.0]], corrupted_values=[[0.0, -1.0]])
    drawn, _ = write({"one": [recorded, recorded], "plain": [plain]}, tmp_path)
    assert drawn.name == "values.png" and drawn.read_bytes().startswith(b"\x89PNG")
