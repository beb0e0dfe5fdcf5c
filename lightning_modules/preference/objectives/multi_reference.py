"""DPO against the harmonic mean of the initial pivot and all sources (MRPO as printed)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lightning_modules.losses.dpo import PreferenceLoss, dpo_loss
from lightning_modules.losses.mrpo import harmonic_reference_logps
from lightning_modules.preference.objective import Fusion, Objective, PairValues


@dataclass(frozen=True, kw_only=True)
class MultiReference(Objective):
    """DPO against the mean reference."""

    def loss(self, values: PairValues, fusion: Fusion) -> PreferenceLoss:
        """DPO of the policy and the mean reference."""
        chosen, rejected = (
            harmonic_reference_logps(torch.cat([init[:, None].to(sources.dtype), sources], dim=1))
            for init, sources in (
                (values.init_chosen, values.source_chosen),
                (values.init_rejected, values.source_rejected),
            )
        )
        return dpo_loss(values.policy_chosen, values.policy_rejected, chosen, rejected, beta=self.beta)
