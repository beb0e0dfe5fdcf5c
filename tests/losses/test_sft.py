import math

import pytest
import torch

from lightning_modules.losses.logps import token_kls, token_logps
from lightning_modules.losses.sft import dft_loss, neftune_embeddings, neftune_noise_scale, sft_kl_loss, sft_loss

LOGPS = torch.tensor([[-1.0, -2.0, -100.0], [-4.0, -100.0, -100.0]], dtype=torch.float64)
MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_sft_loss_is_the_negative_mean_or_sum_over_response_tokens():
    """Row 0 keeps -1 and -2: sum 3, mean 1.5. Row 1 keeps -4: both 4. The masked -100 must not count."""
    assert sft_loss(LOGPS, MASK).tolist() == [1.5, 4.0]
    assert sft_loss(LOGPS, MASK, per_sequence="sum").tolist() == [3.0, 4.0]


def test_sft_descent_raises_the_log_probability_of_demonstrated_tokens_only():
    logps = LOGPS.clone().requires_grad_()
    sft_loss(logps, MASK, per_sequence="sum").sum().backward()
    assert logps.grad is not None and torch.equal(logps.grad, -MASK.double())


def test_a_sequence_without_response_tokens_loses_nothing():
    assert sft_loss(LOGPS, torch.zeros_like(MASK)).tolist() == [0.0, 0.0]


def test_dft_weights_each_token_by_its_detached_probability():
    """Probabilities 1/2 and 1/4: loss (ln 2)/2 + (ln 4)/4 = ln 2, and gradients -1/2 and -1/4: the weight is detached,
    otherwise they would be -p (1 + ln p)."""
    logps = torch.tensor([[math.log(0.5), math.log(0.25)]], dtype=torch.float64, requires_grad=True)
    loss = dft_loss(logps, torch.ones(1, 2, dtype=torch.bool), per_sequence="sum")
    assert loss.item() == pytest.approx(math.log(2))
    loss.sum().backward()
    assert logps.grad is not None
    torch.testing.assert_close(logps.grad, torch.tensor([[-0.5, -0.25]], dtype=torch.float64))


def test_dft_mask():
    logps = torch.tensor([[math.log(0.5), float("nan")]], dtype=torch.float64)
    assert dft_loss(logps, torch.tensor([[True, False]])).item() == pytest.approx(0.5 * math.log(2))


def test_sft_kl_adds_the_weighted_mean_divergence_of_the_same_tokens():
    """Row 0: 1.5 + 0.1 * (0.2 + 0.4) / 2 = 1.53. Row 1: 4 + 0.1 * 1 = 4.1. The 9s are masked."""
    kls = torch.tensor([[0.2, 0.4, 9.0], [1.0, 9.0, 9.0]], dtype=torch.float64)
    losses = sft_kl_loss(LOGPS, kls, MASK, kl_weight=0.1)
    torch.testing.assert_close(losses, torch.tensor([1.53, 4.1], dtype=torch.float64))
    assert torch.equal(sft_kl_loss(LOGPS, kls, MASK, kl_weight=0.0), sft_loss(LOGPS, MASK))


@pytest.mark.parametrize("direction", ["policy_to_ref", "ref_to_policy"])
def test_a_large_kl_weight_pulls_the_policy_to_its_reference(direction):
    """With the penalty a thousand times the likelihood, descent from a policy that differs must reduce the KL."""
    torch.manual_seed(0)
    logits, ref = torch.randn(2, 4, 5, requires_grad=True), torch.randn(2, 4, 5)
    labels, mask = torch.randint(0, 5, (2, 4)), torch.ones(2, 3, dtype=torch.bool)

    def penalty(values):
        return token_kls(values, ref, direction=direction)

    before = penalty(logits).sum().item()
    sft_kl_loss(token_logps(logits, labels), penalty(logits), mask, kl_weight=1000.0).sum().backward()
    assert logits.grad is not None
    after = penalty((logits - 1e-4 * logits.grad).detach()).sum().item()
    assert after < before


def test_neftune_noise_scale_is_alpha_over_the_root_of_length_times_width():
    """alpha 5, 4 tokens, width 25: 5 / sqrt(100) = 0.5; one token: 5 / 5 = 1."""
    scale = neftune_noise_scale(torch.tensor([4, 1, 0]), noise_alpha=5.0, width=25)
    torch.testing.assert_close(scale, torch.tensor([0.5, 1.0, 0.0]))


def test_sft_kl_penalises_the_divergence_of_the_named_direction():
    """Policy (0.9, 0.1), reference (0.5, 0.5): KL(policy||ref) = 0.9 ln 1.8 + 0.1 ln 0.2; KL(ref||policy) =
    -(ln 1.8 + ln 0.2) / 2. The two differ, so that swapping them is seen."""
    logits = torch.tensor([[[0.9, 0.1], [0.5, 0.5]]], dtype=torch.float64).log()
    ref, labels = torch.zeros_like(logits), torch.tensor([[0, 0]])
    mask = torch.ones(1, 1, dtype=torch.bool)
    expected = {
        "policy_to_ref": 0.9 * math.log(1.8) + 0.1 * math.log(0.2),
        "ref_to_policy": -0.5 * (math.log(1.8) + math.log(0.2)),
    }
    for direction, divergence in expected.items():
        kls = token_kls(logits, ref, direction=direction)
        loss = sft_kl_loss(token_logps(logits, labels), kls, mask, kl_weight=2.0)
        assert loss.item() == pytest.approx(-math.log(0.9) + 2 * divergence)


def test_neftune_adds_scaled_noise_to_tokens_and_none_to_padding():
    """Two tokens of width 2 and alpha 3: bound 3 / sqrt(4) = 1.5. The padding, whose noise is 1, stays."""
    embeddings = torch.ones(1, 3, 2)
    noise = torch.tensor([[[1.0, -1.0], [0.5, 0.0], [1.0, 1.0]]])
    noisy = neftune_embeddings(embeddings, noise, torch.tensor([[1, 1, 0]]), noise_alpha=3.0)
    assert noisy.tolist() == [[[2.5, -0.5], [1.75, 1.0], [1.0, 1.0]]]


def test_neftune_does_not_depend_on_padding_and_passes_the_gradient_on():
    torch.manual_seed(0)
    embeddings, noise = torch.randn(1, 4, 8, requires_grad=True), 2 * torch.rand(1, 4, 8) - 1
    mask = torch.tensor([[True, True, False, False]])
    padded = neftune_embeddings(embeddings, noise, mask, noise_alpha=5.0)
    alone = neftune_embeddings(embeddings[:, :2], noise[:, :2], mask[:, :2], noise_alpha=5.0)
    assert torch.equal(padded[:, :2], alone)
    padded.sum().backward()
    assert embeddings.grad is not None and torch.equal(embeddings.grad, torch.ones_like(embeddings))
    half = neftune_embeddings(embeddings.bfloat16(), noise, mask, noise_alpha=5.0)
    assert half.dtype == torch.bfloat16


def test_entry_checks():
    with pytest.raises(ValueError, match="mask has shape"):
        neftune_embeddings(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2), torch.ones(1, 2).bool(), noise_alpha=1.0)
    with pytest.raises(ValueError, match="mask has shape"):
        sft_loss(LOGPS, MASK[:1])
    with pytest.raises(ValueError, match="per_sequence"):
        sft_loss(LOGPS, MASK, per_sequence="token")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kl_weight"):
        sft_kl_loss(LOGPS, -LOGPS, MASK, kl_weight=-1.0)
    with pytest.raises(ValueError, match="noise_alpha"):
        neftune_noise_scale(torch.tensor([4]), noise_alpha=-1.0, width=2)
