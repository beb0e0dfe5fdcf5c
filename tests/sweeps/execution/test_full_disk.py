"""A disk that is really full: a small file system of its own, which needs root."""

import os
import signal
import subprocess

import pytest

from lightning_modules.relations.re import RelationGenerator
from sweeps.engines.local import LocalEngine
from sweeps.execution.driver import drive
from sweeps.execution.stages import StageStore
from tests.sweeps.engine_cells import completions, job, scripted
from tests.sweeps.execution.test_orders import by_hand, checkpoints, content, trained, whole  # noqa: F401 - a fixture among them


@pytest.fixture
def small_disk(tmp_path, request):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={getattr(request, 'param', '256k')}", "tmpfs", str(disk)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk):
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def test_a_full_disk_fails_the_cell_and_the_same_command_finishes_when_there_is_room(small_disk):
    def go():
        engine = LocalEngine(threads=1, workers=1, work=scripted, warm=())
        return drive([job(small_disk, "a", steps=3)], engine, StageStore(small_disk / "stages"))

    filler = fill(small_disk)
    outcome = go()
    assert not outcome.finished and outcome.failed["a"].split(":")[0] == "disk"
    filler.unlink()
    assert go().finished == ["a"] and completions(small_disk) == {"a": 1}


@pytest.mark.parametrize("small_disk", ["32m"], indirect=True)
@pytest.mark.parametrize("told", [False, True], ids=["of itself", "told to go"])
def test_a_training_that_meets_a_full_disk_keeps_its_last_checkpoint(small_disk, told, tmp_path, whole):  # noqa: F811
    """It goes on from there when there is room."""
    outputs = small_disk / "outputs"
    every = "trainer.checkpoint_every=0.001"

    def before():
        plain = RelationGenerator.losses

        def losses(self, batch):
            if self.global_step == 12:
                fill(small_disk)
                if told:
                    signal.raise_signal(signal.SIGTERM)
            return plain(self, batch)

        RelationGenerator.losses = losses

    cell = by_hand(outputs, every, before=before, place=tmp_path)
    status, said = cell.wait(), cell.said()
    assert checkpoints(outputs) and max(checkpoints(outputs)) == 12, said
    assert "Traceback" not in said
    if told:
        assert status == 143 and "checkpoint could not be written" in said.splitlines()[-1]
    else:
        assert status == 1 and "failed (disk): " in said and "No space left on device" in said
        assert said.splitlines()[-1].startswith("make room")
    (small_disk / "filler").unlink()
    assert by_hand(outputs, every, place=tmp_path, wait=True) == 0 and content(outputs) == content(whole)
    assert sorted(trained(tmp_path)) == sorted([*range(1, 61), 13])
