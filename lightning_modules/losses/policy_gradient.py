"""Policy-gradient losses of reinforcement learning from verifiable rewards: GRPO, RLOO, Dr. GRPO, PPO, DAPO's clip.

Shapes: P prompts with G rollouts each, B = P * G sequences, T columns of token values (T-1 of `logps.token_logps`).
Rewards have the unit of the environment, log-probabilities are in nats, at the sampling temperature. The named methods
are compositions:

- GRPO (arXiv 2402.03300): normalise_std=True; per_sequence="mean"; the mean over B.
- Dr. GRPO (arXiv 2503.20783): normalise_std=False; per_sequence="sum", divided by a constant length; the mean over B.
- RLOO (arXiv 2402.14740): normalise_std=False, baseline="leave_one_out"; per_sequence="sum".
- DAPO (arXiv 2503.14476): GRPO's advantages, clip_eps_high > clip_eps; per_sequence="sum", `logps.per_global_token`.
- PPO (arXiv 1707.06347): `generalised_advantages`, per token, and `value_loss`.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lightning_modules.losses.checks import (
    check_choice,
    check_floating,
    check_mask,
    check_number,
    check_shapes,
    full_precision,
)
from lightning_modules.losses.logps import PerSequence, aggregate_tokens

LOG_RATIO_BOUND = 20.0
"""Above this log-ratio, far outside any clip range, exponentials go on as their tangent: value and gradient stay
finite, and a token that is farther off is never pulled less, nor the other way."""


class Advantages(NamedTuple):
    """Advantages and value targets, (B, T) each, 0 outside the mask."""

    advantages: Tensor
    returns: Tensor


def equal_reward_groups(rewards: Tensor) -> Tensor:
    """(P, G) -> (P,) booleans: groups without a learning signal, because all their rewards are equal."""
    check_shapes("(P, G)", rewards=rewards)
    return rewards.amax(1) == rewards.amin(1)


def group_advantages(
    rewards: Tensor,
    *,
    normalise_std: bool,
    baseline: Literal["group_mean", "leave_one_out"] = "group_mean",
    epsilon: float = 1e-6,
) -> Tensor:
    """Advantages of rollouts relative to the others of their prompt.

    Args:
        rewards: (P, G), G >= 2.
        normalise_std: divide by the group's standard deviation (unbiased) plus `epsilon`, as GRPO does.
        baseline: `group_mean`, or `leave_one_out`, the mean of the other rollouts (RLOO), G / (G - 1) times as large.
        epsilon: above 0.

    Returns:
        (P, G); exactly 0 in groups with equal rewards, where rounding would otherwise be blown up by the division.
    """
    check_shapes("(P, G)", rewards=rewards)
    check_floating(rewards=rewards)
    check_choice("baseline", baseline, ("group_mean", "leave_one_out"))
    check_number("epsilon", epsilon, above=0.0)
    size = rewards.shape[1]
    if size < 2:
        raise ValueError(f"rewards has shape {tuple(rewards.shape)}, wanted (P, G) with G >= 2: sample more rollouts")
    rewards = full_precision(rewards)
    advantages = rewards - rewards.mean(1, keepdim=True)
    if baseline == "leave_one_out":
        advantages = advantages * size / (size - 1)  # r_i - mean of the others, RLOO
    if normalise_std:
        advantages = advantages / (rewards.std(1, keepdim=True) + epsilon)  # GRPO, outcome supervision
    return advantages.masked_fill(equal_reward_groups(rewards)[:, None], 0.0)


def clipped_policy_loss(
    logps: Tensor,
    old_logps: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    clip_eps: float,
    clip_eps_high: float | None = None,
    per_sequence: PerSequence = "mean",
) -> Tensor:
    """PPO's clipped surrogate, negated: a loss to descend.

    Args:
        logps: (B, T), nats, of the sampled tokens under the policy.
        old_logps: (B, T), nats, under the policy that sampled them; a constant.
        advantages: (B,) of sequences or (B, T) of tokens; constants.
        mask: (B, T), the tokens that the policy wrote.
        clip_eps: the ratio is not pushed below 1 - clip_eps; in (0, 1].
        clip_eps_high: nor above 1 + clip_eps_high; None is clip_eps. Larger is DAPO's clip-higher.
        per_sequence: "mean" over each sequence's tokens, or "sum".

    Returns:
        (B,); its value is no measure of progress: at ratio 1 it is minus the advantage. Ratios above e^20 grow as the
        tangent at e^20.
    """
    check_shapes("(B, T)", logps=logps, old_logps=old_logps, mask=mask)
    check_floating(logps=logps, old_logps=old_logps, advantages=advantages)
    if advantages.shape not in (logps.shape, logps.shape[:1]):
        raise ValueError(
            f"advantages has shape {tuple(advantages.shape)}, wanted (B,) or (B, T) for logps {tuple(logps.shape)}"
        )
    check_number("clip_eps", clip_eps, above=0.0, at_most=1.0)
    high = clip_eps if clip_eps_high is None else clip_eps_high
    check_number("clip_eps_high", high, above=0.0)
    gains = full_precision(advantages if advantages.dim() == 2 else advantages[:, None])
    log_ratio = full_precision(logps) - full_precision(old_logps)
    ratio = log_ratio.clamp(max=LOG_RATIO_BOUND).exp() + _tangent_beyond(log_ratio)
    objective = torch.minimum(ratio * gains, ratio.clamp(1 - clip_eps, 1 + high) * gains)  # PPO Eq. 7, DAPO Eq. 8
    return -aggregate_tokens(objective, mask, per_sequence=per_sequence)


def generalised_advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, gae_lambda: float
) -> Advantages:
    """Generalised advantage estimation (arXiv 1506.02438) over the tokens that the policy wrote.

    Args:
        rewards: (B, T), received after each token.
        values: (B, T), the critic's estimate before each token; constants.
        mask: (B, T). Masked columns (prompt, environment, padding) are no steps: time passes over them. After the last
            step the episode is over, with value 0.
        gamma: discount per step, in [0, 1].
        gae_lambda: in [0, 1].
    """
    check_shapes("(B, T)", rewards=rewards, values=values, mask=mask)
    check_floating(rewards=rewards, values=values)
    check_number("gamma", gamma, at_least=0.0, at_most=1.0)
    check_number("gae_lambda", gae_lambda, at_least=0.0, at_most=1.0)
    kept = check_mask(mask)
    rewards, values = full_precision(rewards), full_precision(values)
    following_value = following_advantage = values.new_zeros(len(values))
    columns = []
    for t in range(values.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * following_value - values[:, t]  # GAE Eq. 9
        advantage = delta + gamma * gae_lambda * following_advantage  # GAE Eq. 16
        columns.append(torch.where(kept[:, t], advantage, 0.0))
        following_advantage = torch.where(kept[:, t], advantage, following_advantage)
        following_value = torch.where(kept[:, t], values[:, t], following_value)
    advantages = torch.stack(columns[::-1], 1)
    return Advantages(advantages, (advantages + values).masked_fill(~kept, 0.0))


def value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    mask: Tensor,
    *,
    clip_range: float | None = None,
    per_sequence: PerSequence = "mean",
) -> Tensor:
    """Half the squared error of the critic: (B, T) each -> (B,). With `clip_range`, PPO's pessimistic form: the larger
    of the error and of the error with `values` kept within the range around `old_values`."""
    check_shapes("(B, T)", values=values, old_values=old_values, returns=returns, mask=mask)
    check_floating(values=values, old_values=old_values, returns=returns)
    values, old_values, returns = full_precision(values), full_precision(old_values), full_precision(returns)
    errors = (values - returns).square()
    if clip_range is not None:
        check_number("clip_range", clip_range, above=0.0)
        near = old_values + (values - old_values).clamp(-clip_range, clip_range)
        errors = torch.maximum(errors, (near - returns).square())
    return aggregate_tokens(errors / 2, mask, per_sequence=per_sequence)


def kl_estimates(logps: Tensor, ref_logps: Tensor, *, estimator: Literal["k1", "k2", "k3"]) -> Tensor:
    """Estimates of KL(policy || ref) from tokens that the policy sampled: (B, T) twice -> (B, T), nats.

    k1 = d is unbiased and may be negative, k2 = d^2 / 2 is biased with low variance, k3 = e^-d - 1 + d is both unbiased
    and never negative; d = logps - ref_logps. As a loss term, only k2 has the gradient of the KL on average: that of k1
    is 0 on average, that of k3 belongs to the other direction. Below d = -20 k3 goes on as its tangent.
    `logps.aggregate_tokens` makes them a term per sequence.
    """
    check_shapes("(B, T)", logps=logps, ref_logps=ref_logps)
    check_floating(logps=logps, ref_logps=ref_logps)
    check_choice("estimator", estimator, ("k1", "k2", "k3"))
    d = full_precision(logps) - full_precision(ref_logps)
    if estimator == "k1":
        return d
    if estimator == "k2":
        return d.square() / 2
    return torch.expm1((-d).clamp(max=LOG_RATIO_BOUND)) + _tangent_beyond(-d) + d


def _tangent_beyond(x: Tensor) -> Tensor:
    """What the tangent of e^x at the bound adds to the clamped exponential: 0 up to the bound, where the clamp's own
    gradient is 1, and e^bound (x - bound) above it, where that is 0."""
    return math.exp(LOG_RATIO_BOUND) * torch.relu(x - LOG_RATIO_BOUND)
