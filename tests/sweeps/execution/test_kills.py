"""Killed before any change that it makes to its outputs, a cell loses one checkpoint interval at most."""

import json

import pytest

import sweeps.engines.preload  # noqa: F401 - as a worker's server has it: children are forked
from lightning_modules.training.checkpoints import CHECKPOINTS
from sweeps.execution.ledger import read_json
from sweeps.execution.stages import MANIFEST, SCRATCH, StageStore, damage
from sweeps.planning import plan
from sweeps.run import Job
from sweeps.signatures import signature
from tests.sweeps.kill_points import KILLED, killed, points, steps

STEPS = 4
# A checkpoint after every step: what a kill may cost is then one step.
CELL = (
    "scale=smoke",
    "experiment=re_smoke",
    "data.train_limit=16",
    "data.batch_size=4",
    "trainer.max_epochs=null",
    f"trainer.max_steps={STEPS}",
    "trainer.checkpoint_every=0.0001",
    "evaluation.limit=2",
    "logger=none",
)


@pytest.fixture(scope="module")
def config():
    return plan.resolve(plan.Composer().compose(CELL))


def job(config, outputs):
    resolved, blanked = config
    training = signature.training_signature(blanked)
    name = signature.evaluation_signature(resolved, training)
    return Job(name, training, signature.science_signature(resolved), resolved, blanked, (), str(outputs.resolve()))


def weights(one):
    return StageStore(one.folder.parents[1] / "stages").path("training", one.training)


def content(one):
    """All that the cell's training left, and the cell's scores; times are no part of it."""
    rows = [json.loads(line) for line in (weights(one) / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["time"]
    return rows, (weights(one) / "model.safetensors").read_bytes(), (one.folder / "examples.parquet").read_bytes()


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """The cell undisturbed, and the points that it went through."""
    one = job(config, tmp_path_factory.mktemp("whole"))
    assert killed(one, 0) == 0, read_json(one.folder / "failed.json")
    assert steps(one) == [list(range(1, STEPS + 1))]
    return one, points(one)


def check(config, outputs, at, whole, *, below=""):
    one = job(config, outputs)
    assert killed(one, at, below=below) == KILLED
    where = f"killed before {points(one)[-1]}"
    assert killed(one, 0) == 0, f"{where}: {read_json(one.folder / 'failed.json')}"
    trained = [step for each in steps(one) for step in each]
    assert sorted(set(trained)) == list(range(1, STEPS + 1)), where
    assert len(trained) <= STEPS + 1, f"{where}: {steps(one)} were trained, where one step may be repeated"
    assert content(one) == content(whole), where
    assert damage(weights(one)) is None and not (weights(one) / SCRATCH).exists(), where
    files = {path.name for path in weights(one).iterdir()}
    assert files == {"metrics.jsonl", "model.safetensors", MANIFEST}, where
    assert read_json(one.folder / "done.json")["training"] == one.training


def test_no_kill_between_the_last_checkpoint_and_the_published_weights_costs_more_than_a_step(config, tmp_path, whole):
    undisturbed, passed = whole
    inside = [line for line in passed if "/training/" in line]
    last = max(at for at, line in enumerate(inside, start=1) if line.startswith("open") and CHECKPOINTS in line)
    assert any(line.startswith("os.rmdir") for line in inside[last:]), "the window that once lost a training is there"
    for at in range(last, len(inside) + 1):
        check(config, tmp_path / str(at), at, undisturbed, below="/training/")


@pytest.mark.slow
def test_no_kill_anywhere_costs_more_than_a_step(config, tmp_path, whole):
    undisturbed, passed = whole
    for at in range(1, len(passed) + 1):
        check(config, tmp_path / str(at), at, undisturbed)


def test_two_kills_between_the_last_step_and_the_published_weights_cost_no_more(config, tmp_path, whole):
    """Killed as it clears up, and again as the next process does."""
    undisturbed, passed = whole
    one = job(config, tmp_path)
    inside = [line for line in passed if "/training/" in line]
    listed = next(at for at, line in enumerate(inside, start=1) if "os.rename" in line and line.endswith(MANIFEST))
    assert killed(one, listed + 3, below="/training/") == KILLED
    left = next(at for at, line in enumerate(points(one), start=1) if CHECKPOINTS in line)
    assert killed(one, left, below="/training/") == KILLED
    assert killed(one, 0) == 0
    assert len([step for each in steps(one) for step in each]) == STEPS
    assert content(one) == content(undisturbed)


def test_the_store_deletes_what_a_training_calls_its_checkpoints():
    assert CHECKPOINTS == SCRATCH
