"""Values from logits against an exact tree of 4 tokens and depth 6 (4,096 leaves), by backward recursion here."""

import math

import pytest
import torch

from lightning_modules.losses.logit_values import end_values, induced_rewards, state_values

TOKENS, DEPTH, BETA = 4, 6, 0.5


def tree(seed=0):
    """Paths (N, DEPTH + 1) whose first token is a start, base and optimal logits (N, DEPTH + 1, TOKENS) along them,
    true values (N, DEPTH + 1) and leaf rewards (N,). The logits at the leaves are arbitrary."""
    generator = torch.Generator().manual_seed(seed)
    base = [
        torch.randn(TOKENS**level, TOKENS, generator=generator, dtype=torch.float64).log_softmax(1)
        for level in range(DEPTH)
    ]
    rewards = torch.randn(TOKENS**DEPTH, generator=generator, dtype=torch.float64)
    values, logits = [rewards], []
    for level in reversed(range(DEPTH)):
        logits.insert(0, base[level] + values[0].view(-1, TOKENS) / BETA)
        values.insert(0, BETA * logits[0].logsumexp(1))
    numbers = torch.arange(TOKENS**DEPTH)
    states = [numbers // TOKENS ** (DEPTH - level) for level in range(DEPTH + 1)]
    tokens = torch.stack([torch.zeros_like(numbers), *(state % TOKENS for state in states[1:])], dim=1)
    end = torch.zeros(len(numbers), TOKENS, dtype=torch.float64).log_softmax(1)
    along = [
        torch.stack([*(table[level][states[level]] for level in range(DEPTH)), end], 1) for table in (logits, base)
    ]
    true = torch.stack([values[level][states[level]] for level in range(DEPTH + 1)], 1)
    return tokens, along[0], along[1], true, rewards


@pytest.fixture(scope="module")
def problem():
    return tree()


def whole(tokens):
    return torch.ones(tokens.shape[0], tokens.shape[1] - 1, dtype=torch.bool)


@pytest.mark.parametrize("gauged", [True, False])
def test_values_from_the_optimal_logits_are_those_of_the_recursion(problem, gauged):
    """z = log pi0 + Q / beta; the base is normalised, so that its gauge is 0 and both forms agree."""
    _, policy, base, true, _ = problem
    values = state_values(policy, base if gauged else None, beta=BETA)
    torch.testing.assert_close(values[:, :-1], true[:, :-1])


def test_induced_rewards_are_0_on_the_way_and_the_leafs_reward_at_the_end(problem):
    tokens, policy, base, _, rewards = problem
    induced = induced_rewards(policy, tokens, whole(tokens), base, beta=BETA)
    torch.testing.assert_close(induced[:, :-1], torch.zeros_like(induced[:, :-1]), rtol=0, atol=1e-9)
    torch.testing.assert_close(induced[:, -1], rewards)


def test_a_shift_of_a_states_logits_moves_its_value_and_no_probability(problem):
    """The gauge that likelihood does not see: values are off by beta times the shift, rewards by its changes."""
    tokens, policy, base, true, rewards = problem
    shift = torch.linspace(-3, 3, DEPTH + 1, dtype=torch.float64)
    shifted = policy + shift[:, None]
    torch.testing.assert_close(shifted.log_softmax(-1), policy.log_softmax(-1))
    values = state_values(shifted, base, beta=BETA)
    torch.testing.assert_close((values - true)[:, :-1], (BETA * shift[:-1]).expand(len(tokens), -1))
    induced = induced_rewards(shifted, tokens, whole(tokens), base, beta=BETA)
    torch.testing.assert_close(induced[:, :-1], (BETA * (shift[:-2] - shift[1:-1])).expand(len(tokens), -1))
    torch.testing.assert_close(induced[:, -1], rewards + BETA * shift[-2])


def test_a_common_shift_of_policy_and_reference_leaves_gauged_values_alone(problem):
    _, policy, base, _, _ = problem
    level = torch.linspace(-3, 3, DEPTH + 1, dtype=torch.float64)[:, None]
    values = state_values(policy + level, base + level, beta=BETA)
    torch.testing.assert_close(values, state_values(policy, base, beta=BETA))
    assert (state_values(policy + level, beta=BETA) - state_values(policy, beta=BETA)).abs().max() > 1


def test_any_logits_have_rewards_that_explain_them():
    """The tautology: rewards add up to V(first) + beta log-ratio - V(end) whatever the logits are."""
    torch.manual_seed(0)
    policy, base = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    tokens = torch.randint(0, 7, (3, 5))
    mask = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 1]]).bool()
    induced = induced_rewards(policy, tokens, mask, base, beta=0.3, end_value=0.7)
    picked = (policy.log_softmax(-1) - base.log_softmax(-1))[:, :-1].gather(-1, tokens[:, 1:, None]).squeeze(-1)
    values = state_values(policy, base, beta=0.3)
    first = values[torch.arange(3), torch.tensor([1, 0, 3])]
    torch.testing.assert_close(induced.sum(1), first + 0.3 * (picked * mask).sum(1) - 0.7)
    assert induced[~mask].abs().max() == 0


def test_end_values_are_those_after_the_last_token_of_the_response():
    values = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [1.0, 1.0, 1.0, 1.0]])
    mask = torch.tensor([[False, True, False], [True, True, True], [False, False, False]])
    found = end_values(values, mask)
    assert found[:2].tolist() == [3.0, 8.0] and math.isnan(found[2])


def test_the_terminal_condition_tells_a_broken_gauge_from_the_right_one(problem):
    """End states of the right gauge have one value; a shift that differs by leaf spreads them."""
    tokens, policy, base, _, rewards = problem
    right = end_values(state_values(policy, base, beta=BETA), whole(tokens))
    broken = policy.clone()
    broken[:, -1] += rewards[:, None]
    wrong = end_values(state_values(broken, base, beta=BETA), whole(tokens))
    assert right.std() < 1e-9 and wrong.std().item() == pytest.approx(BETA * rewards.std().item())


def test_entry_checks(problem):
    tokens, policy, base, _, _ = problem
    with pytest.raises(ValueError, match="beta is 0"):
        state_values(policy, beta=0)
    with pytest.raises(ValueError, match="ref_logits has shape"):
        state_values(policy, base[:1])
    with pytest.raises(ValueError, match="mask has shape"):
        induced_rewards(policy, tokens, whole(tokens)[:, :2], base)
    with pytest.raises(ValueError, match="mask has shape"):
        end_values(state_values(policy), whole(tokens)[:, :2])
