import numpy as np
import pytest

from data.records.tabular import TabularPolicy
from data.scoring.registry import all_scores, scores_of
from data.worlds.tabular.bandit import TabularWorld

SCORES = all_scores()


def policy(world, index, logps, dpo=None, optimum=()):
    return TabularPolicy(world.ids[index], tuple(logps), tuple(logps if dpo is None else dpo), tuple(optimum))


def test_the_expert_is_the_base_tilted_by_the_reward():
    world = TabularWorld(seed=0, tau=0.7)
    tilt = world.expert_logps - world.base_logps - world.rewards / 0.7
    assert np.ptp(tilt, axis=1).max() < 1e-12
    assert np.allclose(np.exp(world.expert_logps).sum(1), 1)


def test_the_seed_draws_demonstrations_and_nothing_else():
    one, two = TabularWorld(seed=1, demonstrations=4), TabularWorld(seed=2, demonstrations=4)
    assert np.array_equal(one.rewards, two.rewards) and np.array_equal(one.base_logps, two.base_logps)
    assert not np.array_equal(one.demonstration_weights, two.demonstration_weights)
    again = TabularWorld(seed=1, demonstrations=4)
    assert np.array_equal(one.demonstration_weights, again.demonstration_weights)
    other = TabularWorld(seed=1, demonstrations=4, world_seed=1)
    assert not np.array_equal(one.rewards, other.rewards)


def test_demonstrations_are_shares_that_add_up_to_one_and_follow_the_expert():
    few = TabularWorld(seed=0, demonstrations=4).demonstration_weights
    assert np.array_equal(few.sum(1), np.ones(32)) and set(np.unique(4 * few)) <= {0.0, 1.0, 2.0, 3.0, 4.0}
    many = TabularWorld(seed=0, demonstrations=200_000)
    assert np.abs(many.demonstration_weights - np.exp(many.expert_logps)).max() < 0.01


def test_columns_of_the_frame_by_hand():
    """Base (1/2, 1/2), rewards 1 and 3, demonstrations (1/4, 3/4), policy (0.2, 0.8): reward 2.6; KL to base
    0.2 ln 0.4 + 0.8 ln 1.6; cross entropy -(ln 0.2)/4 - 3 (ln 0.8)/4; distances 0.05 from SFT, 0.2 from (0, 1)."""
    world = TabularWorld(seed=0, prompts=2, responses=2)
    world.base_logps[0], world.rewards[0], world.demonstration_weights[0] = np.log([0.5, 0.5]), [1, 3], [0.25, 0.75]
    logps = np.log([0.2, 0.8])
    frame = world.frame([policy(world, 0, logps, np.log([0.1, 0.9]), [-np.inf, 0.0])])
    expected = {
        "reward": 2.6,
        "reward_after_dpo": 2.8,
        "kl_to_base": 0.2 * np.log(0.4) + 0.8 * np.log(1.6),
        "demonstration_nll": -0.25 * np.log(0.2) - 0.75 * np.log(0.8),
        "distance_to_sft": 0.05,
        "distance_to_optimum": 0.2,
    }
    assert frame["example_id"].tolist() == ["prompt-0000"]
    for column, value in expected.items():
        assert frame[column].iloc[0] == pytest.approx(value), column


def test_every_column_is_a_score():
    world = TabularWorld(seed=0, prompts=2, responses=2)
    policies = [policy(world, index, world.base_logps[index], optimum=(0.0, -99.0)) for index in range(2)]
    frame = world.frame(policies)
    assert set(frame.columns) - {"example_id"} <= set(SCORES)
    scores = scores_of(frame)
    assert scores["kl_to_base"] == pytest.approx(0.0)
    assert scores["distance_to_optimum"] == pytest.approx(frame["distance_to_optimum"].mean())


@pytest.mark.parametrize("bad", [{"prompts": 1}, {"responses": 1}, {"demonstrations": 0}, {"tau": 0.0}])
def test_entry_checks(bad):
    with pytest.raises(ValueError, match=rf"data\.{next(iter(bad))} must be"):
        TabularWorld(seed=0, **bad)
