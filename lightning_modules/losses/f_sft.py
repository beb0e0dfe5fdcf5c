"""SFT under an f-divergence: the dual objective E_E[phi(u + V)] - E[V] of arXiv 2507.00018, as reconstructed.

Shapes: B demonstrations, P prompts with M demonstrations each, T tokens. u = beta * log(pi / pi0), where pi0 is the
base model; V is a value of the prompt. Everything depends on V: if it is free and each prompt has one demonstration,
all divergences are SFT. The paper's choice is unknown; the three offered here are

- fixed (`value=None`): the constant r0 of the divergence, so that every row starts as SFT. Not the exact optimum of the
  primal problem, which needs the V that normalises the optimal policy.
- batch or learned: `shared_value` finds the V that is best for a batch or a prompt, `running_value` averages it over
  steps; a learned V is any tensor with a gradient.
- logit gauge: `logit_gauge_values`, per token; its sum over a response is the V of the sequence.

The unit of the log-ratio matters: 0.05 nat a token over 200 tokens is u = 1 at beta = 0.1 per sequence, but 0.005
per token. `f_sft_text_loss` offers both.
"""

from typing import Literal

import torch
from torch import Tensor

from lightning_modules.losses.checks import (
    check_choice,
    check_floating,
    check_mask,
    check_number,
    check_shapes,
    full_precision,
)
from lightning_modules.losses.divergences import DIVERGENCES
from lightning_modules.losses.logps import PerSequence, aggregate_tokens, sequence_logps


def f_sft_loss(log_ratio: Tensor, *, divergence: str, beta: float, value: float | Tensor | None = None) -> Tensor:
    """Loss of demonstrations: (V - phi(u + V)) / beta with u = beta * log_ratio.

    Args:
        log_ratio: (B,), log pi(y|x) - log pi0(y|x) in nats; or (B, T-1), of tokens, each with its own loss.
        divergence: a key of `DIVERGENCES`.
        beta: weight of KL(pi || pi0) in the primal problem, above 0. Too small a beta is plain SFT. Losses are divided
            by it, so that the gradient at u + V = r0 is that of SFT and learning rates compare.
        value: V, a number or a tensor that broadcasts to `log_ratio`; gradients reach it. For tokens it is
            V(state) - V(next state). None is r0.

    Returns:
        The shape of `log_ratio`, nats. With value=None it is 0 at log_ratio = 0, and -log_ratio for `total_variation`.
    """
    check_choice("divergence", divergence, DIVERGENCES)
    check_number("beta", beta, above=0.0)
    check_floating(log_ratio=log_ratio)
    if log_ratio.dim() not in (1, 2):
        raise ValueError(f"log_ratio has shape {tuple(log_ratio.shape)}, wanted (B,) or (B, T-1): reshape it")
    if isinstance(value, Tensor) and not _broadcasts(value.shape, log_ratio.shape):
        raise ValueError(
            f"value has shape {tuple(value.shape)}, wanted one that broadcasts to {tuple(log_ratio.shape)} of log_ratio"
        )
    row = DIVERGENCES[divergence]
    v = row.r0 if value is None else value
    u = beta * full_precision(log_ratio)
    return (v - row.phi(u + v)) / beta  # reconstruction, (*)


def f_sft_text_loss(
    token_log_ratios: Tensor,
    mask: Tensor,
    *,
    divergence: str,
    beta: float,
    unit: Literal["sequence", "token"] = "sequence",
    value: float | Tensor | None = None,
    per_sequence: PerSequence = "mean",
) -> Tensor:
    """`f_sft_loss` of texts, whose reward is either one of the whole response or one of every token.

    Args:
        token_log_ratios: (B, T-1), log pi - log pi0 of the demonstrated tokens, nats.
        mask: (B, T-1), booleans or 0/1 integers: the tokens of the response.
        divergence, beta: as in `f_sft_loss`.
        unit: "sequence" sums the log-ratios first, so that beta acts on whole responses (and long ones move the weight
            further); "token" gives every token its own weight.
        value: as in `f_sft_loss`, of the unit's shape: (B,) or (B, T-1).
        per_sequence: as in `sft.sft_loss`; with "mean" a sequence's loss is divided by its tokens in both units, so
            that all rows start with the gradient of `sft_loss`.

    Returns:
        (B,); 0 for a sequence without scored tokens when value is None.
    """
    check_choice("unit", unit, ("sequence", "token"))
    check_shapes("(B, T-1)", token_log_ratios=token_log_ratios, mask=mask)
    kept = check_mask(mask)
    if unit == "token":
        # Masked before the divergence: the gradient of a NaN in the padding would be NaN as well.
        ratios = full_precision(token_log_ratios).masked_fill(~kept, 0.0)
        losses = f_sft_loss(ratios, divergence=divergence, beta=beta, value=value)
        return aggregate_tokens(losses, kept, per_sequence=per_sequence)
    check_choice("per_sequence", per_sequence, ("mean", "sum"))
    sums, lengths = sequence_logps(token_log_ratios, kept)
    losses = f_sft_loss(sums, divergence=divergence, beta=beta, value=value)
    return losses / lengths.clamp(min=1) if per_sequence == "mean" else losses


@torch.no_grad()
def shared_value(
    log_ratio: Tensor, *, divergence: str, beta: float, weights: Tensor | None = None, steps: int = 60
) -> Tensor:
    """The V, shared along the last axis, that maximises mean(phi(u + V)) - V: where the mean weight is 1.

    Args:
        log_ratio: (B,) for one value per batch, or (P, M) for one per prompt; nats.
        divergence: a key of `DIVERGENCES`.
        beta: as in `f_sft_loss`.
        weights: shape of `log_ratio`, adding up to 1 along the last axis: probabilities in place of a plain mean.
        steps: halvings of the bracket, whose first width is the spread of u.

    Returns:
        (1,) or (P, 1), without a graph: by the envelope theorem the loss needs none. For `total_variation`, whose V
        cancels, and wherever several V are best, one of them; `total_variation_bounded` has a best V only while u
        spreads by less than 1.
    """
    check_choice("divergence", divergence, DIVERGENCES)
    check_number("beta", beta, above=0.0)
    check_floating(log_ratio=log_ratio)
    if weights is None:
        weights = torch.full_like(full_precision(log_ratio), 1 / log_ratio.shape[-1])
    elif weights.shape != log_ratio.shape:
        raise ValueError(f"weights has shape {tuple(weights.shape)}, wanted {tuple(log_ratio.shape)} of log_ratio")
    row = DIVERGENCES[divergence]
    u = beta * full_precision(log_ratio)
    # All rewards lie below r0 at one end, where no weight is under 1, and above it at the other.
    low, high = row.r0 - u.amax(-1, keepdim=True), row.r0 - u.amin(-1, keepdim=True)
    for _ in range(steps):
        middle = (low + high) / 2
        rising = (weights * row.phi_prime(u + middle)).sum(-1, keepdim=True) > 1
        low, high = torch.where(rising, middle, low), torch.where(rising, high, middle)
    return (low + high) / 2


def running_value(previous: Tensor | None, current: Tensor, *, decay: float) -> Tensor:
    """Exponential average over steps of a batch's `shared_value`: decay * previous + (1 - decay) * current.

    Args:
        previous: the average so far; None at the first step, whose average is `current` itself.
        current: the newest value, the same shape.
        decay: in [0, 1); 0 follows every batch, nearer to 1 is smoother and later.
    """
    check_number("decay", decay, at_least=0.0)
    if not decay < 1.0:
        raise ValueError(f"decay is {decay}, wanted a number below 1: at 1 the value would never move")
    if previous is None:
        return current.detach()
    if previous.shape != current.shape:
        raise ValueError(f"previous has shape {tuple(previous.shape)}, wanted {tuple(current.shape)} of current")
    return (decay * previous + (1 - decay) * current).detach()


def logit_gauge_values(policy_logits: Tensor, ref_logits: Tensor, mask: Tensor, *, beta: float) -> Tensor:
    """V(state) - V(next state) per token, with V = beta * (logsumexp of the policy's logits less the reference's).

    Args:
        policy_logits, ref_logits: (B, T, V), nats up to a constant per position, which this choice does not ignore: it
            trains the level of the logits as well.
        mask: (B, T-1), the tokens of the response, whose last one leads to the end, where V = 0.
        beta: as in `f_sft_loss`.

    Returns:
        (B, T-1), 0 outside the mask: the `value` of `f_sft_loss` on token log-ratios. It sums to V at the first token
        of a response without gaps.
    """
    check_shapes("(B, T, V)", policy_logits=policy_logits, ref_logits=ref_logits)
    check_shapes("(B, T-1)", mask=mask)
    check_number("beta", beta, above=0.0)
    if mask.shape != (policy_logits.shape[0], policy_logits.shape[1] - 1):
        raise ValueError(f"mask has shape {tuple(mask.shape)}, wanted (B, T-1) for logits {tuple(policy_logits.shape)}")
    policy = torch.logsumexp(full_precision(policy_logits[:, :-1]), -1)
    ref = torch.logsumexp(full_precision(ref_logits[:, :-1]), -1)
    values = (beta * (policy - ref)).masked_fill(~check_mask(mask), 0.0)
    following = torch.nn.functional.pad(values[:, 1:], (0, 1))
    return (values - following).masked_fill(~check_mask(mask), 0.0)


def _broadcasts(shape: torch.Size, target: torch.Size) -> bool:
    aligned = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(size in (1, wanted) for size, wanted in aligned)
