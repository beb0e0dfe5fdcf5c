import math

import pytest
import torch

from lightning_modules.losses.dpo import dpo_loss
from lightning_modules.losses.wrpo import infifpo_wrpo_loss, wrpo_loss


def tensors(*values):
    return [torch.tensor([value], dtype=torch.float64) for value in values]


# Log-ratios: source 2, pivot 1, rejected -1.
TRIPLE = tensors(-1.0, -2.0, -4.0, -3.0, -3.0, -3.0)


def test_wrpo_worked_example():
    """alpha 0.25, beta 0.4: 0.4 * (0.25 * 2 + 0.75 * 1 + 1) = 0.4 * 2.25 = 0.9; the chosen reward is 0.4 * 1.25."""
    result = wrpo_loss(*TRIPLE, beta=0.4, alpha=0.25)
    assert result.losses.item() == pytest.approx(math.log1p(math.exp(-0.9)))
    assert result.chosen_rewards.item() == pytest.approx(0.5)
    assert result.rejected_rewards.item() == pytest.approx(-0.4)


def test_wrpo_at_the_ends_of_alpha_is_dpo_with_one_of_the_two_responses():
    source, pivot, rejected, ref_source, ref_pivot, ref_rejected = TRIPLE
    with_pivot = dpo_loss(pivot, rejected, ref_pivot, ref_rejected, beta=0.4).losses
    with_source = dpo_loss(source, rejected, ref_source, ref_rejected, beta=0.4).losses
    assert torch.equal(wrpo_loss(*TRIPLE, beta=0.4, alpha=0.0).losses, with_pivot)
    assert torch.equal(wrpo_loss(*TRIPLE, beta=0.4, alpha=1.0).losses, with_source)


def test_wrpo_gradient_raises_both_good_responses_and_lowers_the_rejected():
    policy = [value.clone().requires_grad_() for value in TRIPLE[:3]]
    wrpo_loss(*policy, *TRIPLE[3:], beta=0.4, alpha=0.25).losses.sum().backward()
    source, pivot, rejected = (value.grad.item() for value in policy if value.grad is not None)
    assert source < 0 and pivot < 0 and rejected > 0
    assert pivot / source == pytest.approx(3.0)


def test_infifpo_wrpo_with_the_pivot_as_only_source_is_wrpo():
    policy, init = TRIPLE[:3], TRIPLE[3:]
    scored = [value[:, None] for value in init]
    fused = infifpo_wrpo_loss(*policy, *init, *scored, beta=0.4, alpha=0.25)
    assert torch.equal(fused.losses, wrpo_loss(*TRIPLE, beta=0.4, alpha=0.25).losses)


def test_infifpo_wrpo_clips_both_good_responses_up_and_the_rejected_down():
    """All policy and initial values are -3. Sources score the source's response -1 and -5, the pivot's -2 and -4, the
    rejected -7 and -1: references -1, -2 and -7. Ratios -2, -1 and 4: logit 0.4 (0.25 * -2 - 0.75 - 4) = -2.1."""
    threes = tensors(*[-3.0] * 6)
    scored = [torch.tensor([row], dtype=torch.float64) for row in ([-1.0, -5.0], [-2.0, -4.0], [-7.0, -1.0])]
    result = infifpo_wrpo_loss(*threes, *scored, beta=0.4, alpha=0.25)
    assert result.losses.item() == pytest.approx(math.log1p(math.exp(2.1)))


def test_infifpo_wrpo_without_clipping_depends_on_the_space_of_distances():
    """All initial values -1. Scores -0.2 and -3: 0.8 and 2 away in logs (takes -3), 0.451 and 0.318 in probability
    (takes -0.2), on all three responses alike: references -3, or -0.2, and a policy at -1 has ratio 2 or -0.8 on all.
    Chosen and rejected ratios cancel, so the chosen reward tells: 0.4 * 2 or 0.4 * -0.8."""
    ones = tensors(*[-1.0] * 6)
    scored = [torch.tensor([[-0.2, -3.0]], dtype=torch.float64)] * 3
    rewards = {
        space: infifpo_wrpo_loss(*ones, *scored, beta=0.4, alpha=0.25, clip=False, distance=space).chosen_rewards
        for space in ("log", "probability")
    }
    assert rewards["log"].item() == pytest.approx(0.8) and rewards["probability"].item() == pytest.approx(-0.32)


def test_entry_checks():
    with pytest.raises(ValueError, match=r"alpha is 1\.5"):
        wrpo_loss(*TRIPLE, beta=0.4, alpha=1.5)
    with pytest.raises(ValueError, match="beta is -1"):
        wrpo_loss(*TRIPLE, beta=-1.0, alpha=0.5)
