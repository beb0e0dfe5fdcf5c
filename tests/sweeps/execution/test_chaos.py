"""A small helping of benchmarks/chaos.py: eight cells on the local engine, ten kills."""

import re
import subprocess
import sys

import pytest

from sweeps.signatures.signature import ROOT


@pytest.mark.slow
def test_killed_at_random_the_sweep_ends_in_the_same_table_and_runs_no_cell_twice(tmp_path):
    command = [sys.executable, "-m", "benchmarks.chaos", "--kills", "10", "--seeds", "0", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    report = done.stdout.splitlines()[-1]
    assert int(re.search(r"(\d+) kills", report)[1]) >= 10
    completed, of = map(int, re.search(r"(\d+) of (\d+) cells run to completion", report).groups())
    assert completed == of > 0 and "0 of them twice" in report
    trained, needed, repeated = map(
        int, re.search(r"(\d+) steps trained where (\d+) were needed, at most (\d+) repeated", report).groups()
    )
    assert trained >= needed > 0 and repeated <= 1
    assert report.endswith("tables identical")
