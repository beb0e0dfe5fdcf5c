"""IPO."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_modules.losses.dpo import PreferenceLoss, ipo_loss
from lightning_modules.preference.objective import Fusion, Objective, PairValues


@dataclass(frozen=True, kw_only=True)
class Ipo(Objective):
    """IPO against the initial pivot."""

    def loss(self, values: PairValues, fusion: Fusion) -> PreferenceLoss:
        """IPO of policy and initial pivot."""
        return ipo_loss(*values[:4], beta=self.beta)
