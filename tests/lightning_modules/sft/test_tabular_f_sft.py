"""Level 0: what the sweep's claims rest on, on a world of seconds."""

import numpy as np
import pytest

from data.worlds.tabular.bandit import TabularWorld
from lightning_modules.losses.divergences import DIVERGENCES
from lightning_modules.sft.tabular_f_sft import TabularFSft

CURVED = ["jensen_shannon", "kl_expert_policy", "kl_policy_expert", "neyman", "pearson_clamped", "squared_hellinger"]


def scores(demonstrations=None, **options):
    world = TabularWorld(seed=0, prompts=6, responses=8, demonstrations=demonstrations)
    policies = TabularFSft(**{"divergence": "pearson_clamped", **options}).predict(world, split="test")
    return world.frame(policies), policies


def probabilities(policies):
    return np.exp(np.array([policy.logps for policy in policies]))


@pytest.mark.parametrize("value", ["fixed", "prompt", "logit_gauge"])
def test_unbounded_total_variation_is_sft_whatever_the_value(value):
    frame, _ = scores(divergence="total_variation", value=value)
    assert frame["distance_to_sft"].max() < 1e-6


@pytest.mark.parametrize("value", ["prompt", "logit_gauge"])
@pytest.mark.parametrize("name", CURVED)
def test_a_free_value_and_the_logit_gauge_find_the_exact_optimum(name, value):
    frame, _ = scores(divergence=name, value=value)
    assert frame["distance_to_optimum"].max() < 1e-5 and frame["distance_to_sft"].min() > 1e-3


@pytest.mark.parametrize("name", sorted(set(CURVED) - {"kl_policy_expert"}))
def test_the_fixed_value_misses_the_optimum(name):
    frame, _ = scores(divergence=name, value="fixed")
    assert frame["distance_to_optimum"].mean() > 1e-3


def test_the_fixed_value_is_exact_for_the_divergence_from_the_policy():
    """phi'(r) = e^-(r+1): adding a constant to V scales the loss alone."""
    frame, _ = scores(divergence="kl_policy_expert", value="fixed")
    assert frame["distance_to_optimum"].max() < 1e-5


@pytest.mark.parametrize("name", [*CURVED, "pearson_unclamped"])
def test_with_one_demonstration_and_a_free_value_every_step_is_sfts(name):
    options = {"solver": "gradient", "steps": 30, "learning_rate": 0.5}
    _, sft = scores(1, objective="sft", **options)
    _, free = scores(1, divergence=name, value="prompt", **options)
    _, fixed = scores(1, divergence=name, value="fixed", **options)
    assert np.abs(probabilities(free) - probabilities(sft)).max() < 1e-9
    assert np.abs(probabilities(fixed) - probabilities(sft)).max() > 1e-2


def test_one_value_for_the_batch_is_between_fixed_and_free():
    fixed, batch, free = (
        scores(divergence="pearson_clamped", value=value)[0]["distance_to_optimum"].mean()
        for value in ("fixed", "batch", "prompt")
    )
    assert free < batch < fixed


def test_a_lower_rate_is_fewer_steps():
    low, _ = scores(4, objective="sft", solver="gradient", learning_rate=0.02, steps=100)
    early, _ = scores(4, objective="sft", solver="gradient", learning_rate=0.2, steps=10)
    late, _ = scores(4, objective="sft", solver="gradient", learning_rate=0.2, steps=100)
    for column in ("reward", "kl_to_base", "reward_after_dpo"):
        apart = abs(late[column].mean() - low[column].mean())
        assert abs(low[column].mean() - early[column].mean()) < 0.1 * apart


def test_an_explicit_penalty_is_a_blend_of_demonstrations_and_base():
    """kl_weight 0 is SFT; a large one stays at the base."""
    free, _ = scores(objective="sft_kl", kl_weight=0.0)
    held, _ = scores(objective="sft_kl", kl_weight=1e4)
    assert free["distance_to_sft"].max() < 1e-6 and held["kl_to_base"].max() < 1e-6


@pytest.mark.parametrize("kl_weight", [0.1, 1.0])
def test_an_explicit_penalty_finds_the_exact_optimum_of_its_problem(kl_weight):
    frame, _ = scores(objective="sft_kl", kl_weight=kl_weight)
    assert frame["distance_to_optimum"].max() < 1e-5 and frame["distance_to_sft"].min() > 1e-3


def test_exact_preference_optimisation_tilts_the_policy_by_the_reward():
    world = TabularWorld(seed=0, prompts=3, responses=4)
    policies = TabularFSft(divergence="neyman", objective="sft", dpo_beta=0.25).predict(world, split="test")
    for index, policy in enumerate(policies):
        tilt = np.array(policy.dpo_logps) - np.array(policy.logps) - world.rewards[index] / 0.25
        assert np.ptp(tilt) < 1e-9 and np.exp(policy.dpo_logps).sum() == pytest.approx(1.0)


def test_a_limit_takes_the_first_prompts():
    world = TabularWorld(seed=0, prompts=3, responses=4)
    found = TabularFSft(divergence="neyman").predict(world, split="test", limit=2)
    assert [policy.example_id for policy in found] == list(world.ids[:2])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"objective": "dpo"}, "method.objective is 'dpo'"),
        ({"divergence": "chi"}, "method.divergence is 'chi'"),
        ({"value": "learned"}, "method.value is 'learned'"),
        ({"beta": 0.0}, "method.beta must be above 0"),
        ({"steps": 0}, "method.steps must be at least 1"),
        ({"kl_weight": -1.0}, "method.kl_weight"),
        ({"divergence": "total_variation_bounded", "value": "prompt"}, "no best V"),
    ],
)
def test_entry_checks(options, said):
    assert set(CURVED) <= set(DIVERGENCES)
    with pytest.raises(ValueError, match=said):
        TabularFSft(**{"divergence": "neyman", **options})
