"""WRPO: two pairs of every prompt, blended."""

from __future__ import annotations

from lightning_modules.losses.dpo import PreferenceLoss
from lightning_modules.losses.wrpo import wrpo_loss
from lightning_modules.preference.objective import Objective, Options, PairValues, halves


def loss(values: PairValues, options: Options) -> PreferenceLoss:
    """WRPO against the initial pivot."""
    policy = halves(values.policy_chosen, values.policy_rejected)
    reference = halves(values.init_chosen, values.init_rejected)
    return wrpo_loss(*policy, *reference, beta=options.beta, alpha=options.alpha)


OBJECTIVE = Objective(loss, beta=0.1, summed=True, blended=True)
