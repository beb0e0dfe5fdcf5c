"""Log-probabilities of tokens and of sequences, in nats.

Shapes: B sequences, T positions, V vocabulary, H hidden width. The token at position t is predicted from position t-1,
so every per-token result has T-1 columns: column t-1 belongs to the token at position t. Half precision is raised to
fp32 before the log-softmax and the sums: a bias of 0.01 nat a token is 5 nats over 500 tokens.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lightning_modules.losses.checks import (
    check_choice,
    check_floating,
    check_mask,
    check_number,
    check_shapes,
    full_precision,
)

IGNORED = -100
"""Label of the tokens that are not scored (prompt, padding): their log-probability is 0 and has no gradient."""


PerSequence = Literal["mean", "sum"]


class SequenceLogps(NamedTuple):
    """Sums of token log-probabilities, (B,), and the numbers of tokens they run over, (B,)."""

    sums: Tensor
    lengths: Tensor


def response_mask(labels: Tensor) -> Tensor:
    """(B, T) labels -> (B, T-1) booleans: which columns of `token_logps` are scored."""
    check_shapes("(B, T)", labels=labels)
    return labels[:, 1:] != IGNORED


def token_logps(logits: Tensor, labels: Tensor, *, temperature: float = 1.0) -> Tensor:
    """log p(labels[t] | before t) of every token.

    Args:
        logits: (B, T, V), any floating dtype.
        labels: (B, T) token ids, not shifted; `IGNORED` where no score is wanted.
        temperature: of the sampling distribution that is scored; the logits are divided by it in fp32.

    Returns:
        (B, T-1), fp32 (fp64 for fp64 logits); 0 where the label is `IGNORED`.
    """
    _check_labels(logits, labels, "logits", "(B, T, V)")
    check_number("temperature", temperature, above=0.0)
    # The last position predicts nothing. Scoring it against IGNORED costs 1/T; slicing it off would copy all logits.
    targets = F.pad(labels[:, 1:], (0, 1), value=IGNORED)
    return _label_logps(logits.flatten(0, 1), targets.flatten(), temperature).view(labels.shape)[:, :-1]


def token_logps_from_hidden(
    hidden: Tensor,
    lm_head: Callable[[Tensor], Tensor],
    labels: Tensor,
    *,
    chunk: int,
    temperature: float = 1.0,
) -> Tensor:
    """`token_logps(lm_head(hidden), labels)` without ever holding the (B, T, V) logits.

    Only scored tokens meet the vocabulary, `chunk` of them at a time, and the backward pass computes each chunk again
    instead of storing it: a few (chunk, V) arrays live at once, for the price of one more product with the head.

    Args:
        hidden: (B, T, H), the states that the head reads.
        lm_head: maps (N, H) to logits (N, V), for instance the model's output layer. Its parameters get gradients.
        labels: (B, T) token ids, not shifted; `IGNORED` where no score is wanted.
        chunk: tokens per piece.
        temperature: as in `token_logps`.

    Returns:
        (B, T-1), as `token_logps`.
    """
    _check_labels(hidden, labels, "hidden", "(B, T, H)")
    check_number("temperature", temperature, above=0.0)
    check_number("chunk", chunk, at_least=1)

    def score(states: Tensor, targets: Tensor) -> Tensor:
        return _label_logps(lm_head(states), targets, temperature)

    scored = labels[:, 1:] != IGNORED
    states, targets = hidden[:, :-1][scored], labels[:, 1:][scored]
    pieces = [
        checkpoint(score, piece, target, use_reentrant=False, preserve_rng_state=False)
        for piece, target in zip(states.split(chunk), targets.split(chunk), strict=True)
    ]
    result = full_precision(hidden).new_zeros(scored.shape)
    return result.masked_scatter(scored, torch.cat(pieces).to(result.dtype))


def sequence_logps(token_logps: Tensor, mask: Tensor) -> SequenceLogps:
    """Sum the scored tokens of every sequence: (B, T-1) and a mask of that shape -> sums (B,), lengths (B,) in tokens.

    Whatever stands in masked columns, NaN included, has no influence. A sequence without scored tokens has sum 0.
    """
    check_shapes("(B, T-1)", token_logps=token_logps, mask=mask)
    check_floating(token_logps=token_logps)
    kept = check_mask(mask)
    values = full_precision(token_logps)
    return SequenceLogps(torch.where(kept, values, torch.zeros_like(values)).sum(-1), kept.sum(-1))


def normalise(sums: Tensor, lengths: Tensor) -> Tensor:
    """Log-probability per unit of length, (B,) or (B, N): InfiFPO Eq. 10. The unit is that of `lengths`.

    Lengths are counted in tokens of the model that scored, or in bytes of the text, which all tokenizers share.
    A sum of 0 over a length of 0 (nothing scored) is 0; any other sum over 0 is infinite, so that it is noticed.
    """
    if sums.shape != lengths.shape:
        raise ValueError(
            f"lengths has shape {tuple(lengths.shape)} but sums has {tuple(sums.shape)}: pass one length per sum"
        )
    check_floating(sums=sums)
    empty = (lengths == 0) & (sums == 0)
    return full_precision(sums) / lengths.masked_fill(empty, 1)  # InfiFPO Eq. 10


def aggregate_tokens(token_values: Tensor, mask: Tensor, *, per_sequence: PerSequence) -> Tensor:
    """Mean or sum over each sequence's kept tokens of losses, KL estimates or entropies: (B, T-1) and mask -> (B,)."""
    check_choice("per_sequence", per_sequence, ("mean", "sum"))
    sums, lengths = sequence_logps(token_values, mask)
    return sums if per_sequence == "sum" else normalise(sums, lengths)


def per_global_token(sums: Tensor, *, token_count: float | Tensor) -> Tensor:
    """(B,) sums -> (B,) shares whose total over all micro-batches of a step is the mean over `token_count` tokens.

    `token_count` is the number of scored tokens of the whole step, over all micro-batches and devices: means of
    micro-batches with unequal lengths would weight the tokens unequally. A step without tokens gives 0.
    """
    check_shapes("(B,)", sums=sums)
    return full_precision(sums) / torch.as_tensor(token_count, device=sums.device).clamp(min=1)


def token_entropies(logits: Tensor) -> Tensor:
    """Entropy of the next-token distribution before every token, in nats: (B, T, V) -> (B, T-1)."""
    check_shapes("(B, T, V)", logits=logits)
    logps = F.log_softmax(full_precision(logits[:, :-1]), dim=-1)
    return -_expectation(logps, logps)


def token_kls(
    policy_logits: Tensor, ref_logits: Tensor, *, direction: Literal["policy_to_ref", "ref_to_policy"]
) -> Tensor:
    """Exact KL divergence of the next-token distributions on the given text: (B, T, V) twice -> (B, T-1).

    `policy_to_ref` is KL(policy || ref), the expectation under the policy; `ref_to_policy` is KL(ref || policy).
    Gradients reach the policy in both; pass `ref_logits` without a graph.
    """
    check_shapes("(B, T, V)", policy_logits=policy_logits, ref_logits=ref_logits)
    check_choice("direction", direction, ("policy_to_ref", "ref_to_policy"))
    policy = F.log_softmax(full_precision(policy_logits[:, :-1]), dim=-1)
    ref = F.log_softmax(full_precision(ref_logits[:, :-1]), dim=-1)
    if direction == "policy_to_ref":
        return _expectation(policy, policy - ref)
    return _expectation(ref, ref - policy)


def _expectation(logps: Tensor, values: Tensor) -> Tensor:
    # A token that a mask of the vocabulary rules out has probability 0 and -inf beside it: 0 * inf must be 0.
    possible = logps > -torch.inf
    return (logps.exp() * values.masked_fill(~possible, 0.0)).sum(-1)


def _label_logps(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    scaled = full_precision(logits)
    if temperature != 1.0:
        scaled = scaled / temperature
    return -F.cross_entropy(scaled, targets, ignore_index=IGNORED, reduction="none")


def _check_labels(states: Tensor, labels: Tensor, name: str, legend: str) -> None:
    check_shapes(legend, **{name: states})
    check_floating(**{name: states})
    check_shapes("(B, T)", labels=labels)
    if states.shape[:2] != labels.shape:
        raise ValueError(
            f"labels has shape {tuple(labels.shape)} but {name} has {tuple(states.shape)}: "
            "pass unshifted labels, one per position"
        )
    if labels.dtype != torch.long:
        raise ValueError(f"labels holds {labels.dtype}, wanted torch.long token ids: convert it with .long()")
