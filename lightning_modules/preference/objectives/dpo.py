"""DPO: of sums as in the paper, of means (length-normalised) where the config says so."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_modules.losses.checks import check_number
from lightning_modules.losses.dpo import PreferenceLoss, dpo_loss
from lightning_modules.preference.objective import Fusion, Objective, PairValues


@dataclass(frozen=True, kw_only=True)
class Dpo(Objective):
    """DPO against the initial pivot; ``label_smoothing``: assumed share of flipped preferences, in [0, 0.5]."""

    label_smoothing: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("objective.label_smoothing", self.label_smoothing, at_least=0.0, at_most=0.5)

    def loss(self, values: PairValues, fusion: Fusion) -> PreferenceLoss:
        """DPO of policy and initial pivot."""
        return dpo_loss(*values[:4], beta=self.beta, label_smoothing=self.label_smoothing)
