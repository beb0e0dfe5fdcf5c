"""Supervised fine-tuning and its controls: DFT, SFT with a penalty on the divergence from a reference, NEFTune.

Shapes: B sequences of T tokens; per-token inputs have T-1 columns (see `logps`). Losses are (B,), in nats.
"""

from torch import Tensor

from lightning_modules.losses.checks import check_mask, check_number, check_shapes, full_precision
from lightning_modules.losses.logps import PerSequence, aggregate_tokens


def sft_loss(token_logps: Tensor, mask: Tensor, *, per_sequence: PerSequence = "mean") -> Tensor:
    """Negative log-likelihood of the demonstrations.

    Args:
        token_logps: (B, T-1), nats, of the demonstrated tokens.
        mask: (B, T-1), booleans or 0/1 integers: the tokens of the response.
        per_sequence: "mean" over the tokens of each sequence, or "sum". For the mean over all tokens of a batch (or of
            a global batch), take "sum" and `logps.per_global_token`.

    Returns:
        (B,) losses; 0 for a sequence without scored tokens.
    """
    return -aggregate_tokens(token_logps, mask, per_sequence=per_sequence)


def dft_loss(token_logps: Tensor, mask: Tensor, *, per_sequence: PerSequence = "mean") -> Tensor:
    """Dynamic fine-tuning (arXiv 2508.05629): every token's loss is weighted by its own, detached probability.

    Arguments and result as `sft_loss`. It down-weights tokens that the policy finds unlikely, whether or not it moved.
    """
    check_shapes("(B, T-1)", token_logps=token_logps, mask=mask)
    logps = full_precision(token_logps)
    return sft_loss(logps.detach().exp() * logps, mask, per_sequence=per_sequence)


def sft_kl_loss(
    token_logps: Tensor, token_kls: Tensor, mask: Tensor, *, kl_weight: float, per_sequence: PerSequence = "mean"
) -> Tensor:
    """SFT with an explicit penalty: sft_loss + kl_weight * KL on the demonstrated prefixes.

    Args:
        token_logps: (B, T-1), nats.
        token_kls: (B, T-1), nats, from `logps.token_kls`, whose `direction` decides which of the two penalties it is.
        mask: (B, T-1), the tokens of the response, for both terms.
        kl_weight: at least 0; 0 is SFT.
        per_sequence: as in `sft_loss`, for both terms.
    """
    check_shapes("(B, T-1)", token_logps=token_logps, token_kls=token_kls, mask=mask)
    check_number("kl_weight", kl_weight, at_least=0.0)
    penalty = aggregate_tokens(token_kls, mask, per_sequence=per_sequence)
    return sft_loss(token_logps, mask, per_sequence=per_sequence) + kl_weight * penalty


def neftune_noise_scale(lengths: Tensor, *, noise_alpha: float, width: int) -> Tensor:
    """NEFTune (arXiv 2310.05914): bound of the uniform noise added to the input embeddings while training.

    Args:
        lengths: (B,) tokens of each sequence, padding not counted.
        noise_alpha: the paper's alpha, at least 0 (5, 10 or 15 there).
        width: d, of the embeddings.

    Returns:
        (B,) bounds alpha / sqrt(L d): draw the noise from [-bound, bound]. 0 for an empty sequence.
    """
    check_shapes("(B,)", lengths=lengths)
    check_number("noise_alpha", noise_alpha, at_least=0.0)
    check_number("width", width, at_least=1)
    scale = noise_alpha / (lengths.clamp(min=1) * width).sqrt()
    return scale.masked_fill(lengths == 0, 0.0)


def neftune_embeddings(embeddings: Tensor, noise: Tensor, mask: Tensor, *, noise_alpha: float) -> Tensor:
    """NEFTune: input embeddings plus noise of the size that `neftune_noise_scale` says. For training only.

    Args:
        embeddings: (B, T, D).
        noise: (B, T, D), drawn uniformly from [-1, 1]: the caller's generator decides it.
        mask: (B, T), booleans or 0/1 integers: the tokens that are no padding. Padding gets no noise, and does not
            count as length (implementations that count it make the noise depend on the batch).
        noise_alpha: as in `neftune_noise_scale`.

    Returns:
        (B, T, D), in the dtype of the embeddings.
    """
    check_shapes("(B, T, D)", embeddings=embeddings, noise=noise)
    check_shapes("(B, T)", mask=mask)
    if mask.shape != embeddings.shape[:2]:
        raise ValueError(f"mask has shape {tuple(mask.shape)}, wanted (B, T) of embeddings {tuple(embeddings.shape)}")
    kept = check_mask(mask)
    scale = neftune_noise_scale(kept.sum(-1), noise_alpha=noise_alpha, width=embeddings.shape[-1])
    added = (scale[:, None, None] * full_precision(noise)).masked_fill(~kept[..., None], 0.0)
    return embeddings + added.to(embeddings.dtype)
