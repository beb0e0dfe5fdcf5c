"""WRPO: two pairs of every prompt, blended."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_modules.losses.checks import check_number
from lightning_modules.losses.dpo import PreferenceLoss
from lightning_modules.losses.wrpo import wrpo_loss
from lightning_modules.preference.objective import Fusion, Objective, PairValues, halves


@dataclass(frozen=True, kw_only=True)
class Wrpo(Objective):
    """WRPO against the initial pivot; ``alpha``: share of the source's response, in [0, 1]."""

    alpha: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("objective.alpha", self.alpha, at_least=0.0, at_most=1.0)

    def loss(self, values: PairValues, fusion: Fusion) -> PreferenceLoss:
        """WRPO of policy and initial pivot."""
        policy = halves(values.policy_chosen, values.policy_rejected)
        reference = halves(values.init_chosen, values.init_rejected)
        return wrpo_loss(*policy, *reference, beta=self.beta, alpha=self.alpha)
