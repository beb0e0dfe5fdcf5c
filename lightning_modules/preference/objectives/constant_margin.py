"""A control: DPO with the mean fusion margin in place of every pair's own."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_modules.losses.dpo import PreferenceLoss
from lightning_modules.losses.reference_controls import constant_margin_loss
from lightning_modules.preference.objective import Fusion, Objective, PairValues


@dataclass(frozen=True, kw_only=True)
class ConstantMargin(Objective):
    """DPO with a constant margin."""

    def loss(self, values: PairValues, fusion: Fusion) -> PreferenceLoss:
        """DPO of policy and initial pivot, which have to come further apart by the mean margin."""
        return constant_margin_loss(*values[:4], margin=fusion.margin, beta=self.beta)
