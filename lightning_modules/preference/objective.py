"""The objectives of the preference family by name: which loss takes which of a pair's scores, in which unit.

Mathematics is in ``losses``; what each loss is given is in a file of ``objectives`` that has an OBJECTIVE. To add one,
add a file: nothing else names them, and a run counts the one that its config names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from lightning_modules.losses.by_name import ByName
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


@dataclass(frozen=True)
class Options:
    """Numbers and choices of all objectives; each takes what it needs. See the losses for their meaning."""

    beta: float
    gamma: float
    alpha: float
    margin: float
    source: int
    fusion: dict[str, Any] = field(default_factory=dict)


class Objective(NamedTuple):
    """One objective.

    Attributes:
        loss: of values and options.
        beta: where the method gives none.
        summed: takes sums of log-probabilities, whatever the method's unit of length.
        sources: reads the sources' scores.
        blended: takes the two pairs of ``data.blend`` in place of one.
        margin: needs the mean of the fusion margin.
        single: reads the scores of one source, which the method names.
    """

    loss: Callable[[PairValues, Options], PreferenceLoss]
    beta: float
    summed: bool = False
    sources: bool = False
    blended: bool = False
    margin: bool = False
    single: bool = False


def halves(chosen: Tensor, rejected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """2B chosen and rejected values -> by the sources, by the pivot, rejected; B rows each."""
    by_source, by_pivot = chosen.chunk(2)
    return by_source, by_pivot, rejected.chunk(2)[0]


BY_NAME = "lightning_modules.preference.objectives"

OBJECTIVES: Mapping[str, Objective] = ByName(BY_NAME, "OBJECTIVE")
"""Objectives by name. Betas: 2.5 for means, 0.1 for sums as in the paper; SimPO has its own; IPO's is unknown."""


def fused(values: PairValues, fusion: dict[str, Any]) -> FusedReference:
    """The fused reference of max-margin or another strategy from the initial pivot, for reports."""
    chosen = {key: value for key, value in fusion.items() if key != "anchor"}
    return fuse_reference_logps(*values[2:], **chosen)
