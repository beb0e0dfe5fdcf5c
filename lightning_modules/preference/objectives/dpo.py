"""DPO on sums of log-probabilities."""

from __future__ import annotations

from lightning_modules.losses.dpo import PreferenceLoss, dpo_loss
from lightning_modules.preference.objective import Objective, Options, PairValues


def loss(values: PairValues, options: Options) -> PreferenceLoss:
    """DPO against the initial pivot."""
    return dpo_loss(*values[:4], beta=options.beta)


OBJECTIVE = Objective(loss, beta=0.1, summed=True)
