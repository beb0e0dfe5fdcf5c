"""AMFT (arXiv 2508.06944): one loss for SFT and RL, and a controller for their weight mu, which multiplies SFT.

Gradients are sequences of tensors, one per parameter, in the same order. g_S and g_R are those of the SFT and of the RL
loss at the weights before a step; U is the utility to be raised (held-out reward, not a loss). A step of rate alpha
moves the weights by -alpha P ((1 - mu) g_R + mu g_S), P diagonal, so that d(weights)/d(mu) = alpha P (g_R - g_S).
For SGD (P = 1) that is exact, and the meta-gradient is too when U's gradient is taken at the new weights; at the old
ones it is the cheap approximation. The released code has the opposite sign.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lightning_modules.losses.checks import check_choice, check_number


class MuUpdate(NamedTuple):
    """The new mu, and its two increments before the bounds."""

    mu: float
    meta_increment: float
    entropy_increment: float


def amft_loss(sft_loss: Tensor, rl_loss: Tensor, mu: float | Tensor) -> Tensor:
    """(1 - mu) * RL + mu * SFT, of two scalars; mu = 1 is pure SFT. Compare gradients, not values: RL's is near 0."""
    for name, loss in (("sft_loss", sft_loss), ("rl_loss", rl_loss)):
        if loss.dim() != 0:
            raise ValueError(f"{name} has shape {tuple(loss.shape)}, wanted a scalar: average it over its own tokens")
    if not isinstance(mu, Tensor):
        check_number("mu", mu, at_least=0.0, at_most=1.0)
    return (1 - mu) * rl_loss + mu * sft_loss  # AMFT Eq. 3


def mu_tangent(
    sft_grads: Sequence[Tensor],
    rl_grads: Sequence[Tensor],
    *,
    step_size: float,
    preconditioner: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """d(weights after the step) / d(mu) = step_size * P * (g_R - g_S), for the weights before it held fixed.

    `preconditioner` is P, in the parameters' shapes: ones for SGD (None), `adam_preconditioner` for Adam.
    """
    check_number("step_size", step_size, above=0.0)
    _check_alike(sft_grads=sft_grads, rl_grads=rl_grads)
    tangent = [step_size * (rl - sft) for sft, rl in zip(sft_grads, rl_grads, strict=True)]
    if preconditioner is None:
        return tangent
    _check_alike(sft_grads=sft_grads, preconditioner=preconditioner)
    return [scale * change for scale, change in zip(preconditioner, tangent, strict=True)]


def accumulate_tangent(
    tangent: Sequence[Tensor],
    step_tangent: Sequence[Tensor],
    *,
    decay: float = 1.0,
    step_size: float | None = None,
    hessian_products: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Forward mode over several steps: z <- decay * (z - step_size * H z) + step_tangent.

    Args:
        tangent: z, d(weights before the step) / d(mu), with one mu for all steps.
        step_tangent: `mu_tangent` of the step.
        decay: in [0, 1]; 1 with `hessian_products` is exact for SGD. Below 1 forgets old steps.
        step_size: of the step; wanted with `hessian_products` only.
        hessian_products: H z, with H the Hessian of the blended loss; None leaves the curvature out.
    """
    check_number("decay", decay, at_least=0.0, at_most=1.0)
    _check_alike(tangent=tangent, step_tangent=step_tangent)
    if hessian_products is not None:
        if step_size is None:
            raise ValueError("step_size is None with hessian_products, wanted the rate of the step: pass both")
        check_number("step_size", step_size, above=0.0)
        _check_alike(tangent=tangent, hessian_products=hessian_products)
        tangent = [old - step_size * product for old, product in zip(tangent, hessian_products, strict=True)]
    return [decay * old + new for old, new in zip(tangent, step_tangent, strict=True)]


def tangent_meta_gradient(utility_grads: Sequence[Tensor], tangent: Sequence[Tensor]) -> Tensor:
    """dU/dmu = <grad U, d(weights)/d(mu)>, a scalar in fp64: AMFT Eq. 5."""
    _check_alike(utility_grads=utility_grads, tangent=tangent)
    products = [(left.double() * right.double()).sum() for left, right in zip(utility_grads, tangent, strict=True)]
    return torch.stack(products).sum()  # AMFT Eq. 5


def mu_meta_gradient(
    utility_grads: Sequence[Tensor],
    sft_grads: Sequence[Tensor],
    rl_grads: Sequence[Tensor],
    *,
    step_size: float,
    preconditioner: Sequence[Tensor] | None = None,
) -> Tensor:
    """dU/dmu over one step: step_size * <grad U, P (g_R - g_S)>, positive where more SFT raises U; a scalar in fp64.

    Args:
        utility_grads: of U, to be raised, at the weights after the step (exact) or before it (approximate).
        sft_grads, rl_grads: of the two losses, to be lowered, at the weights before that same step.
        step_size, preconditioner: as in `mu_tangent`.
    """
    tangent = mu_tangent(sft_grads, rl_grads, step_size=step_size, preconditioner=preconditioner)
    return tangent_meta_gradient(utility_grads, tangent)


def adam_preconditioner(
    first_moments: Sequence[Tensor],
    second_moments: Sequence[Tensor],
    blended_grads: Sequence[Tensor],
    *,
    step: int,
    beta1: float,
    beta2: float,
    epsilon: float,
    clip_factor: float = 1.0,
    exact: bool = True,
) -> list[Tensor]:
    """P of one Adam or AdamW step: the derivative of its direction by the gradient, elementwise.

    Args:
        first_moments, second_moments: Adam's running averages after the step.
        blended_grads: the gradient that the step used, after clipping.
        step, beta1, beta2, epsilon: Adam's; the first step is 1.
        clip_factor: by which clipping scaled the gradient, held constant.
        exact: include the change of the second moment; False holds it fixed, as first-order accounts do.
    """
    check_number("step", step, at_least=1)
    check_number("epsilon", epsilon, above=0.0)
    _check_alike(blended_grads=blended_grads, first_moments=first_moments)
    _check_alike(blended_grads=blended_grads, second_moments=second_moments)
    bias1, bias2 = 1 - beta1**step, 1 - beta2**step
    result = []
    for first, second, grad in zip(first_moments, second_moments, blended_grads, strict=True):
        root = (second / bias2).sqrt()
        scale = (1 - beta1) / bias1 / (root + epsilon)
        if exact:
            # A coordinate that never had a gradient has root = grad = 0, and its second moment does not change.
            change = (1 - beta2) / bias2 * grad / root.masked_fill(root == 0, 1.0)
            scale = scale - first / bias1 * change / (root + epsilon).square()
        result.append(clip_factor * scale)
    return result


def gradient_cosine(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Cosine between two gradients, a scalar in fp64, 0 if one of them vanishes. Of grad U and `mu_tangent` it is a
    meta-gradient free of scale; of g_S and g_R it says whether the two losses agree."""
    norms = tangent_meta_gradient(left, left).sqrt() * tangent_meta_gradient(right, right).sqrt()
    return tangent_meta_gradient(left, right) / norms.masked_fill(norms == 0, 1.0)


def update_mu(
    mu: float,
    *,
    meta_gradient: float,
    entropy: float,
    target_entropy: float,
    meta_lr: float,
    entropy_lr: float,
    mu_min: float,
    mu_max: float,
    entropy_sign: Literal["prose", "eq6"],
) -> MuUpdate:
    """mu <- clip(mu + meta_lr * dU/dmu + entropy_lr * (+-)(H* - H), mu_min, mu_max).

    Args:
        mu: weight of SFT so far.
        meta_gradient: dU/dmu, ascended; 0 in steps without one.
        entropy, target_entropy: H and H*, nats per token, both over the policy's own rollouts.
        meta_lr, entropy_lr: rates, at least 0.
        mu_min, mu_max: bounds within [0, 1].
        entropy_sign: the paper contradicts itself. `eq6` lowers mu when the entropy is above its target; `prose` raises
            it: more SFT when the policy is too uncertain.
    """
    check_choice("entropy_sign", entropy_sign, ("prose", "eq6"))
    check_number("meta_lr", meta_lr, at_least=0.0)
    check_number("entropy_lr", entropy_lr, at_least=0.0)
    check_number("mu_min", mu_min, at_least=0.0, at_most=mu_max)
    check_number("mu_max", mu_max, at_most=1.0)
    for name, value in (("mu", mu), ("meta_gradient", meta_gradient), ("entropy gap", entropy - target_entropy)):
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}, wanted a finite number: skip this update")
    gap = target_entropy - entropy if entropy_sign == "eq6" else entropy - target_entropy
    meta_increment, entropy_increment = meta_lr * meta_gradient, entropy_lr * gap
    moved = mu + meta_increment + entropy_increment
    return MuUpdate(min(max(moved, mu_min), mu_max), meta_increment, entropy_increment)  # AMFT Eq. 6


def _check_alike(**gradients: Sequence[Tensor]) -> None:
    (first_name, first), (second_name, second) = gradients.items()
    if [tensor.shape for tensor in first] != [tensor.shape for tensor in second] or not first:
        raise ValueError(
            f"{second_name} has shapes {[tuple(tensor.shape) for tensor in second]}, {first_name} has "
            f"{[tuple(tensor.shape) for tensor in first]}: pass one tensor per parameter, in the same order"
        )
