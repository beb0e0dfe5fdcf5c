"""Values and rewards read from a language model's logits, as if they were soft Q-values (after arXiv 2507.00018).

Shapes: B texts, T positions, V pieces; position t is the state before the token at t + 1. With
Q(s, a) = beta (z - z0)(a) and V(s) = beta (logsumexp z - logsumexp z0), Q - V = beta log(pi / pi0) for any logits: a
shift of a state's logits changes its value and no probability, so training on likelihood does not fix values, and
rewards made from them as Q(s, a) - V(s') explain any policy. What can fail, and so be tested, is whether end states
have one value, and whether values or rewards agree with something outside. Protocol of the paper: unknown.
"""

import torch
from torch import Tensor

from lightning_modules.losses.checks import check_mask, check_number, check_shapes, full_precision


def state_values(policy_logits: Tensor, ref_logits: Tensor | None = None, *, beta: float = 1.0) -> Tensor:
    """V of every state: beta * logsumexp(z), less beta * logsumexp(z0) where a reference sets the gauge.

    Args:
        policy_logits: (B, T, V).
        ref_logits: (B, T, V) of the reference; None absorbs it into the policy's logits (the maximum-entropy form).
        beta: above 0, units of reward per nat.

    Returns:
        (B, T).
    """
    check_number("beta", beta, above=0.0)
    check_shapes("(B, T, V)", policy_logits=policy_logits)
    values = torch.logsumexp(full_precision(policy_logits), -1)
    if ref_logits is not None:
        check_shapes("(B, T, V)", policy_logits=policy_logits, ref_logits=ref_logits)
        values = values - torch.logsumexp(full_precision(ref_logits), -1)
    return beta * values


def induced_rewards(
    policy_logits: Tensor,
    tokens: Tensor,
    mask: Tensor,
    ref_logits: Tensor | None = None,
    *,
    beta: float = 1.0,
    end_value: float = 0.0,
) -> Tensor:
    """r(s, a) = Q(s, a) - V(s') of every token of the responses.

    Args:
        policy_logits, ref_logits, beta: as in `state_values`; without a reference Q is beta * z.
        tokens: (B, T) ids.
        mask: (B, T-1), the tokens of the response, without gaps.
        end_value: V after the last token, which no logits tell.

    Returns:
        (B, T-1), 0 outside the mask. With a reference they add up to V(first state) + beta * log-ratio of the response
        less end_value.
    """
    values = state_values(policy_logits, ref_logits, beta=beta)
    check_shapes("(B, T)", tokens=tokens, values=values)
    check_shapes("(B, T-1)", mask=mask)
    kept = check_mask(mask)
    if kept.shape != (tokens.shape[0], tokens.shape[1] - 1):
        raise ValueError(f"mask has shape {tuple(mask.shape)}, wanted (B, T-1) for tokens {tuple(tokens.shape)}")
    chosen = tokens[:, 1:, None]
    q = full_precision(policy_logits)[:, :-1].gather(-1, chosen).squeeze(-1)
    if ref_logits is not None:
        q = q - full_precision(ref_logits)[:, :-1].gather(-1, chosen).squeeze(-1)
    continues = torch.nn.functional.pad(kept[:, 1:], (0, 1), value=False)
    following = torch.where(continues, values[:, 1:], torch.full_like(values[:, 1:], end_value))
    return torch.where(kept, beta * q - following, torch.zeros_like(q))


def end_values(values: Tensor, mask: Tensor) -> Tensor:
    """(B, T) state values -> (B,) value of the state after each response's last token.

    The terminal condition says that these are one constant: their spread, against that of values on the way, tests it.
    NaN for a text without response.
    """
    check_shapes("(B, T)", values=values)
    check_shapes("(B, T-1)", mask=mask)
    kept = check_mask(mask)
    if kept.shape != (values.shape[0], values.shape[1] - 1):
        raise ValueError(f"mask has shape {tuple(mask.shape)}, wanted (B, T-1) for values {tuple(values.shape)}")
    columns = torch.arange(1, values.shape[1], device=values.device)
    last = torch.where(kept, columns, torch.zeros_like(columns)).amax(-1, keepdim=True)
    return values.gather(1, last).squeeze(1).masked_fill(last.squeeze(1) == 0, torch.nan)
