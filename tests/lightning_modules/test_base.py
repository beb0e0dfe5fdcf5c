"""Schedule, groups of weights, and random numbers that follow from the step."""

import math

import pytest
import torch

from lightning_modules.base import Optimiser
from lightning_modules.relations.re import RelationGenerator
from tests.lightning_modules.tiny_models import Corpus, optimiser, tiny


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # 10 steps, of which ceil(0.2 * 10) = 2 rise: 1/2, 2/2; then (10 - step) / 8.
        ("linear", [0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        ("constant", [0.5, 1.0, *[1.0] * 8]),
        ("cosine", [0.5, 1.0, *(0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8))]),
    ],
)
def test_schedule(schedule, expected):
    made = Optimiser(learning_rate=0.1, warmup=0.2, schedule=schedule)
    assert [made.factor(step, 10) for step in range(10)] == pytest.approx(expected)


def test_schedule_without_warm_up_starts_at_the_peak():
    assert Optimiser(learning_rate=0.1, warmup=0.0).factor(0, 1) == 1.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": 3}, "learning_rate"),
        ({"new_learning_rate": -1.0}, "new_learning_rate"),
        ({"layer_decay": 0.0}, "layer_decay"),
        ({"weight_decay": 1.0}, "weight_decay"),
        ({"warmup": 1.0}, "warmup"),
        ({"schedule": "step"}, "linear, cosine or constant"),
        ({"betas": [0.9]}, "betas"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Optimiser(**{"learning_rate": 1e-3, **options})


@pytest.fixture
def module(tokenizer):
    made = optimiser(learning_rate=1e-3, new_learning_rate=5e-3, layer_decay=0.5, weight_decay=0.1)
    module = RelationGenerator(model=tiny("marked", tokenizer, optimiser=made), seed=5)
    module.attach(Corpus())
    module.total_steps = 10
    return module


def test_groups_of_weights(module):
    configured = module.configure_optimizers()
    name_of = {id(value): name for name, value in module.network.named_parameters()}
    seen = {}
    for group in configured["optimizer"].param_groups:
        for value in group["params"]:
            seen[name_of[id(value)]] = (group["initial_lr"], group["weight_decay"])
    trained = {name for name, value in module.network.named_parameters() if value.requires_grad}
    assert set(seen) == trained
    for name, (rate, decay) in seen.items():
        expected = 5e-3 if name.startswith("decoder.") else 1e-3 if ".layer.1." in name else 5e-4
        assert rate == pytest.approx(expected), name
        assert decay == (0.1 if module.network.get_parameter(name).dim() > 1 else 0.0), name


def test_an_optimiser_needs_the_number_of_steps_and_something_to_train(module):
    module.network.requires_grad_(False)
    with pytest.raises(ValueError, match="every weight of the network is frozen"):
        module.configure_optimizers()
    module.total_steps = None
    with pytest.raises(ValueError, match="fitting"):
        module.configure_optimizers()


def test_random_numbers_follow_from_seed_and_step(tokenizer, monkeypatch):
    def drawn(seed, step):
        module = RelationGenerator(model=tiny("marked", tokenizer), seed=seed)
        monkeypatch.setattr(type(module), "global_step", property(lambda self: step))
        monkeypatch.setattr(type(module), "global_rank", property(lambda self: 0))
        torch.rand(3)
        module.on_train_batch_start(None, 0)
        return tuple(torch.rand(4).tolist())

    assert drawn(1, 7) == drawn(1, 7)
    assert len({drawn(seed, step) for seed in (0, 1) for step in (0, 1, 2)}) == 6


def test_initial_weights_follow_from_the_seed_alone(tokenizer):
    def weights(seed):
        torch.rand(2)
        module = RelationGenerator(model=tiny("seq2seq", tokenizer), seed=seed)
        state = torch.get_rng_state()
        module.attach(Corpus())
        assert torch.equal(state, torch.get_rng_state())
        return torch.cat([value.detach().flatten() for value in module.network.parameters()])

    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))


def test_a_negative_seed_is_refused(tokenizer):
    with pytest.raises(ValueError, match="seed"):
        RelationGenerator(model=tiny("marked", tokenizer), seed=-1)
