import math

import pytest
import torch

from lightning_modules.losses.dpo import dpo_loss
from lightning_modules.losses.simpo import simpo_loss


def tensors(*values):
    return [torch.tensor([value], dtype=torch.float64) for value in values]


def test_worked_example():
    """Means -1 and -1.5, beta 2, gamma 0.4: logit 2 * 0.5 - 0.4 = 0.6, rewards -2 and -3."""
    result = simpo_loss(*tensors(-1.0, -1.5), beta=2.0, gamma=0.4)
    assert result.losses.item() == pytest.approx(math.log1p(math.exp(-0.6)))
    assert (result.chosen_rewards.item(), result.rejected_rewards.item()) == (-2.0, -3.0)


def test_it_is_dpo_against_constant_references_that_differ_by_the_margin():
    chosen, rejected = -3 * torch.rand(2, 100, dtype=torch.float64)
    zeros = torch.zeros_like(chosen)
    against = dpo_loss(chosen, rejected, zeros, zeros - 0.5, beta=2.0).losses
    torch.testing.assert_close(simpo_loss(chosen, rejected, beta=2.0, gamma=1.0).losses, against)


def test_gradient_raises_chosen_and_lowers_rejected():
    """Logit 0: sigmoid 1/2, times beta."""
    chosen, rejected = (value.requires_grad_() for value in tensors(-1.0, -1.5))
    simpo_loss(chosen, rejected, beta=2.0, gamma=1.0).losses.sum().backward()
    assert chosen.grad is not None and chosen.grad.item() == pytest.approx(-1.0)
    assert rejected.grad is not None and rejected.grad.item() == pytest.approx(1.0)


def test_entry_checks():
    with pytest.raises(ValueError, match=r"gamma is -0\.1"):
        simpo_loss(*tensors(-1.0, -1.5), beta=2.0, gamma=-0.1)
    with pytest.raises(ValueError, match="beta is 0"):
        simpo_loss(*tensors(-1.0, -1.5), beta=0.0, gamma=1.0)
    with pytest.raises(ValueError, match="policy_rejected_logps has shape"):
        simpo_loss(torch.zeros(2), torch.zeros(3), beta=2.0, gamma=1.0)
