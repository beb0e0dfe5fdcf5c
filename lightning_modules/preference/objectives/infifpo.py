"""InfiFPO: DPO against the fused reference."""

from __future__ import annotations

from lightning_modules.losses.dpo import PreferenceLoss
from lightning_modules.losses.infifpo import infifpo_loss
from lightning_modules.preference.objective import Objective, Options, PairValues


def loss(values: PairValues, options: Options) -> PreferenceLoss:
    """InfiFPO in DPO's form."""
    return infifpo_loss(*values, beta=options.beta, **options.fusion)


OBJECTIVE = Objective(loss, beta=2.5, sources=True)
