"""IPO."""

from __future__ import annotations

from lightning_modules.losses.dpo import PreferenceLoss, ipo_loss
from lightning_modules.preference.objective import Objective, Options, PairValues


def loss(values: PairValues, options: Options) -> PreferenceLoss:
    """IPO against the initial pivot."""
    return ipo_loss(*values[:4], beta=options.beta)


OBJECTIVE = Objective(loss, beta=0.1)
