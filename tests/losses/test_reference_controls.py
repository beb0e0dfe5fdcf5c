import math

import pytest
import torch

from lightning_modules.losses.dpo import dpo_loss
from lightning_modules.losses.infifpo import fuse_reference_logps, fusion_margin, infifpo_loss
from lightning_modules.losses.reference_controls import constant_margin_loss, single_reference_loss


def case(count=200, sources=3):
    generator = torch.Generator().manual_seed(0)
    draws = [-4 * torch.rand(count, generator=generator, dtype=torch.float64) for _ in range(4)]
    tables = [-4 * torch.rand(count, sources, generator=generator, dtype=torch.float64) for _ in range(2)]
    return draws[:2], draws[2:], tables


@pytest.mark.parametrize("source", [0, 1, 2])
def test_a_single_source_is_dpo_against_its_column(source):
    policy, _, tables = case()
    plain = dpo_loss(*policy, *(table[:, source] for table in tables), beta=2.5)
    control = single_reference_loss(*policy, *tables, source=source, beta=2.5)
    assert all(torch.equal(left, right) for left, right in zip(control, plain, strict=True))


def test_a_single_source_is_infifpo_with_that_source_alone_and_no_clipping():
    policy, init, tables = case()
    alone = [table[:, 1:2] for table in tables]
    fused = infifpo_loss(*policy, *init, *alone, beta=2.5, clip=False)
    assert torch.equal(single_reference_loss(*policy, *tables, source=1, beta=2.5).losses, fused.losses)


def test_a_constant_margin_shifts_the_logit():
    """Policy at the initial pivot, margin 0.4, beta 2.5: -log sigmoid(-1) = softplus(1)."""
    logps = [torch.tensor([-1.0]), torch.tensor([-2.0])]
    loss = constant_margin_loss(*logps, *logps, margin=0.4, beta=2.5).losses
    assert loss.item() == pytest.approx(math.log1p(math.e))


def test_a_constant_margin_is_infifpo_where_every_pair_has_that_margin():
    policy, init, _ = case()
    sources = [init[0][:, None] + 0.3, init[1][:, None] - 0.2]
    fused = fuse_reference_logps(*init, *sources)
    margin = fusion_margin(fused, *init)
    torch.testing.assert_close(margin, torch.full_like(margin, 0.5))
    control = constant_margin_loss(*policy, *init, margin=0.5, beta=2.5)
    torch.testing.assert_close(control.losses, infifpo_loss(*policy, *init, *sources, beta=2.5).losses)


def test_entry_checks():
    policy, init, tables = case()
    with pytest.raises(ValueError, match="source is 3, wanted a column of the 3 sources"):
        single_reference_loss(*policy, *tables, source=3, beta=2.5)
    with pytest.raises(ValueError, match="source is -1"):
        single_reference_loss(*policy, *tables, source=-1, beta=2.5)
    with pytest.raises(ValueError, match="margin is -1"):
        constant_margin_loss(*policy, *init, margin=-1.0, beta=2.5)
