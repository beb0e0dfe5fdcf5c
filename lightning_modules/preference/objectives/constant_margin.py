"""A control: DPO with the mean fusion margin in place of every pair's own."""

from __future__ import annotations

from lightning_modules.losses.dpo import PreferenceLoss
from lightning_modules.losses.reference_controls import constant_margin_loss
from lightning_modules.preference.objective import Objective, Options, PairValues


def loss(values: PairValues, options: Options) -> PreferenceLoss:
    """DPO with a constant margin."""
    return constant_margin_loss(*values[:4], margin=options.margin, beta=options.beta)


OBJECTIVE = Objective(loss, beta=2.5, sources=True, margin=True)
