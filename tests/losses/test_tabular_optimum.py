import pytest
import torch

from lightning_modules.losses.divergences import DIVERGENCES
from lightning_modules.losses.tabular_optimum import tabular_optimum

INVERTIBLE = sorted(name for name, row in DIVERGENCES.items() if row.invertible)


def problem(seed=0, prompts=4, responses=7):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(prompts, responses, generator=generator, dtype=torch.float64).log_softmax(1) for _ in range(2)]


def primal(logps, base, expert, name, beta):
    divergence = (expert.exp() * DIVERGENCES[name].f((logps - expert).exp())).sum(1)
    return divergence + beta * (logps.exp() * (logps - base)).sum(1)


def test_kl_to_the_expert_has_the_geometric_mean_as_its_optimum():
    """min KL(pi||p) + beta KL(pi||pi0): log pi = (log p + beta log pi0) / (1 + beta) + constant."""
    base, expert = problem()
    optimum = tabular_optimum(base, expert, divergence="kl_policy_expert", beta=0.5)
    torch.testing.assert_close(optimum, ((expert + 0.5 * base) / 1.5).log_softmax(1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", INVERTIBLE)
def test_no_nearby_policy_is_better(name):
    base, expert = problem(1)
    optimum = tabular_optimum(base, expert, divergence=name, beta=0.5)
    torch.testing.assert_close(optimum.logsumexp(1), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-12)
    least = primal(optimum, base, expert, name, 0.5)
    generator = torch.Generator().manual_seed(2)
    for _ in range(20):
        other = optimum + 0.02 * torch.randn(optimum.shape, generator=generator, dtype=torch.float64)
        assert (primal(other.log_softmax(1), base, expert, name, 0.5) > least).all()


@pytest.mark.parametrize("name", INVERTIBLE)
def test_beta_moves_the_optimum_from_the_expert_to_the_base(name):
    base, expert = problem(3)
    near_expert = tabular_optimum(base, expert, divergence=name, beta=1e-6)
    near_base = tabular_optimum(base, expert, divergence=name, beta=1e9)
    torch.testing.assert_close(near_expert, expert, rtol=0, atol=1e-4)
    torch.testing.assert_close(near_base, base, rtol=0, atol=1e-4)


def test_total_variation_is_the_expert_and_bad_arguments_are_refused():
    base, expert = problem()
    assert torch.equal(tabular_optimum(base, expert, divergence="total_variation", beta=0.5), expert)
    with pytest.raises(ValueError, match="beta is 0"):
        tabular_optimum(base, expert, divergence="neyman", beta=0)
    with pytest.raises(ValueError, match="expert_logps has shape"):
        tabular_optimum(base, expert[:, :3], divergence="neyman", beta=0.5)
