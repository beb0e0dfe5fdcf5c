"""f-DPO: DPO with the reward of another divergence."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_modules.losses.checks import check_choice, check_number
from lightning_modules.losses.dpo import PreferenceLoss
from lightning_modules.losses.f_dpo import f_dpo_loss, offered
from lightning_modules.preference.objective import Fusion, Objective, PairValues


@dataclass(frozen=True, kw_only=True)
class FDpo(Objective):
    """f-DPO against the initial pivot; ``divergence`` and ``max_slope`` as in ``losses.f_dpo``."""

    divergence: str
    max_slope: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("objective.divergence", self.divergence, offered())
        check_number("objective.max_slope", self.max_slope, at_least=1.0)

    def loss(self, values: PairValues, fusion: Fusion) -> PreferenceLoss:
        """f-DPO of policy and initial pivot."""
        return f_dpo_loss(*values[:4], divergence=self.divergence, beta=self.beta, max_slope=self.max_slope)
