"""The real fork server, with everything imported: safe to fork from."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = """
import json, sys
from pathlib import Path
from tests.sweeps.engine_cells import job
from tests.sweeps.warm_probe import look
from sweeps.engines.local import LocalEngine

outputs = Path(sys.argv[1])
with (outputs / "mains").open("a") as mains:
    mains.write("x")
if __name__ == "__main__":
    engine = LocalEngine(threads=1, workers=1, work=look)
    for number in range(3):
        engine.submit(job(outputs, f"c{number}"))
        while not engine.poll():
            pass
    found = json.loads((outputs / "runs" / "c2" / "look.json").read_text())
    print(json.dumps(found))
"""


@pytest.mark.slow
def test_cells_fork_from_a_single_thread_without_cuda_with_everything_imported(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=900, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mains").read_text() == "x", "workers ran the main module again"
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["server_threads"] == 1, "threads do not survive a fork, what they hold locked does"
    assert not found["cuda"] and found["imported"]
    assert found["frozen"] > 100_000, "a collection in a cell would copy the server's memory"
