"""SimPO: no reference at all."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_modules.losses.checks import check_number
from lightning_modules.losses.dpo import PreferenceLoss
from lightning_modules.losses.simpo import simpo_loss
from lightning_modules.preference.objective import Fusion, Objective, PairValues


@dataclass(frozen=True, kw_only=True)
class SimPo(Objective):
    """SimPO; ``gamma``: target margin of the rewards, at least 0."""

    gamma: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("objective.gamma", self.gamma, at_least=0.0)

    def loss(self, values: PairValues, fusion: Fusion) -> PreferenceLoss:
        """SimPO of the policy's own scores."""
        return simpo_loss(values.policy_chosen, values.policy_rejected, beta=self.beta, gamma=self.gamma)
