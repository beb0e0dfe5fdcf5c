"""A disk that is really full: a small file system of its own, which needs root."""

import os
import subprocess

import pytest
from engine_cells import completions, job, scripted

from sweeps.driver import drive
from sweeps.engines.local import LocalEngine
from sweeps.stages import StageStore


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_fails_the_cell_and_the_same_command_finishes_when_there_is_room(small_disk):
    def go():
        engine = LocalEngine(threads=1, workers=1, work=scripted, warm=())
        return drive([job(small_disk, "a", steps=3)], engine, StageStore(small_disk / "stages"))

    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    outcome = go()
    assert not outcome.finished and outcome.failed["a"].split(":")[0] == "disk"
    filler.unlink()
    assert go().finished == ["a"] and completions(small_disk) == {"a": 1}
