"""What an objective of the preference family is: which loss takes which of a pair's scores.

Mathematics is in ``losses``. What each loss is given is a class in a file of ``objectives``; its numbers and what it
reads stand in ``conf/objective/<name>.yaml`` and nowhere else, for the plan and for the training alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from lightning_modules.losses.checks import check_number
from lightning_modules.losses.dpo import PreferenceLoss
from lightning_modules.losses.infifpo import FusedReference, fuse_reference_logps


class PairValues(NamedTuple):
    """Log-probabilities of B pairs in the objective's unit, nats: (B,) under policy and initial pivot, (B, N) sources.

    For a blended objective 2B pairs: the B best responses by sources first, then those by the pivot.
    """

    policy_chosen: Tensor
    policy_rejected: Tensor
    init_chosen: Tensor
    init_rejected: Tensor
    source_chosen: Tensor
    source_rejected: Tensor


class Fusion(NamedTuple):
    """What a method says of its sources.

    Attributes:
        options: strategy, clip, scope, anchor and distance, see ``losses.infifpo``.
        sources: their names, by column of the values.
        margin: mean of the fusion margin over the training pairs, nats per unit of length, at least 0.
    """

    options: dict[str, Any]
    sources: tuple[str, ...] = ()
    margin: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """One objective; numbers of its own are fields of its class. No field that says what it reads has a default.

    Args:
        beta: above 0.
        summed: takes sums of log-probabilities, whatever the method's unit of length.
        reads_sources: reads the sources' scores.
        blended: takes the two pairs of ``data.blend`` in place of one.
    """

    beta: float
    summed: bool
    reads_sources: bool
    blended: bool

    def __post_init__(self) -> None:
        check_number("objective.beta", self.beta, above=0.0)

    @abstractmethod
    def loss(self, values: PairValues, fusion: Fusion) -> PreferenceLoss:
        """Losses and rewards (B,) of B pairs."""

    def check_sources(self, sources: Sequence[str]) -> None:
        """``ValueError`` where the sources that a method names do not do."""
        if self.reads_sources and not sources:
            raise ValueError(f"the objective {type(self).__name__} reads sources: name at least one in method.sources")


def halves(chosen: Tensor, rejected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """2B chosen and rejected values -> by the sources, by the pivot, rejected; B rows each."""
    by_source, by_pivot = chosen.chunk(2)
    return by_source, by_pivot, rejected.chunk(2)[0]


def fused(values: PairValues, options: dict[str, Any]) -> FusedReference:
    """The fused reference of max-margin or another strategy from the initial pivot, for reports."""
    chosen = {key: value for key, value in options.items() if key != "anchor"}
    return fuse_reference_logps(*values[2:], **chosen)
