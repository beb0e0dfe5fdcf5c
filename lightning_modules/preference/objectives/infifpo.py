"""InfiFPO: DPO against the fused reference."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_modules.losses.dpo import PreferenceLoss
from lightning_modules.losses.infifpo import infifpo_loss
from lightning_modules.preference.objective import Fusion, Objective, PairValues


@dataclass(frozen=True, kw_only=True)
class InfiFpo(Objective):
    """InfiFPO in DPO's form."""

    def loss(self, values: PairValues, fusion: Fusion) -> PreferenceLoss:
        """DPO of the policy and the fused reference."""
        return infifpo_loss(*values, beta=self.beta, **fusion.options)
