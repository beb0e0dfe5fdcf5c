"""The configs of methods that train on prompts and responses build the objects that they describe."""

import pytest
from hydra.utils import instantiate

from lightning_modules.losses.sft import dft_loss, sft_loss
from lightning_modules.preference.module import PreferenceOptimisation
from lightning_modules.preference.objectives.dpo import Dpo
from lightning_modules.preference.objectives.f_dpo import FDpo
from lightning_modules.preference.objectives.ipo import Ipo
from lightning_modules.preference.objectives.simpo import SimPo
from lightning_modules.sft.sft import Sft
from sweeps.planning import plan
from sweeps.preflight.schema import _check_node
from sweeps.run import strip
from sweeps.signatures.signature import PRESENTATION
from tests.lightning_modules.tiny_world import SumData


def method_of(*overrides):
    composed = plan.Composer().compose(("scale=smoke", "model=tiny_decoder", "evaluation=text", *overrides))
    config, blanked = plan.resolve(composed)
    _check_node(config["method"], "method")
    return instantiate(strip(config["method"], PRESENTATION)), blanked["method"]


@pytest.mark.parametrize(
    ("overrides", "kind", "loss", "options"),
    [
        (("method=sft",), Sft, sft_loss, {"per_sequence": "mean"}),
        (("method=sft", "method.loss._target_=lightning_modules.losses.sft.dft_loss"), Sft, dft_loss, None),
    ],
)
def test_configs_build_what_they_say(overrides, kind, loss, options):
    method, _ = method_of(*overrides)
    method.attach(SumData())
    assert isinstance(method, kind) and method.loss.func is loss
    assert options is None or method.loss.keywords == options
    assert sum(weight.numel() for weight in method.network.causal.layers.parameters()) == 97_536


@pytest.mark.parametrize(
    ("overrides", "kind", "numbers"),
    [
        (("method=dpo",), Dpo, {"beta": 0.1, "summed": True}),
        (("method=dpo", "objective.beta=0.5", "objective.label_smoothing=0.1"), Dpo, {"beta": 0.5, "summed": True}),
        (("method=dpo", "objective=ln_dpo"), Dpo, {"beta": 2.5, "summed": False}),
        (("method=ipo",), Ipo, {"beta": 0.1, "summed": False}),
        (("method=dpo", "objective=f_dpo", "objective.divergence=neyman"), FDpo, {"divergence": "neyman"}),
        (("method=dpo", "objective=simpo", "objective.gamma=0.3"), SimPo, {"beta": 2.0, "gamma": 0.3}),
    ],
)
def test_methods_of_preferences_have_the_objective_that_is_typed(overrides, kind, numbers):
    method, _ = method_of(*overrides)
    assert type(method) is PreferenceOptimisation and type(method.objective) is kind
    assert numbers.items() <= vars(method.objective).items()


def test_how_responses_are_sampled_never_reaches_the_trained_weights():
    method, blanked = method_of("method=sft", "evaluation.temperature=0.7", "evaluation.samples=3")
    assert (method.sampler.temperature, method.samples) == (0.7, 3)
    assert blanked == method_of("method=sft")[1]
