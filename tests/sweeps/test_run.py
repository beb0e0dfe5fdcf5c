"""A run whose base has a base of its own: every level is trained once, as a stage, and starts from the one below."""

import copy

import pytest
from safetensors.torch import load_file

from sweeps.execution.ledger import read_json
from sweeps.planning import plan
from sweeps.run import Job, execute
from sweeps.signatures import signature

SMOKE = (
    "scale=smoke",
    "experiment=re_smoke",
    "base=re/samples",
    "data.train_limit=8",
    "base.data.train_limit=8",
    "evaluation.limit=4",
    "model.optimiser.learning_rate=0.05",
)


def nested(**model):
    """A cell's config whose base starts from the same base with another seed, the upper base's model changed."""
    config = plan.Composer().compose(SMOKE)
    config["base"]["base"] = {**copy.deepcopy(config["base"]), "seed": 1}
    if model:
        config["base"]["model"] = {**copy.deepcopy(config["model"]), **model}
    return plan.resolve(config)


def job(config, blanked, outputs):
    training = signature.training_signature(blanked)
    name = signature.evaluation_signature(config, training)
    return Job(name, training, signature.science_signature(config), config, blanked, (), str(outputs))


def test_bases_are_listed_from_the_deepest_up():
    config, _ = nested()
    assert [base["seed"] for base in plan.bases(config)] == [1, 0]
    assert plan.bases({"base": None}) == plan.bases({}) == []


def test_a_base_names_its_own_base_so_another_one_below_makes_other_weights():
    _, blanked = nested()
    flat = {**blanked["base"], "base": None}
    assert signature.training_signature(blanked["base"]) != signature.training_signature(flat)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("run")
    config, blanked = nested()
    one = job(config, blanked, outputs)
    assert execute(one) == 0, read_json(one.folder / "failed.json")
    return outputs, blanked, one


def test_every_level_is_one_training_stage(ran):
    outputs, blanked, one = ran
    wanted = {one.training, *(signature.training_signature(base) for base in plan.bases(blanked))}
    assert {path.name for path in (outputs / "stages" / "training").iterdir() if path.is_dir()} == wanted
    assert len(wanted) == 3


def test_a_level_starts_from_the_weights_below_it(tmp_path):
    """Trained with hardly any learning rate, the upper base stays where the lower one ended."""
    optimiser = plan.Composer().compose(SMOKE)["model"]["optimiser"]
    slow = {**optimiser, "learning_rate": 1e-9, "new_learning_rate": 1e-9, "weight_decay": 0.0}
    config, blanked = nested(optimiser=slow)
    one = job(config, blanked, tmp_path)
    assert execute(one) == 0, read_json(one.folder / "failed.json")
    below, above = (
        load_file(tmp_path / "stages" / "training" / signature.training_signature(base) / "model.safetensors")
        for base in plan.bases(blanked)
    )
    assert below.keys() == above.keys()
    assert all((below[name] - above[name]).abs().max() < 1e-6 for name in below)
