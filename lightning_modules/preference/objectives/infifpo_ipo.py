"""InfiFPO: IPO against the fused reference."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_modules.losses.dpo import PreferenceLoss
from lightning_modules.losses.infifpo import infifpo_loss
from lightning_modules.preference.objective import Fusion, Objective, PairValues


@dataclass(frozen=True, kw_only=True)
class InfiFpoIpo(Objective):
    """InfiFPO in IPO's form."""

    def loss(self, values: PairValues, fusion: Fusion) -> PreferenceLoss:
        """IPO of the policy and the fused reference."""
        return infifpo_loss(*values, beta=self.beta, objective="ipo", **fusion.options)
