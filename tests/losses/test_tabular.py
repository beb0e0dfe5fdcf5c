"""Exact problems with a handful of responses: the derivations behind f-SFT and DPO, checked without a model.

pi0 is the base model, p_E the demonstrations, both over 6 responses to one prompt, in fp64.
"""

import pytest
import torch

from lightning_modules.losses.divergences import DIVERGENCES, MAX_WEIGHT
from lightning_modules.losses.dpo import dpo_loss
from lightning_modules.losses.f_dpo import f_dpo_loss
from lightning_modules.losses.f_sft import f_sft_loss, shared_value

RESPONSES, BETA = 6, 0.5
CURVED = sorted(name for name in DIVERGENCES if not name.startswith("total_variation"))
INVERTIBLE = sorted(name for name, row in DIVERGENCES.items() if row.invertible)


def minimum(objective, start):
    """Value and place of the minimum, by full-batch quasi-Newton steps to machine accuracy."""
    point = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [point], max_iter=300, tolerance_grad=1e-10, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        value = objective(point)
        value.backward()
        return value

    optimizer.step(closure)
    return objective(point).item(), point.detach()


def random_problem(seed):
    generator = torch.Generator().manual_seed(seed)
    base = (0.7 * torch.randn(RESPONSES, generator=generator, dtype=torch.float64)).log_softmax(0)
    expert = (0.7 * torch.randn(RESPONSES, generator=generator, dtype=torch.float64)).log_softmax(0)
    return base, expert


def primal(name, base, expert):
    """min over pi of D_f(pi || p_E) + beta KL(pi || pi0)."""

    def objective(logits):
        logps = logits.log_softmax(0)
        divergence = (expert.exp() * DIVERGENCES[name].f((logps - expert).exp())).sum()
        return divergence + BETA * (logps.exp() * (logps - base)).sum()

    value, logits = minimum(objective, base)
    return value, logits.log_softmax(0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CURVED)
def test_primal_equals_dual_and_both_find_the_same_policy(name, seed):
    """Dual: max over rewards of E_E[phi(r)] - V(r), with V = beta log E_pi0[e^(r/beta)], whose policy is
    pi0 e^(r/beta) / Z. At the optimum pi / p_E is the weight phi'(r)."""
    base, expert = random_problem(seed)
    row = DIVERGENCES[name]
    value, policy = primal(name, base, expert)
    start = torch.full((RESPONSES,), row.r0, dtype=torch.float64)
    negative, rewards = minimum(
        lambda r: BETA * torch.logsumexp(base + r / BETA, 0) - (expert.exp() * row.phi(r)).sum(), start
    )
    assert value == pytest.approx(-negative, abs=1e-6)
    torch.testing.assert_close((base + rewards / BETA).log_softmax(0), policy, rtol=0, atol=1e-5)
    assert row.phi_prime(rewards).max() < MAX_WEIGHT and row.domain[0] < rewards.min()
    torch.testing.assert_close((policy - expert).exp(), row.phi_prime(rewards), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CURVED)
def test_f_sft_with_a_shared_value_solves_the_primal_problem(name):
    """With each of 6 responses demonstrated once and V free, the least mean loss times -beta is the primal minimum, and
    the policy is the primal's. The fixed V of `value=None` falls short of it, as its docstring says."""
    base, _ = random_problem(0)
    expert = torch.full_like(base, 1 / RESPONSES).log()
    value, policy = primal(name, base, expert)

    def loss(logits, free):
        log_ratio = logits.log_softmax(0) - base
        shared = shared_value(log_ratio, divergence=name, beta=BETA) if free else None
        return f_sft_loss(log_ratio, divergence=name, beta=BETA, value=shared).mean()

    free, logits = minimum(lambda point: loss(point, True), base)
    assert -BETA * free == pytest.approx(value, abs=1e-6)
    torch.testing.assert_close(logits.log_softmax(0), policy, rtol=0, atol=1e-4)
    fixed, _ = minimum(lambda point: loss(point, False), base)
    assert -BETA * fixed < value - 1e-5


def test_sft_ignores_the_reference_and_copies_the_demonstrations():
    base, expert = random_problem(1)

    def loss(logits):
        log_ratio = logits.log_softmax(0) - base
        return (expert.exp() * f_sft_loss(log_ratio, divergence="total_variation", beta=BETA)).sum()

    _, logits = minimum(loss, base)
    torch.testing.assert_close(logits.log_softmax(0), expert, rtol=0, atol=1e-6)


def preferences(logits, reward, base, loss):
    """Bradley-Terry population loss over all ordered pairs of responses."""
    logps = logits.log_softmax(0)
    winner, loser = torch.meshgrid(torch.arange(RESPONSES), torch.arange(RESPONSES), indexing="ij")
    winner, loser = winner[winner != loser], loser[winner != loser]
    weights = torch.sigmoid(reward[winner] - reward[loser])
    return (weights * loss(logps[winner], logps[loser], base[winner], base[loser])).sum()


def test_dpo_recovers_the_true_reward_up_to_a_constant_of_the_prompt():
    base, _ = random_problem(2)
    reward = torch.linspace(-1, 1, RESPONSES, dtype=torch.float64)
    _, logits = minimum(
        lambda point: preferences(point, reward, base, lambda *four: dpo_loss(*four, beta=BETA).losses), base
    )
    recovered = BETA * (logits.log_softmax(0) - base)
    torch.testing.assert_close(recovered - recovered.mean(), reward - reward.mean(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", INVERTIBLE)
def test_f_dpo_recovers_the_true_reward_as_beta_f_prime(name):
    base, _ = random_problem(2)
    reward = torch.linspace(-0.3, 0.3, RESPONSES, dtype=torch.float64)

    def loss(*four):
        return f_dpo_loss(*four, divergence=name, beta=BETA).losses

    _, logits = minimum(lambda point: preferences(point, reward, base, loss), base)
    recovered = BETA * DIVERGENCES[name].f_prime((logits.log_softmax(0) - base).exp())
    torch.testing.assert_close(recovered - recovered.mean(), reward - reward.mean(), rtol=0, atol=1e-5)
