"""SimPO: no reference at all."""

from __future__ import annotations

from lightning_modules.losses.dpo import PreferenceLoss
from lightning_modules.losses.simpo import simpo_loss
from lightning_modules.preference.objective import Objective, Options, PairValues


def loss(values: PairValues, options: Options) -> PreferenceLoss:
    """SimPO of the policy's own scores."""
    return simpo_loss(values.policy_chosen, values.policy_rejected, beta=options.beta, gamma=options.gamma)


OBJECTIVE = Objective(loss, beta=2.0)
