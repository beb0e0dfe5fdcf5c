"""InfiFPO on WRPO's two pairs of every prompt."""

from __future__ import annotations

from lightning_modules.losses.dpo import PreferenceLoss
from lightning_modules.losses.wrpo import infifpo_wrpo_loss
from lightning_modules.preference.objective import Objective, Options, PairValues, halves


def loss(values: PairValues, options: Options) -> PreferenceLoss:
    """WRPO against the fused reference."""
    policy = halves(values.policy_chosen, values.policy_rejected)
    init = halves(values.init_chosen, values.init_rejected)
    sources = halves(values.source_chosen, values.source_rejected)
    fusion = {key: options.fusion[key] for key in ("strategy", "clip", "distance")}
    return infifpo_wrpo_loss(*policy, *init, *sources, beta=options.beta, alpha=options.alpha, **fusion)


OBJECTIVE = Objective(loss, beta=2.5, sources=True, blended=True)
