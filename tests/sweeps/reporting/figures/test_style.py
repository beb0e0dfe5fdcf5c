"""What all figures share."""

from types import SimpleNamespace

from matplotlib.figure import Figure

from sweeps.reporting.figures.style import LINES, SERIES, with_intervals


def test_no_two_series_look_alike():
    axes = Figure().add_subplot()
    count = len(LINES) * len(SERIES)
    for series in range(count):
        with_intervals(axes, [0], [SimpleNamespace(value=1, low=0, high=2)], series=series, label=str(series))
    lines = [drawn[0] for drawn in axes.containers]
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(looks) == count == 32
