import math

import pytest
import torch

from lightning_modules.losses.divergences import DIVERGENCES, MAX_WEIGHT
from lightning_modules.losses.f_sft import (
    f_sft_loss,
    f_sft_text_loss,
    logit_gauge_values,
    running_value,
    shared_value,
)
from lightning_modules.losses.sft import sft_loss

ROWS = sorted(DIVERGENCES)
STRICT = [name for name in ROWS if not name.startswith("total_variation")]


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_worked_number_of_pearson():
    """Log-ratio 1, beta 0.1: u = 0.1, loss (-u + u^2/4)/0.1 = -0.975."""
    loss = f_sft_loss(double(1.0), divergence="pearson_clamped", beta=0.1)
    assert loss.item() == pytest.approx(-0.975)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("squared_hellinger", -1.0),
        ("neyman", 4 - 4 * math.sqrt(2)),
        ("jensen_shannon", -2 * math.log(2 - math.exp(-1))),
        ("kl_policy_expert", -2 * (1 - math.exp(-1))),
        ("kl_expert_policy", -2 * math.log(2)),
        ("pearson_unclamped", -1.5),
        ("total_variation", -2.0),
        ("total_variation_bounded", -1.0),
    ],
)
def test_worked_numbers_of_the_other_rows(name, expected):
    """Log-ratio 2, beta 0.5: u = 1, and the loss is 2 (r0 - phi(1 + r0)). Hellinger -2 * 1/2; Neyman
    -2 (2 sqrt 2 - 2); JS -2 log(2 - 1/e); KL(pi||p_E) with r0 = -1: 2 (-1 + e^-1); KL(p_E||pi) with r0 = 1:
    2 (1 - 1 - ln 2); Pearson -2 * 3/4; TV -2 * 1, bounded -2 * 1/2."""
    assert f_sft_loss(double(2.0), divergence=name, beta=0.5).item() == pytest.approx(expected)


def test_unbounded_total_variation_is_sft_up_to_the_constant_of_the_reference():
    logps, ref = -5 * torch.rand(6, 4, dtype=torch.float64), -5 * torch.rand(6, 4, dtype=torch.float64)
    mask = torch.ones(6, 4, dtype=torch.bool)
    loss = f_sft_loss((logps - ref).sum(1), divergence="total_variation", beta=0.3)
    torch.testing.assert_close(loss, sft_loss(logps, mask, per_sequence="sum") + ref.sum(1))


def test_bounded_total_variation_has_no_gradient_beyond_its_bound():
    """u = 0.1 * log-ratio passes 1/2 at 5 nats."""
    log_ratio = double(-6.0, -4.0, 0.0, 4.0, 6.0).requires_grad_()
    f_sft_loss(log_ratio, divergence="total_variation_bounded", beta=0.1).sum().backward()
    assert log_ratio.grad is not None and log_ratio.grad.tolist() == [0.0, -1.0, -1.0, -1.0, 0.0]


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("beta", [0.01, 0.1, 1.0])
def test_every_row_starts_as_sft_at_every_beta(name, beta):
    """At the reference the loss is 0 with slope -1, so that learning rates compare between rows."""
    log_ratio = double(0.0).requires_grad_()
    loss = f_sft_loss(log_ratio, divergence=name, beta=beta)
    loss.sum().backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-12)
    assert log_ratio.grad is not None and log_ratio.grad.item() == pytest.approx(-1.0)


@pytest.mark.parametrize("name", STRICT)
def test_the_weight_of_a_demonstration_falls_as_the_policy_moves_towards_it(name):
    log_ratio = double(-1.0, 0.0, 1.0).requires_grad_()
    f_sft_loss(log_ratio, divergence=name, beta=0.3).sum().backward()
    assert log_ratio.grad is not None
    far, start, near = (-log_ratio.grad).tolist()
    assert far > start == pytest.approx(1.0) and near < start


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("beta", [0.01, 0.1, 1.0])
def test_loss_and_gradient_are_finite_from_minus_50_to_50_nats(name, beta):
    """In fp32. Weights are at most MAX_WEIGHT, and 1 + |u|/2 for Pearson."""
    log_ratio = torch.linspace(-50, 50, 2001, requires_grad=True)
    loss = f_sft_loss(log_ratio, divergence=name, beta=beta)
    loss.sum().backward()
    assert loss.dtype == torch.float32 and loss.isfinite().all()
    assert log_ratio.grad is not None and log_ratio.grad.isfinite().all()
    bound = 1 + beta * 50 / 2 if name.startswith("pearson") else MAX_WEIGHT
    assert log_ratio.grad.abs().max() <= bound * 1.0001


@pytest.mark.parametrize("name", ROWS)
def test_with_one_demonstration_and_free_value_every_row_is_sft(name):
    """max over V of phi(u + V) - V is u: the loss is minus the log-ratio, whatever the divergence."""
    log_ratio = torch.linspace(-50, 50, 41, dtype=torch.float64)[:, None].requires_grad_()
    value = shared_value(log_ratio, divergence=name, beta=0.1)
    loss = f_sft_loss(log_ratio, divergence=name, beta=0.1, value=value)
    torch.testing.assert_close(loss, -log_ratio, rtol=1e-9, atol=1e-9)
    loss.sum().backward()
    torch.testing.assert_close(log_ratio.grad, -torch.ones_like(log_ratio), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("demonstrations", [1, 2, 8])
@pytest.mark.parametrize("name", ["pearson_clamped", "pearson_unclamped"])
def test_pearson_with_free_value_is_mean_minus_a_quarter_of_the_variance(name, demonstrations):
    """max over V of mean(r - r^2/4) - V with r = u + V: the derivative -mean(r)/2 vanishes at mean(r) = 0, which leaves
    mean(u) - var(u)/4 (variance over the demonstrations themselves). |u| < 1 keeps every r below 2."""
    torch.manual_seed(0)
    log_ratio = 20 * torch.rand(16, demonstrations, dtype=torch.float64) - 10
    value = shared_value(log_ratio, divergence=name, beta=0.1)
    loss = f_sft_loss(log_ratio, divergence=name, beta=0.1, value=value)
    u = 0.1 * log_ratio
    expected = u.mean(1) - u.var(1, correction=0) / 4
    torch.testing.assert_close(-0.1 * loss.mean(1), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", STRICT)
def test_shared_value_makes_the_mean_weight_one_and_is_the_best_value(name):
    torch.manual_seed(0)
    log_ratio = torch.randn(32, dtype=torch.float64)
    value = shared_value(log_ratio, divergence=name, beta=0.2)
    assert value.shape == (1,)
    weights = DIVERGENCES[name].phi_prime(0.2 * log_ratio + value)
    assert weights.mean().item() == pytest.approx(1.0, abs=1e-9)
    best = f_sft_loss(log_ratio, divergence=name, beta=0.2, value=value).mean()
    for shift in (-0.05, 0.05):
        assert f_sft_loss(log_ratio, divergence=name, beta=0.2, value=value + shift).mean() > best


def test_shared_value_of_weights_is_that_of_repeated_demonstrations():
    """Weights 3/4 and 1/4 are three demonstrations of one answer and one of another. Pearson: mean(u) + V = 0."""
    ratios = double(2.0, -1.0)
    weighted = shared_value(ratios, divergence="pearson_clamped", beta=0.4, weights=double(0.75, 0.25))
    assert weighted.item() == pytest.approx(-0.4 * (0.75 * 2 - 0.25))
    with pytest.raises(ValueError, match="weights has shape"):
        shared_value(ratios, divergence="neyman", beta=0.4, weights=double(1.0))


def test_gradient_of_a_learned_value_is_one_minus_the_weight_over_beta():
    """Pearson, u = 0.4, V = 0.2: weight 1 - 0.6/2 = 0.7; d loss / d V = (1 - 0.7) / 0.4 = 0.75."""
    value = double(0.2).requires_grad_()
    f_sft_loss(double(1.0), divergence="pearson_clamped", beta=0.4, value=value).sum().backward()
    assert value.grad is not None and value.grad.item() == pytest.approx(0.75)


def test_logit_gauge_turns_rewards_into_logit_differences_less_the_next_value():
    """beta log(pi/pi0) + V(s) - V(s') = beta (z - z0)(a) - V(s'), because V(s) is beta times the difference of the
    log-normalisers; after the last token V(s') = 0. The values of a response add up to V at its first token."""
    torch.manual_seed(0)
    logits, ref = torch.randn(2, 5, 7, dtype=torch.float64), torch.randn(2, 5, 7, dtype=torch.float64)
    labels = torch.randint(0, 7, (2, 5))
    mask = torch.tensor([[False, True, True, True], [True, True, False, False]])
    values = logit_gauge_values(logits, ref, mask, beta=0.3)

    def pick(table):
        return table[:, :-1].gather(-1, labels[:, 1:, None]).squeeze(-1)

    state = 0.3 * (logits.logsumexp(-1) - ref.logsumexp(-1))[:, :-1]
    rewards = 0.3 * pick(logits.log_softmax(-1) - ref.log_softmax(-1)) + values
    following = torch.stack([double(0, state[0, 2], state[0, 3], 0), double(state[1, 1], 0, 0, 0)])
    torch.testing.assert_close(rewards[mask], (0.3 * pick(logits - ref) - following)[mask])
    torch.testing.assert_close(values.sum(1), torch.stack([state[0, 1], state[1, 0]]))
    assert values[~mask].abs().max() == 0


RATIOS = torch.tensor([[1.0, 3.0, 7.0], [2.0, 9.0, 9.0]], dtype=torch.float64)
KEPT = torch.tensor([[True, True, False], [True, False, False]])


def test_text_loss_per_sequence_and_per_token():
    """Pearson, beta 0.5: loss (-u + u^2/4) / 0.5. Per sequence u = 0.5 * 4 = 2: (-2 + 1)/0.5 = -2, over 2 tokens -1.
    Per token u = 0.5 and 1.5: -0.875 and -1.875, mean -1.375. The second text has one token, u = 1: -1.5 in both."""
    sequence = f_sft_text_loss(RATIOS, KEPT, divergence="pearson_clamped", beta=0.5)
    token = f_sft_text_loss(RATIOS, KEPT, divergence="pearson_clamped", beta=0.5, unit="token")
    assert sequence.tolist() == pytest.approx([-1.0, -1.5])
    assert token.tolist() == pytest.approx([-1.375, -1.5])
    summed = f_sft_text_loss(RATIOS, KEPT, divergence="pearson_clamped", beta=0.5, unit="token", per_sequence="sum")
    assert summed.tolist() == pytest.approx([-2.75, -1.5])


@pytest.mark.parametrize("per_sequence", ["mean", "sum"])
@pytest.mark.parametrize("unit", ["sequence", "token"])
@pytest.mark.parametrize("name", ROWS)
def test_every_row_starts_with_the_gradient_of_sft_in_both_units(name, unit, per_sequence):
    start, plain = (torch.zeros(2, 3, dtype=torch.float64).requires_grad_() for _ in range(2))
    f_sft_text_loss(start, KEPT, divergence=name, beta=0.3, unit=unit, per_sequence=per_sequence).sum().backward()
    sft_loss(plain, KEPT, per_sequence=per_sequence).sum().backward()
    assert start.grad is not None and plain.grad is not None
    torch.testing.assert_close(start.grad, plain.grad)


@pytest.mark.parametrize("unit", ["sequence", "token"])
def test_padding_reaches_neither_loss_nor_gradient(unit):
    ratios = RATIOS.masked_fill(~KEPT, math.nan).requires_grad_()
    loss = f_sft_text_loss(ratios, KEPT, divergence="neyman", beta=0.3, unit=unit)
    clean = f_sft_text_loss(RATIOS, KEPT, divergence="neyman", beta=0.3, unit=unit)
    assert torch.equal(loss, clean)
    loss.sum().backward()
    assert ratios.grad is not None and torch.equal(ratios.grad != 0, KEPT)
    nothing = f_sft_text_loss(RATIOS, torch.zeros_like(KEPT), divergence="neyman", beta=0.3, unit=unit)
    assert nothing.tolist() == [0.0, 0.0]


def test_summed_gauge_values_are_the_value_of_the_sequence():
    """For total variation, whose phi is linear, tokens and sequence give one loss whatever V: it cancels."""
    torch.manual_seed(0)
    logits, ref = torch.randn(2, 4, 7, dtype=torch.float64), torch.randn(2, 4, 7, dtype=torch.float64)
    values = logit_gauge_values(logits, ref, KEPT, beta=0.3)
    token = f_sft_text_loss(
        RATIOS, KEPT, divergence="total_variation", beta=0.3, unit="token", value=values, per_sequence="sum"
    )
    whole = f_sft_text_loss(
        RATIOS, KEPT, divergence="total_variation", beta=0.3, value=values.sum(1), per_sequence="sum"
    )
    torch.testing.assert_close(token, whole)


@pytest.mark.parametrize("unit", ["sequence", "token"])
@pytest.mark.parametrize("choice", ["fixed", "batch", "logit_gauge", "learned"])
@pytest.mark.parametrize("name", ROWS)
def test_every_value_choice_is_stable_over_a_hundredfold_range_of_beta(name, choice, unit):
    """fp32, sequences that moved by -50 to 50 nats, beta 0.01 to 1; also logits whose level drifted by up to 50."""
    moved = torch.linspace(-50, 50, 64)[:, None] / 3
    mask = torch.ones(64, 3, dtype=torch.bool)
    drifted = torch.linspace(50, -50, 64)[:, None, None] + torch.zeros(64, 4, 5)
    for beta in (0.01, 0.1, 1.0):
        ratios = moved.repeat(1, 3).requires_grad_()
        value = None
        if choice == "batch":
            shared = ratios.detach().sum(1) if unit == "sequence" else ratios.detach().flatten()
            value = shared_value(shared, divergence=name, beta=beta)
        if choice == "logit_gauge":
            gauge = logit_gauge_values(drifted, torch.zeros_like(drifted), mask, beta=beta)
            value = gauge if unit == "token" else gauge.sum(1)
        if choice == "learned":
            # A head that has run away: 50 nats off, against the policy and with it.
            away = 50 * beta * (-1.0) ** torch.arange(64)
            value = (away if unit == "sequence" else away[:, None] * torch.ones(64, 3)).requires_grad_()
        loss = f_sft_text_loss(ratios, mask, divergence=name, beta=beta, unit=unit, value=value, per_sequence="sum")
        loss.sum().backward()
        assert loss.isfinite().all()
        if choice == "learned":
            assert value.grad.isfinite().all()
        # |u + V| is at most 100 beta for the fixed value and the drifted gauge, and below 200 beta for the shared one.
        bound = 1 + beta * 100 if name.startswith("pearson") else MAX_WEIGHT
        assert ratios.grad is not None and ratios.grad.abs().max() <= bound * 1.0001


def test_running_value_averages_from_the_second_step_on():
    """0.9 * 1 + 0.1 * 3 = 1.2; the first step has no past."""
    first = running_value(None, double(1.0), decay=0.9)
    assert first.item() == 1.0
    assert running_value(first, double(3.0), decay=0.9).item() == pytest.approx(1.2)
    with pytest.raises(ValueError, match=r"decay is 1\.0"):
        running_value(first, first, decay=1.0)
    with pytest.raises(ValueError, match="previous has shape"):
        running_value(first, torch.zeros(2), decay=0.5)


def test_half_precision_log_ratios_are_raised():
    assert f_sft_loss(torch.tensor([1.0], dtype=torch.bfloat16), divergence="neyman", beta=0.1).dtype == torch.float32


def test_entry_checks():
    with pytest.raises(ValueError, match="unit is 'word'"):
        f_sft_text_loss(RATIOS, KEPT, divergence="neyman", beta=0.1, unit="word")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="divergence is 'chi', wanted one of jensen_shannon"):
        f_sft_loss(double(0.0), divergence="chi", beta=0.1)
    with pytest.raises(ValueError, match="beta is 0"):
        f_sft_loss(double(0.0), divergence="neyman", beta=0)
    with pytest.raises(ValueError, match="wanted \\(B,\\) or"):
        f_sft_loss(torch.tensor(0.0), divergence="neyman", beta=0.1)
    with pytest.raises(ValueError, match="value has shape"):
        f_sft_loss(torch.zeros(4), divergence="neyman", beta=0.1, value=torch.zeros(3))
    with pytest.raises(ValueError, match="value has shape"):
        f_sft_loss(torch.zeros(4), divergence="neyman", beta=0.1, value=torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r"mask has shape \(2, 5\)"):
        logit_gauge_values(torch.zeros(2, 5, 3), torch.zeros(2, 5, 3), torch.ones(2, 5, dtype=torch.bool), beta=0.1)
