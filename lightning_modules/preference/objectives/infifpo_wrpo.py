"""InfiFPO on WRPO's two pairs of every prompt."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_modules.losses.checks import check_number
from lightning_modules.losses.dpo import PreferenceLoss
from lightning_modules.losses.wrpo import infifpo_wrpo_loss
from lightning_modules.preference.objective import Fusion, Objective, PairValues, halves


@dataclass(frozen=True, kw_only=True)
class InfiFpoWrpo(Objective):
    """WRPO against the fused reference; ``alpha``: share of the source's response, in [0, 1]."""

    alpha: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("objective.alpha", self.alpha, at_least=0.0, at_most=1.0)

    def loss(self, values: PairValues, fusion: Fusion) -> PreferenceLoss:
        """WRPO of the policy and the fused reference."""
        policy = halves(values.policy_chosen, values.policy_rejected)
        init = halves(values.init_chosen, values.init_rejected)
        sources = halves(values.source_chosen, values.source_rejected)
        options = {key: fusion.options[key] for key in ("strategy", "clip", "distance")}
        return infifpo_wrpo_loss(*policy, *init, *sources, beta=self.beta, alpha=self.alpha, **options)
