"""A control: DPO against one source alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_modules.losses.dpo import PreferenceLoss
from lightning_modules.losses.reference_controls import single_reference_loss
from lightning_modules.preference.objective import Fusion, Objective, PairValues


@dataclass(frozen=True, kw_only=True)
class SingleReference(Objective):
    """DPO against ``source``, one of the method's sources by its name."""

    source: str | None

    def check_sources(self, sources: Sequence[str]) -> None:
        """Also refuses a source that the method does not name."""
        super().check_sources(sources)
        if self.source not in sources:
            named = ", ".join(sources)
            raise ValueError(f"objective.source is {self.source!r}, which is not in method.sources: {named}")

    def loss(self, values: PairValues, fusion: Fusion) -> PreferenceLoss:
        """DPO of the policy and that source."""
        return single_reference_loss(
            values.policy_chosen,
            values.policy_rejected,
            values.source_chosen,
            values.source_rejected,
            source=fusion.sources.index(str(self.source)),
            beta=self.beta,
        )
