import math

import pytest
import torch
import torch.nn.functional as F

from lightning_modules.losses.logps import (
    IGNORED,
    aggregate_tokens,
    normalise,
    per_global_token,
    response_mask,
    sequence_logps,
    token_entropies,
    token_kls,
    token_logps,
    token_logps_from_hidden,
)

LN3 = math.log(3.0)


def test_token_logps_scores_each_label_from_the_position_before_it():
    """Logits (0, ln 3) are probabilities (1/4, 3/4), logits (0, 0) are (1/2, 1/2). With labels (0, 1, 0) the token at
    position 1 has 3/4 from position 0, the one at position 2 has 1/2 from position 1; the last logits score nothing."""
    logits = torch.tensor([[[0.0, LN3], [0.0, 0.0], [9.0, -9.0]]], dtype=torch.float64)
    result = token_logps(logits, torch.tensor([[0, 1, 0]]))
    torch.testing.assert_close(result, torch.tensor([[math.log(0.75), math.log(0.5)]], dtype=torch.float64))


def test_token_logps_has_no_gradient_at_the_last_position_and_at_ignored_labels():
    logits = torch.randn(2, 4, 5, requires_grad=True)
    labels = torch.tensor([[0, IGNORED, 2, 3], [0, 1, 2, IGNORED]])
    result = token_logps(logits, labels)
    assert result[0, 0] == 0 and result[1, 2] == 0
    result.sum().backward()
    assert logits.grad is not None
    norms = logits.grad.norm(dim=-1)
    assert (norms == 0).tolist() == [[True, False, False, True], [False, False, True, True]]


def test_temperature_divides_the_logits():
    """At temperature 1/2 logits (0, ln 3) become (0, ln 9): probabilities (1/10, 9/10)."""
    logits = torch.tensor([[[0.0, LN3], [0.0, 0.0]]], dtype=torch.float64)
    result = token_logps(logits, torch.tensor([[0, 1]]), temperature=0.5)
    assert result.item() == pytest.approx(math.log(0.9))


def test_half_precision_logits_are_normalised_in_fp32():
    logits = (4 * torch.randn(2, 6, 50)).bfloat16()
    labels = torch.randint(0, 50, (2, 6))
    result = token_logps(logits, labels)
    assert result.dtype == torch.float32
    expected = F.log_softmax(logits.double(), -1)[:, :-1].gather(-1, labels[:, 1:, None]).squeeze(-1)
    torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 3, 1000])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_token_logps_from_hidden_equals_token_logps_with_gradients(chunk, temperature):
    torch.manual_seed(1)
    hidden = torch.randn(3, 7, 4, dtype=torch.float64, requires_grad=True)
    head = torch.nn.Linear(4, 11, dtype=torch.float64)
    labels = torch.randint(0, 11, (3, 7))
    labels[0, :4] = IGNORED
    labels[1, 5:] = IGNORED
    weights = torch.randn(3, 6, dtype=torch.float64)
    whole = token_logps(head(hidden), labels, temperature=temperature)
    pieces = token_logps_from_hidden(hidden, head, labels, chunk=chunk, temperature=temperature)
    torch.testing.assert_close(pieces, whole, rtol=1e-12, atol=1e-12)
    inputs = [hidden, *head.parameters()]
    expected = torch.autograd.grad((weights * whole).sum(), inputs)
    for got, wanted in zip(torch.autograd.grad((weights * pieces).sum(), inputs), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-12)


def test_token_logps_from_hidden_never_holds_more_than_a_chunk_of_logits():
    """40 sequences of 11 tokens, half of them ignored, make 200 scored tokens: 25 pieces of 8, twice with the backward
    pass, and nothing as large as a (chunk, V) array is kept between the passes."""
    rows, saved = [], []
    weight = torch.randn(300, 4, requires_grad=True)

    def head(states):
        rows.append(len(states))
        return states @ weight.T

    hidden = torch.randn(40, 11, 4, requires_grad=True)
    labels = torch.randint(0, 300, (40, 11))
    labels[:, :6] = IGNORED

    def keep(tensor):
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total = token_logps_from_hidden(hidden, head, labels, chunk=8).sum()
    assert rows == [8] * 25
    assert max(saved) < 8 * 300
    total.backward()
    assert rows == [8] * 50
    assert weight.grad is not None and hidden.grad is not None
    assert hidden.grad[:, :5].abs().max() == 0 and hidden.grad[:, 5:-1].abs().min() > 0


def test_a_batch_without_scored_tokens_gives_zeros_that_can_be_differentiated():
    hidden = torch.randn(2, 3, 4, requires_grad=True)
    head = torch.nn.Linear(4, 5)
    result = token_logps_from_hidden(hidden, head, torch.full((2, 3), IGNORED), chunk=2)
    assert result.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    result.sum().backward()
    assert hidden.grad is not None and hidden.grad.abs().max() == 0


def test_sequence_logps_sums_only_what_the_mask_keeps():
    """Row 0 keeps -1 and -3, beside a NaN: sum -4 over 2 tokens. Row 1 keeps nothing: sum 0 over 0 tokens."""
    values = torch.tensor([[-1.0, float("nan"), -3.0], [-5.0, -6.0, -7.0]], requires_grad=True)
    mask = torch.tensor([[1, 0, 1], [0, 0, 0]])
    sums, lengths = sequence_logps(values, mask)
    assert sums.tolist() == [-4.0, 0.0] and lengths.tolist() == [2, 0]
    sums.sum().backward()
    assert values.grad is not None and values.grad.tolist() == [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]


def test_sums_of_half_precision_are_taken_in_fp32():
    """1,000 times -1 is -1,000; in bfloat16 a running sum would stay at -256, where the spacing becomes 2."""
    values = torch.full((1, 1000), -1.0, dtype=torch.bfloat16)
    sums, _ = sequence_logps(values, torch.ones(1, 1000, dtype=torch.bool))
    assert sums.dtype == torch.float32 and sums.item() == -1000.0


def test_response_mask_marks_the_columns_that_are_scored():
    labels = torch.tensor([[7, IGNORED, 3, 4]])
    assert response_mask(labels).tolist() == [[False, True, True]]


def test_normalise_divides_by_the_length_of_each_unit():
    """-12 nats over 4 tokens are -3 a token; over 24 bytes they are -0.5 a byte."""
    sums = torch.tensor([-12.0, -12.0, 0.0])
    assert normalise(sums, torch.tensor([4, 24, 0])).tolist() == [-3.0, -0.5, 0.0]
    assert normalise(torch.tensor([-1.0]), torch.tensor([0])).item() == -math.inf


def test_aggregate_tokens_takes_the_mean_or_the_sum_of_what_the_mask_keeps():
    """Row 0 keeps 1 and 3, row 1 nothing."""
    values, mask = torch.tensor([[1.0, 9.0, 3.0], [5.0, 5.0, 5.0]]), torch.tensor([[1, 0, 1], [0, 0, 0]])
    assert aggregate_tokens(values, mask, per_sequence="mean").tolist() == [2.0, 0.0]
    assert aggregate_tokens(values, mask, per_sequence="sum").tolist() == [4.0, 0.0]


def test_per_global_token_makes_micro_batches_add_up_to_the_mean_over_tokens():
    """Losses 2, 4, 9 over 1, 2 and 3 tokens: (2 + 4 + 9) / 6 = 2.5, however they are split."""
    sums = torch.tensor([2.0, 4.0, 9.0])
    parts = per_global_token(sums[:2], token_count=6).sum() + per_global_token(sums[2:], token_count=6).sum()
    assert parts.item() == pytest.approx(2.5)
    assert per_global_token(torch.zeros(2), token_count=0).tolist() == [0.0, 0.0]


def test_token_entropies_of_known_distributions():
    """(1/4, 3/4): (ln 4)/4 + 3/4 ln(4/3). Uniform over 2: ln 2. A ruled-out token (-inf) leaves certainty: 0."""
    logits = torch.tensor([[[0.0, LN3], [0.0, 0.0], [0.0, -math.inf], [0.0, 0.0]]], dtype=torch.float64)
    expected = [math.log(4) / 4 + 0.75 * math.log(4 / 3), math.log(2), 0.0]
    torch.testing.assert_close(token_entropies(logits), torch.tensor([expected], dtype=torch.float64))


def test_token_kls_in_both_directions():
    """Policy (1/2, 1/2), reference (1/4, 3/4). KL(policy || ref) = ln(2)/2 + ln(2/3)/2 = ln(4/3)/2 = 0.1438.
    KL(ref || policy) = ln(1/2)/4 + 3 ln(3/2)/4 = 0.1308."""
    policy = torch.zeros(1, 2, 2, dtype=torch.float64)
    ref = torch.tensor([[[0.0, LN3], [5.0, 0.0]]], dtype=torch.float64)
    assert token_kls(policy, ref, direction="policy_to_ref").item() == pytest.approx(0.5 * math.log(4 / 3))
    backward = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert token_kls(policy, ref, direction="ref_to_policy").item() == pytest.approx(backward)


def test_entry_checks():
    logits, labels = torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="pass unshifted labels"):
        token_logps(logits, labels[:, 1:])
    with pytest.raises(ValueError, match=r"torch\.long"):
        token_logps(logits, labels.int())
    with pytest.raises(ValueError, match="temperature"):
        token_logps(logits, labels, temperature=0.0)
    with pytest.raises(ValueError, match="chunk"):
        token_logps_from_hidden(logits, torch.nn.Identity(), labels, chunk=0)
    with pytest.raises(ValueError, match="lengths has shape"):
        normalise(torch.zeros(2), torch.ones(3))
    with pytest.raises(ValueError, match="direction"):
        token_kls(logits, logits, direction="forward")  # type: ignore[arg-type]
