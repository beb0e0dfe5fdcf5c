"""The objectives of the preference family by name: which loss takes which of a pair's scores, in which unit.

Mathematics is in ``losses``; here is only what each of them is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_modules.losses.dpo import PreferenceLoss, dpo_loss, ipo_loss
from lightning_modules.losses.infifpo import FusedReference, fuse_reference_logps, infifpo_loss
from lightning_modules.losses.mrpo import harmonic_reference_logps
from lightning_modules.losses.reference_controls import constant_margin_loss, single_reference_loss
from lightning_modules.losses.simpo import simpo_loss
from lightning_modules.losses.wrpo import infifpo_wrpo_loss, wrpo_loss


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
    """

    loss: Callable[[PairValues, Options], PreferenceLoss]
    beta: float
    summed: bool = False
    sources: bool = False
    blended: bool = False
    margin: bool = False


def _dpo(values: PairValues, options: Options) -> PreferenceLoss:
    return dpo_loss(*values[:4], beta=options.beta)


def _ipo(values: PairValues, options: Options) -> PreferenceLoss:
    return ipo_loss(*values[:4], beta=options.beta)


def _simpo(values: PairValues, options: Options) -> PreferenceLoss:
    return simpo_loss(values.policy_chosen, values.policy_rejected, beta=options.beta, gamma=options.gamma)


def _multi_reference(values: PairValues, options: Options) -> PreferenceLoss:
    chosen, rejected = (
        harmonic_reference_logps(torch.cat([init[:, None].to(sources.dtype), sources], dim=1))
        for init, sources in (
            (values.init_chosen, values.source_chosen),
            (values.init_rejected, values.source_rejected),
        )
    )
    return dpo_loss(values.policy_chosen, values.policy_rejected, chosen, rejected, beta=options.beta)


def _infifpo(values: PairValues, options: Options) -> PreferenceLoss:
    return infifpo_loss(*values, beta=options.beta, **options.fusion)


def _infifpo_ipo(values: PairValues, options: Options) -> PreferenceLoss:
    return infifpo_loss(*values, beta=options.beta, objective="ipo", **options.fusion)


def _single_reference(values: PairValues, options: Options) -> PreferenceLoss:
    return single_reference_loss(
        values.policy_chosen,
        values.policy_rejected,
        values.source_chosen,
        values.source_rejected,
        source=options.source,
        beta=options.beta,
    )


def _constant_margin(values: PairValues, options: Options) -> PreferenceLoss:
    return constant_margin_loss(*values[:4], margin=options.margin, beta=options.beta)


def _halves(chosen: Tensor, rejected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """2B chosen and rejected values -> by the sources, by the pivot, rejected; B rows each."""
    by_source, by_pivot = chosen.chunk(2)
    return by_source, by_pivot, rejected.chunk(2)[0]


def _wrpo(values: PairValues, options: Options) -> PreferenceLoss:
    policy = _halves(values.policy_chosen, values.policy_rejected)
    reference = _halves(values.init_chosen, values.init_rejected)
    return wrpo_loss(*policy, *reference, beta=options.beta, alpha=options.alpha)


def _infifpo_wrpo(values: PairValues, options: Options) -> PreferenceLoss:
    policy = _halves(values.policy_chosen, values.policy_rejected)
    init = _halves(values.init_chosen, values.init_rejected)
    sources = _halves(values.source_chosen, values.source_rejected)
    fusion = {key: options.fusion[key] for key in ("strategy", "clip", "distance")}
    return infifpo_wrpo_loss(*policy, *init, *sources, beta=options.beta, alpha=options.alpha, **fusion)


OBJECTIVES: dict[str, Objective] = {
    "dpo": Objective(_dpo, 0.1, summed=True),
    "ln_dpo": Objective(_dpo, 2.5),
    "ipo": Objective(_ipo, 0.1),
    "simpo": Objective(_simpo, 2.0),
    "wrpo": Objective(_wrpo, 0.1, summed=True, blended=True),
    "multi_reference": Objective(_multi_reference, 2.5, sources=True),
    "infifpo": Objective(_infifpo, 2.5, sources=True),
    "infifpo_ipo": Objective(_infifpo_ipo, 0.1, sources=True),
    "infifpo_wrpo": Objective(_infifpo_wrpo, 2.5, sources=True, blended=True),
    "single_reference": Objective(_single_reference, 2.5, sources=True),
    "constant_margin": Objective(_constant_margin, 2.5, sources=True, margin=True),
}
"""Objectives by name. Betas: 2.5 for means, 0.1 for sums as in the paper; SimPO has its own; IPO's is unknown."""


def fused(values: PairValues, fusion: dict[str, Any]) -> FusedReference:
    """The fused reference of max-margin or another strategy from the initial pivot, for reports."""
    chosen = {key: value for key, value in fusion.items() if key != "anchor"}
    return fuse_reference_logps(*values[2:], **chosen)
