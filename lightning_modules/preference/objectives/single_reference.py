"""A control: DPO against one source alone."""

from __future__ import annotations

from lightning_modules.losses.dpo import PreferenceLoss
from lightning_modules.losses.reference_controls import single_reference_loss
from lightning_modules.preference.objective import Objective, Options, PairValues


def loss(values: PairValues, options: Options) -> PreferenceLoss:
    """DPO against the source that the method names."""
    return single_reference_loss(
        values.policy_chosen,
        values.policy_rejected,
        values.source_chosen,
        values.source_rejected,
        source=options.source,
        beta=options.beta,
    )


OBJECTIVE = Objective(loss, beta=2.5, sources=True, single=True)
