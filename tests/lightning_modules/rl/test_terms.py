"""Reward losses on numbers that can be followed by hand: two answers of two and one tokens."""

import math

import pytest
import torch

from lightning_modules.rl.terms import GroupRelative, Ppo, Rolled, kl_term, last_token_rewards, whitened

MASK = torch.tensor([[True, True, False], [True, False, False]])


def rolled(rewards=(1.0, 0.0), states=None):
    logps = torch.tensor([[-1.0, -2.0, 9.0], [-3.0, 9.0, 9.0]], dtype=torch.float64, requires_grad=True)
    return Rolled(logps, logps.detach(), MASK, torch.tensor([rewards], dtype=torch.float64), 0.7, states)


def slopes(term, made):
    (found,) = torch.autograd.grad(term.loss(made, term.advantages(made)), made.logps)
    return found.tolist()


@pytest.mark.parametrize(
    ("average", "constant", "first", "second"),
    [
        # Advantages 1/2 and -1/2. Three tokens in all; two answers of 2 and 1 tokens; a length of 4 for both.
        ("tokens", None, -1 / 6, 1 / 6),
        ("sequences", None, -1 / 8, 1 / 4),
        ("constant", 4, -1 / 16, 1 / 16),
    ],
)
def test_what_an_answers_tokens_are_divided_by(average, constant, first, second):
    term = GroupRelative(normalise_std=False, average=average, constant=constant)
    found = slopes(term, rolled())
    assert found[0] == pytest.approx([first, first, 0.0]) and found[1] == pytest.approx([second, 0.0, 0.0])


def test_rloo_compares_with_the_others_and_dapo_clips_higher_above():
    # The mean of the other is 0 and 1.
    assert GroupRelative(normalise_std=False, baseline="leave_one_out").advantages(rolled()).tolist() == [1.0, -1.0]
    made = rolled()
    far = made._replace(old_logps=made.old_logps - math.log(1.25))  # a ratio of 1.25 everywhere
    plain, higher = GroupRelative(normalise_std=False), GroupRelative(normalise_std=False, clip_eps_high=0.28)
    assert slopes(plain, far)[0] == [0.0] * 3
    assert slopes(higher, far)[0] == pytest.approx([-1.25 / 6, -1.25 / 6, 0.0])


def test_ppos_advantages_by_hand_before_its_critic_knows_anything():
    states = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    term = Ppo(gae_lambda=0.5, whiten=False, critic_warmup=0, critic_steps=1)
    made = rolled(states=states)
    # Values 0: the last token of the first answer has advantage 1, the one before it 1/2.
    assert term.advantages(made).tolist() == [[0.5, 1.0, 0.0], [0.0, 0.0, 0.0]]
    assert slopes(term, made)[0] == pytest.approx([-0.5 / 3, -1 / 3, 0.0])
    told = term.after_step()
    # Returns 1/2, 1 and 0 against values of 0: half the squares, over three tokens.
    assert told["train/value_loss"] == pytest.approx((0.25 + 1.0) / 2 / 3)
    assert told["train/value_explained"] == pytest.approx(0.0)
    assert term.after_step() == {}  # a step without rollouts teaches nothing


def test_the_critic_learns_the_returns_and_resumes_where_it_stood():
    states = torch.eye(4)[None, :3].repeat(2, 1, 1)
    states[1] += torch.eye(4)[3]
    term = Ppo(gae_lambda=1.0, critic_rate=1e-2, critic_steps=5, whiten=False)
    term.start(seed=3)
    for _ in range(100):
        term.advantages(rolled(states=states))
        told = term.after_step()
    assert term.values(states)[MASK].tolist() == pytest.approx([1.0, 1.0, 0.0], abs=0.05)
    assert told["train/value_explained"] > 0.9
    again = Ppo(gae_lambda=1.0, critic_rate=1e-2, critic_steps=5, whiten=False)
    again.start(seed=4)
    again.restore(term.state())
    for one in (term, again):
        one.advantages(rolled(rewards=(0.0, 1.0), states=states))
        one.after_step()
    assert torch.equal(term.values(states), again.values(states)) and again.steps == 101
    assert Ppo().state() == {}


def test_the_policy_waits_for_the_critics_warm_up():
    states = torch.zeros(2, 3, 4)
    term = Ppo(critic_warmup=1)
    assert not any(map(any, slopes(term, rolled(states=states))))
    term.after_step()
    assert any(map(any, slopes(term, rolled(states=states))))


def test_no_gradient_of_the_critic_reaches_the_states():
    states = torch.zeros(2, 3, 4, requires_grad=True)
    assert not Ppo().advantages(rolled(states=states)).requires_grad


def test_an_answers_reward_comes_with_its_last_token():
    mask = torch.tensor([[True, False, True], [False, False, False]])
    assert last_token_rewards(torch.tensor([2.0, 3.0]), mask).tolist() == [[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]


def test_whitening_runs_over_the_masks_tokens():
    # 1, 3 and 5: mean 3, standard deviation 2.
    values = torch.tensor([[1.0, 3.0, 99.0], [5.0, 99.0, 99.0]])
    assert whitened(values, MASK).flatten().tolist() == pytest.approx([-1.0, 0.0, 0.0, 1.0, 0.0, 0.0])
    assert not whitened(torch.full((2, 3), 0.3), MASK).any()


def test_the_distance_to_the_start_is_a_mean_over_tokens():
    made = rolled()
    ref = made.old_logps - torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    # Halves of 1, 4 and 0, over three tokens; its gradient is d / 3.
    distance = kl_term(made.logps, ref, made.mask, estimator="k2")
    assert distance.item() == pytest.approx(2.5 / 3)
    assert torch.autograd.grad(distance, made.logps)[0][0].tolist() == pytest.approx([1 / 3, 2 / 3, 0.0])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: GroupRelative(clip_eps=0.0), "clip_eps"),
        (lambda: GroupRelative(average="constant"), "constant"),
        (lambda: GroupRelative(average="tokens", constant=3), "constant"),
        (lambda: GroupRelative(baseline="none"), "baseline"),
        (lambda: Ppo(gamma=1.5), "gamma"),
        (lambda: Ppo(critic_steps=0), "critic_steps"),
        (lambda: Ppo(value_clip=0.0), "value_clip"),
        (lambda: Ppo().advantages(rolled()), "states"),
    ],
)
def test_bad_options_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
