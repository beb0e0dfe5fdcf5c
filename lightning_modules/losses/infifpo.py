"""InfiFPO (arXiv 2505.13878): preference optimisation against a reference fused from several source models.

Shapes: B pairs, N sources. Every log-probability is a mean per unit of length under the model's own tokenizer
(`logps.normalise`, Eq. 10), in nats: that is how models with different tokenizers meet. Order: normalise, clip, fuse.
`init` is the frozen initial pivot, the checkpoint at which preference optimisation starts. Clipping depends on which
response was chosen and means are not log-probabilities, so the optimality proof for Eq. 9 does not cover this loss.

With clipping, the initial anchor and `per_response` scope, max-margin fusion is exactly
max(init, sources) for chosen and min(init, sources) for rejected responses. The loss is then length-normalised DPO with
a target margin m >= 0 per pair (`fusion_margin`), and with the pivot as the only source it is length-normalised DPO.
The WRPO form of the objective is `wrpo.infifpo_wrpo_loss`.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lightning_modules.losses.checks import check_choice, check_floating, check_number, check_shapes, full_precision
from lightning_modules.losses.dpo import PreferenceLoss, dpo_loss, ipo_loss

Strategy = Literal["max_margin", "average", "confidence"]
Scope = Literal["per_response", "per_pair"]
Distance = Literal["probability", "log"]
Anchor = Literal["initial", "current"]


class FusedReference(NamedTuple):
    """The fused reference (B,), detached, and who won: a column of the sources, or -1 where no single source decides.

    That is so under `average` and `confidence`, and where clipping put the initial pivot in the winner's place.
    """

    chosen: Tensor
    rejected: Tensor
    chosen_winner: Tensor
    rejected_winner: Tensor


def fuse_reference_logps(
    init_chosen: Tensor,
    init_rejected: Tensor,
    source_chosen: Tensor,
    source_rejected: Tensor,
    *,
    strategy: Strategy = "max_margin",
    clip: bool = True,
    scope: Scope = "per_response",
    anchor_chosen: Tensor | None = None,
    anchor_rejected: Tensor | None = None,
    distance: Distance = "probability",
    epsilon: float = 1e-8,
) -> FusedReference:
    """Clip the sources against the initial pivot (Eq. 11) and fuse them into one reference (Eq. 12).

    Args:
        init_chosen, init_rejected: (B,), nats per unit, of the initial pivot.
        source_chosen, source_rejected: (B, N), nats per unit; N >= 1. A value that is not finite makes its row NaN on
            that side, so that a broken score is noticed: clipping alone would hide it on the chosen side.
        strategy: `max_margin` takes the source farthest from the anchor (the first one of a tie), `average` weights all
            alike, `confidence` by 1 / (-log-probability + epsilon). Whether the paper clips before the last two is
            unknown; `clip` decides.
        scope: `per_response` selects for each response alone (Figure 1); `per_pair` takes for both the one source with
            the largest margin, clipped chosen minus clipped rejected (App. E.2.2), whatever anchor and distance.
        anchor_chosen, anchor_rejected: (B,), what distances are measured from. None is the initial pivot, which the
            released row format supports; the current policy is the paper's prose, and makes the winner jump
            as it moves.
        distance: between `probability`, as in Eq. 12, or `log` probabilities. No difference while clipping against
            the initial anchor.
        epsilon: of the confidence weights; the paper's value is unknown.
    """
    check_shapes("(B,)", init_chosen=init_chosen, init_rejected=init_rejected)
    check_shapes("(B, N)", source_chosen=source_chosen, source_rejected=source_rejected)
    if source_chosen.shape[0] != init_chosen.shape[0] or source_chosen.shape[1] == 0:
        raise ValueError(
            f"source_chosen has shape {tuple(source_chosen.shape)}, wanted ({init_chosen.shape[0]}, N) with N >= 1 "
            "like init_chosen: pass the pivot itself if there is no other source"
        )
    check_floating(init_chosen=init_chosen, source_chosen=source_chosen, source_rejected=source_rejected)
    check_choice("strategy", strategy, ("max_margin", "average", "confidence"))
    check_choice("scope", scope, ("per_response", "per_pair"))
    check_choice("distance", distance, ("probability", "log"))
    check_number("epsilon", epsilon, above=0.0)
    if scope == "per_pair" and strategy != "max_margin":
        raise ValueError(f"scope is per_pair with strategy {strategy!r}: only max_margin selects; use per_response")

    chosen, chosen_kept = _clipped(source_chosen, init_chosen, clip, torch.maximum)  # Eq. 11, chosen
    rejected, rejected_kept = _clipped(source_rejected, init_rejected, clip, torch.minimum)  # Eq. 11, rejected
    if strategy == "max_margin":
        if scope == "per_pair":
            chosen_index = rejected_index = (chosen - rejected).argmax(1)  # App. E.2.2
        else:
            chosen_index = _farthest(chosen, init_chosen if anchor_chosen is None else anchor_chosen, distance)
            rejected_index = _farthest(
                rejected, init_rejected if anchor_rejected is None else anchor_rejected, distance
            )
        return FusedReference(
            _pick(chosen, chosen_index),
            _pick(rejected, rejected_index),
            torch.where(_pick(chosen_kept, chosen_index), chosen_index, -1),
            torch.where(_pick(rejected_kept, rejected_index), rejected_index, -1),
        )
    nobody = torch.full_like(init_chosen, -1, dtype=torch.long)
    return FusedReference(
        _blend(chosen, strategy, epsilon), _blend(rejected, strategy, epsilon), nobody, nobody.clone()
    )


def fusion_margin(fused: FusedReference, init_chosen: Tensor, init_rejected: Tensor) -> Tensor:
    """(B,) target margin m that fusion adds to length-normalised DPO: the margin of the fused less the initial one."""
    check_shapes("(B,)", chosen=fused.chosen, init_chosen=init_chosen, init_rejected=init_rejected)
    return (fused.chosen - fused.rejected) - (full_precision(init_chosen) - full_precision(init_rejected))


def winner_shares(winner: Tensor, *, sources: int) -> Tensor:
    """(B,) winners -> (N,) share of the rows that each source won. One that wins nearly all of them is suspect: on the
    rejected side the worst scorer wins, so a broken source (wrong template, other domain) sets every margin."""
    check_shapes("(B,)", winner=winner)
    columns = torch.arange(sources, device=winner.device)
    return (winner[:, None] == columns).double().mean(0)


def infifpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    init_chosen_logps: Tensor,
    init_rejected_logps: Tensor,
    source_chosen_logps: Tensor,
    source_rejected_logps: Tensor,
    *,
    beta: float,
    strategy: Strategy = "max_margin",
    clip: bool = True,
    scope: Scope = "per_response",
    anchor: Anchor = "initial",
    distance: Distance = "probability",
    objective: Literal["dpo", "ipo"] = "dpo",
) -> PreferenceLoss:
    """InfiFPO, Eq. 13, or with objective="ipo" its IPO form (App. C, Eq. 22: the ratios are not multiplied by beta).

    Args:
        policy_chosen_logps, policy_rejected_logps, init_chosen_logps, init_rejected_logps: (B,), nats per unit.
        source_chosen_logps, source_rejected_logps: (B, N), nats per unit, constants.
        beta: above 0; 2.5 in the paper for `dpo`, unknown there for `ipo`.
        strategy, clip, scope, distance: as in `fuse_reference_logps`.
        anchor: `initial` or `current`, the pivot from which max-margin measures; no gradient passes through it.
    """
    check_choice("anchor", anchor, ("initial", "current"))
    check_choice("objective", objective, ("dpo", "ipo"))
    fused = fuse_reference_logps(
        init_chosen_logps,
        init_rejected_logps,
        source_chosen_logps,
        source_rejected_logps,
        strategy=strategy,
        clip=clip,
        scope=scope,
        anchor_chosen=policy_chosen_logps if anchor == "current" else None,
        anchor_rejected=policy_rejected_logps if anchor == "current" else None,
        distance=distance,
    )
    loss = dpo_loss if objective == "dpo" else ipo_loss
    return loss(policy_chosen_logps, policy_rejected_logps, fused.chosen, fused.rejected, beta=beta)  # Eq. 13 / Eq. 22


def _clipped(
    sources: Tensor, init: Tensor, clip: bool, bound: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    # The values to fuse, and where they are a source's own rather than the pivot's.
    values = full_precision(sources).detach()
    values = values.masked_fill(~values.isfinite(), torch.nan)
    if not clip:
        return values, torch.ones_like(values, dtype=torch.bool)
    pivot = full_precision(init).detach()[:, None].to(values.dtype)
    clipped = bound(values, pivot)
    return clipped, clipped != pivot


def _farthest(values: Tensor, anchor: Tensor, distance: Distance) -> Tensor:
    reference = full_precision(anchor).detach()[:, None].to(values.dtype)
    gap = (values - reference).abs()
    if distance == "probability":
        # log |e^a - e^b|, in the order of |e^a - e^b| itself, which underflows for unnormalised sums.
        gap = torch.maximum(values, reference) + torch.log(-torch.expm1(-gap))
    return gap.argmax(1)  # Eq. 12


def _pick(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(1, index[:, None]).squeeze(1)


def _blend(values: Tensor, strategy: Strategy, epsilon: float) -> Tensor:
    weights = torch.ones_like(values) if strategy == "average" else 1 / (epsilon - values)
    return (weights * values).sum(1) / weights.sum(1)
