"""InfiFPO: IPO against the fused reference."""

from __future__ import annotations

from lightning_modules.losses.dpo import PreferenceLoss
from lightning_modules.losses.infifpo import infifpo_loss
from lightning_modules.preference.objective import Objective, Options, PairValues


def loss(values: PairValues, options: Options) -> PreferenceLoss:
    """InfiFPO in IPO's form."""
    return infifpo_loss(*values, beta=options.beta, objective="ipo", **options.fusion)


OBJECTIVE = Objective(loss, beta=0.1, sources=True)
