import math

import pytest
import torch

from lightning_modules.losses.policy_gradient import (
    clipped_policy_loss,
    equal_reward_groups,
    generalised_advantages,
    group_advantages,
    kl_estimates,
    value_loss,
)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def ratio_loss(ratio, advantage, **options):
    """Loss of one token with the given probability ratio."""
    ones = torch.ones(1, 1, dtype=torch.bool)
    log_ratio = double([ratio]).log()
    return clipped_policy_loss(log_ratio, torch.zeros_like(log_ratio), double(advantage), ones, **options).item()


def test_group_advantages_of_grpo_dr_grpo_and_rloo():
    """Rewards 1, 0, 0, 1: mean 1/2, unbiased standard deviation sqrt(4/4 / 3) = 1/sqrt 3. GRPO: sqrt(3)/2 = 0.866;
    Dr. GRPO: 1/2; RLOO: a success against (0 + 0 + 1)/3 is 2/3, a failure against 2/3 is -2/3."""
    rewards = double([1.0, 0.0, 0.0, 1.0])
    signs = double([1.0, -1.0, -1.0, 1.0])
    grpo = group_advantages(rewards, normalise_std=True, epsilon=1e-12)
    torch.testing.assert_close(grpo, signs * math.sqrt(3) / 2)
    torch.testing.assert_close(group_advantages(rewards, normalise_std=False), signs / 2)
    rloo = group_advantages(rewards, normalise_std=False, baseline="leave_one_out")
    torch.testing.assert_close(rloo, signs * 2 / 3)


def test_groups_are_compared_within_themselves_only():
    rewards = double([1.0, 0.0], [101.0, 100.0])
    assert group_advantages(rewards, normalise_std=False).tolist() == [[0.5, -0.5], [0.5, -0.5]]


def test_equal_rewards_give_exactly_zero_although_their_mean_is_rounded():
    """The fp32 mean of seven times 0.1 is not 0.1; divided by a standard deviation of about 0 the rest would be
    noise."""
    rewards = torch.tensor([[0.1] * 7, [0.1] * 6 + [0.2]])
    assert equal_reward_groups(rewards).tolist() == [True, False]
    advantages = group_advantages(rewards, normalise_std=True, epsilon=1e-9)
    assert advantages[0].tolist() == [0.0] * 7 and advantages[1].abs().min() > 0


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [(1.5, 1.0, -1.2), (1.5, -1.0, 1.5), (0.5, 1.0, -0.5), (0.5, -1.0, 0.8), (1.1, 2.0, -2.2), (1.0, -3.0, 3.0)],
)
def test_clipped_policy_loss_case_by_case(ratio, advantage, expected):
    """Clip range 0.8 to 1.2, minimum of both objectives: 1.5 is cut to 1.2 for a gain but not for a loss; 0.5 is raised
    to 0.8 for a loss but not for a gain; 1.1 is inside."""
    assert ratio_loss(ratio, advantage, clip_eps=0.2) == pytest.approx(expected)


def test_clip_higher_moves_the_upper_bound_only():
    """Ratio 1.25: -1.2 at 0.2, free at 0.28. Ratio 0.5 with a negative advantage stays at the lower bound: 0.8."""
    assert ratio_loss(1.25, 1.0, clip_eps=0.2) == pytest.approx(-1.2)
    assert ratio_loss(1.25, 1.0, clip_eps=0.2, clip_eps_high=0.28) == pytest.approx(-1.25)
    assert ratio_loss(0.5, -1.0, clip_eps=0.2, clip_eps_high=0.28) == pytest.approx(0.8)


def test_policy_gradient_at_ratio_one_is_minus_the_advantage():
    """d/d logp of -A e^(logp - old) at equality: -A for each of the 2 tokens, halved by the mean over the sequence."""
    logps = double([-1.0, -2.0], [-3.0, -1.0]).requires_grad_()
    mask = torch.ones(2, 2, dtype=torch.bool)
    loss = clipped_policy_loss(logps, logps.detach(), double(1.0, -2.0), mask, clip_eps=0.2)
    assert loss.tolist() == [-1.0, 2.0]
    loss.sum().backward()
    assert logps.grad is not None and logps.grad.tolist() == [[-0.5, -0.5], [1.0, 1.0]]


def test_the_gradient_stops_where_the_clip_binds():
    logps = double([1.5, 0.5], [1.5, 0.5]).log().requires_grad_()
    mask = torch.ones(2, 2, dtype=torch.bool)
    old = torch.zeros(2, 2, dtype=torch.float64)
    clipped_policy_loss(logps, old, double(1.0, -1.0), mask, clip_eps=0.2, per_sequence="sum").sum().backward()
    assert logps.grad is not None
    torch.testing.assert_close(logps.grad, double([0.0, -0.5], [1.5, 0.0]))


def test_masked_tokens_change_neither_loss_nor_gradient_and_an_empty_row_is_zero():
    """Row 0 keeps its first token (ratio e^0.1, advantage 1): -e^0.1, though garbage stands behind it."""
    logps = double([-1.0, float("nan")], [-3.0, -1.0]).requires_grad_()
    old = double([-1.1, 0.0], [-3.0, -9.0])
    mask = torch.tensor([[True, False], [False, False]])
    loss = clipped_policy_loss(logps, old, double(1.0, 1.0), mask, clip_eps=0.2)
    torch.testing.assert_close(loss, double(-math.exp(0.1), 0.0))
    loss.sum().backward()
    assert logps.grad is not None
    torch.testing.assert_close(logps.grad, double([-math.exp(0.1), 0.0], [0.0, 0.0]))


def test_per_sequence_mean_and_sum():
    """Three tokens at ratio 1, advantages of tokens 1, 2 and 6: -9 in sum, -3 on average."""
    zeros, mask = torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)
    advantages = torch.tensor([[1.0, 2.0, 6.0]])
    assert clipped_policy_loss(zeros, zeros, advantages, mask, clip_eps=0.2).item() == -3.0
    assert clipped_policy_loss(zeros, zeros, advantages, mask, clip_eps=0.2, per_sequence="sum").item() == -9.0


@pytest.mark.parametrize("advantage", [-1.0, 0.0, 1.0])
def test_loss_and_gradient_stay_finite_when_the_ratio_overflows(advantage):
    logps = torch.tensor([[200.0, -200.0]], requires_grad=True)
    mask = torch.ones(1, 2, dtype=torch.bool)
    loss = clipped_policy_loss(logps, torch.zeros(1, 2), torch.tensor([advantage]), mask, clip_eps=0.2)
    loss.sum().backward()
    assert loss.isfinite().all() and logps.grad is not None and logps.grad.isfinite().all()


def test_generalised_advantages_by_hand():
    """Rewards 0, 0, 1, all values 1/2. lambda = gamma = 1: return 1 less 1/2 everywhere. gamma 0.9, lambda 0.5:
    last delta 1 - 0.5 = 0.5; before it 0.9 * 0.5 - 0.5 = -0.05, advantage -0.05 + 0.45 * 0.5 = 0.175; first
    -0.05 + 0.45 * 0.175 = 0.02875. Returns are advantages plus 1/2."""
    rewards, values = double([0.0, 0.0, 1.0]), double([0.5, 0.5, 0.5])
    mask = torch.ones(1, 3, dtype=torch.bool)
    plain = generalised_advantages(rewards, values, mask, gamma=1.0, gae_lambda=1.0)
    assert plain.advantages.tolist() == [[0.5, 0.5, 0.5]] and plain.returns.tolist() == [[1.0, 1.0, 1.0]]
    mixed = generalised_advantages(rewards, values, mask, gamma=0.9, gae_lambda=0.5)
    torch.testing.assert_close(mixed.advantages, double([0.02875, 0.175, 0.5]))
    torch.testing.assert_close(mixed.returns, double([0.52875, 0.675, 1.0]))


def test_generalised_advantages_step_over_masked_columns():
    """Environment tokens and padding between and after the policy's own change nothing, whatever stands in them."""
    rewards, values = double([0.3, -0.2, 1.0]), double([0.1, 0.4, 0.7])
    compact = generalised_advantages(rewards, values, torch.ones(1, 3, dtype=torch.bool), gamma=0.9, gae_lambda=0.8)
    columns = [1, 4, 5]
    mask = torch.zeros(1, 8, dtype=torch.bool)
    mask[0, columns] = True
    wide_rewards, wide_values = (torch.full((1, 8), float("nan"), dtype=torch.float64) for _ in range(2))
    wide_rewards[0, columns], wide_values[0, columns] = rewards[0], values[0]
    wide = generalised_advantages(wide_rewards, wide_values, mask, gamma=0.9, gae_lambda=0.8)
    for got, wanted in zip(wide, compact, strict=True):
        torch.testing.assert_close(got[:, columns], wanted)
        assert got[~mask].abs().max() == 0


def test_value_loss_is_half_the_squared_error_and_the_clip_is_pessimistic():
    """Value 2 against return 0: 2. Kept within 0.5 of the old value 1 it would be 1.5, error 2.25 < 4: the larger
    stays. Value 1, old value 2: kept at 1.5, error 2.25 > 1, half of it is 1.125."""
    mask, zero = torch.ones(1, 1, dtype=torch.bool), double([0.0])
    assert value_loss(double([2.0]), double([1.0]), zero, mask).item() == 2.0
    assert value_loss(double([2.0]), double([1.0]), zero, mask, clip_range=0.5).item() == 2.0
    assert value_loss(double([1.0]), double([2.0]), zero, mask, clip_range=0.5).item() == 1.125


def test_value_loss_mask_and_gradient():
    """Two of three columns count: gradients (v - R) / 2 = 1/2 and -1."""
    values = double([1.0, -2.0, 50.0]).requires_grad_()
    zeros = torch.zeros(1, 3, dtype=torch.float64)
    value_loss(values, zeros, zeros, torch.tensor([[True, True, False]])).sum().backward()
    assert values.grad is not None and values.grad.tolist() == [[0.5, -1.0, 0.0]]


def test_kl_estimates_by_hand():
    """d = ln 2: k1 = ln 2, k2 = (ln 2)^2 / 2, k3 = 1/2 - 1 + ln 2. d = -ln 2: k3 = 2 - 1 - ln 2."""
    d, zero = double([math.log(2), -math.log(2)]), double([0.0, 0.0])
    torch.testing.assert_close(kl_estimates(d, zero, estimator="k1"), d)
    torch.testing.assert_close(kl_estimates(d, zero, estimator="k2"), d.square() / 2)
    expected = double([math.log(2) - 0.5, 1 - math.log(2)])
    torch.testing.assert_close(kl_estimates(d, zero, estimator="k3"), expected)


def test_k1_and_k3_have_the_kl_as_their_mean_and_k2_has_its_gradient():
    """Policy (1/2, 1/2), reference (1/4, 3/4): KL = ln(4/3)/2. Means are exact sums over the two outcomes."""
    logits = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    ref = double([0.25, 0.75]).log()
    policy = logits.log_softmax(0)[None]
    exact = (policy.exp() * (policy - ref)).sum()
    assert exact.item() == pytest.approx(0.5 * math.log(4 / 3))
    weights = policy.exp().detach()
    for estimator in ("k1", "k3"):
        assert (weights * kl_estimates(policy, ref, estimator=estimator)).sum().item() == pytest.approx(exact.item())
    wanted = torch.autograd.grad(exact, logits, retain_graph=True)[0]
    mean = (weights * kl_estimates(policy, ref, estimator="k2")).sum()
    torch.testing.assert_close(torch.autograd.grad(mean, logits)[0], wanted)


def test_k3_is_never_negative_and_finite_at_any_distance():
    logps = torch.linspace(-200, 200, 401)[None].requires_grad_()
    estimates = kl_estimates(logps, torch.zeros_like(logps), estimator="k3")
    estimates.sum().backward()
    assert (estimates[:, 180:] >= 0).all() and estimates.isfinite().all()
    assert logps.grad is not None and logps.grad.isfinite().all()


def test_half_precision_is_raised():
    half, mask = torch.zeros(1, 2, dtype=torch.bfloat16), torch.ones(1, 2, dtype=torch.bool)
    assert clipped_policy_loss(half, half, half[:, 0], mask, clip_eps=0.2).dtype == torch.float32
    assert group_advantages(half, normalise_std=True).dtype == torch.float32
    assert generalised_advantages(half, half, mask, gamma=1.0, gae_lambda=1.0).advantages.dtype == torch.float32


def test_entry_checks():
    zeros, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="G >= 2"):
        group_advantages(torch.zeros(2, 1), normalise_std=True)
    with pytest.raises(ValueError, match="baseline"):
        group_advantages(zeros, normalise_std=True, baseline="median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"advantages has shape \(3,\)"):
        clipped_policy_loss(zeros, zeros, torch.zeros(3), mask, clip_eps=0.2)
    with pytest.raises(ValueError, match="clip_eps is 0"):
        clipped_policy_loss(zeros, zeros, torch.zeros(2), mask, clip_eps=0.0)
    with pytest.raises(ValueError, match=r"clip_eps_high is -0\.1"):
        clipped_policy_loss(zeros, zeros, torch.zeros(2), mask, clip_eps=0.2, clip_eps_high=-0.1)
    with pytest.raises(ValueError, match="gae_lambda"):
        generalised_advantages(zeros, zeros, mask, gamma=1.0, gae_lambda=1.5)
    with pytest.raises(ValueError, match="clip_range"):
        value_loss(zeros, zeros, zeros, mask, clip_range=0.0)
    with pytest.raises(ValueError, match="estimator"):
        kl_estimates(zeros, zeros, estimator="k4")  # type: ignore[arg-type]
