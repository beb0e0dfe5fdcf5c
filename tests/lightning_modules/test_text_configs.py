"""The configs of methods that train on prompts and responses build the objects that they describe."""

import pytest
from hydra.utils import instantiate

from lightning_modules.losses.dpo import dpo_loss, ipo_loss
from lightning_modules.losses.sft import dft_loss, sft_loss
from lightning_modules.preference.dpo import Dpo
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
        (("method=dpo", "method.loss.beta=0.5"), Dpo, dpo_loss, {"beta": 0.5}),
        (("method=ipo",), Dpo, ipo_loss, {"beta": 0.1}),
    ],
)
def test_configs_build_what_they_say(overrides, kind, loss, options):
    method, _ = method_of(*overrides)
    method.attach(SumData())
    assert isinstance(method, kind) and method.loss.func is loss
    assert options is None or method.loss.keywords == options
    assert sum(weight.numel() for weight in method.network.causal.layers.parameters()) == 97_536


def test_how_responses_are_sampled_never_reaches_the_trained_weights():
    method, blanked = method_of("method=sft", "evaluation.temperature=0.7", "evaluation.samples=3")
    assert (method.sampler.temperature, method.samples) == (0.7, 3)
    assert blanked == method_of("method=sft")[1]
