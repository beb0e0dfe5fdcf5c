"""f-SFT and its controls on the world of sums: what starts as SFT, what V each choice makes, what is saved."""

import pytest
import torch

from data.records.texts import Demonstration
from lightning_modules.losses.divergences import DIVERGENCES, MAX_WEIGHT
from lightning_modules.losses.sft import sft_loss
from lightning_modules.sampling.sampler import Sampler
from lightning_modules.sft.f_sft import FSft
from lightning_modules.sft.neftune import Neftune
from lightning_modules.sft.sft import Sft
from lightning_modules.sft.sft_kl import SftKl
from tests.lightning_modules.tiny_world import SumData, sums, tiny_model

ITEMS = [Demonstration(*one) for one in sums()[:6]]


def attached(kind, **options):
    if kind is FSft:
        options = {"divergence": "pearson_clamped", **options}
    method = kind(model=tiny_model(), seed=0, sampler=Sampler(max_tokens=4), **options)
    method.attach(SumData())
    if hasattr(method, "prepare"):
        method.prepare(SumData(), None)
    return method


def gradients(method):
    batch = method.collate(ITEMS)
    method.network.zero_grad()
    method.losses(batch)[0].mean().backward()
    return {name: value.grad.clone() for name, value in method.network.named_parameters() if value.grad is not None}


def per_example_norms(method):
    """Norm of the gradient of each demonstration's loss."""
    norms = []
    for row in range(len(ITEMS)):
        method.network.zero_grad()
        method.losses(method.collate(ITEMS))[0][row].backward()
        parts = [value.grad for value in method.network.parameters() if value.grad is not None]
        norms.append(sum((part**2).sum() for part in parts).sqrt())
    return torch.stack(norms)


def moved(method, by=0.05):
    """The same method after its policy has left the reference."""
    with torch.no_grad():
        for parameter in method.network.parameters():
            parameter += by * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return method


SFT = {"loss": lambda logps, mask: sft_loss(logps, mask)}


@pytest.mark.parametrize("unit", ["sequence", "token"])
@pytest.mark.parametrize("value", ["fixed", "batch", "learned"])
@pytest.mark.parametrize("divergence", ["pearson_clamped", "jensen_shannon", "kl_expert_policy"])
def test_every_divergence_starts_with_the_gradient_of_sft(divergence, value, unit):
    wanted = gradients(attached(Sft, **SFT))
    found = gradients(attached(FSft, divergence=divergence, value=value, unit=unit))
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4)


def test_a_policy_that_has_moved_is_weighted_by_phi_prime():
    method = moved(attached(FSft, divergence="pearson_unclamped", beta=0.5, per_sequence="sum"))
    reference = attached(Sft, **SFT)
    batch = method.collate(ITEMS)
    policy, mask = method.network.response_logps(batch)
    start, _ = reference.network.response_logps(batch)
    u = 0.5 * ((policy - start) * mask).sum(-1)
    torch.testing.assert_close(method.losses(batch)[0], (-u + u.square() / 4) / 0.5)
    assert u.abs().max() > 0.1


@pytest.mark.parametrize("value", ["fixed", "gauge", "batch", "learned"])
@pytest.mark.parametrize("divergence", sorted(DIVERGENCES))
def test_a_policy_far_from_its_reference_has_a_finite_gradient_at_both_ends_of_beta(divergence, value):
    """Weights moved so far that log-ratios are many nats. The gradient of SFT there, times the largest weight, bounds
    that of every divergence with a fixed V but Pearson's, whose weight grows with u."""
    for beta in (0.01, 1.0):
        method = moved(attached(FSft, divergence=divergence, beta=beta, value=value), by=0.5)
        found = gradients(method)
        assert all(gradient.isfinite().all() for gradient in found.values())
        assert method.step_metrics["train/u"].abs() > 5 * beta
        if value == "fixed" and not divergence.startswith("pearson"):
            each = per_example_norms(moved(attached(Sft, **SFT), by=0.5))
            norm = sum((gradient**2).sum() for gradient in found.values()).sqrt()
            assert norm <= MAX_WEIGHT * each.mean() * 1.001


def test_batch_value_is_averaged_over_steps():
    method = moved(attached(FSft, value="batch", beta=2.0, decay=0.5))
    batch = method.collate(ITEMS)
    method.losses(batch)
    first = method.running.clone()
    moved(method)
    method.losses(batch)
    second = method.running.clone()
    method.running = torch.full((1,), torch.nan)
    method.losses(batch)
    torch.testing.assert_close(second, 0.5 * first + 0.5 * method.running)
    assert not torch.isclose(first, second)


def test_gauge_follows_the_level_of_the_logits_and_a_fixed_value_does_not():
    found = {}
    for value in ("gauge", "fixed"):
        method = attached(FSft, value=value, beta=1.0)
        batch = method.collate(ITEMS)
        before = method.losses(batch)[0]
        head = method.network.network.lm_head
        method.network.network.lm_head = lambda states, head=head: head(states) + 1.0
        found[value] = (method.losses(batch)[0] - before).abs().max()
    assert found["fixed"] < 1e-5 < 1e-2 < found["gauge"]


def test_the_learned_head_moves_but_is_not_saved(tmp_path):
    method = moved(attached(FSft, value="learned", beta=1.0))
    assert gradients(method)["value_head.bias"].abs() > 1e-4
    method.save_weights(tmp_path)
    assert "value_head" in dict(method.network.named_children())
    attached(Sft, **SFT).load_weights(tmp_path)


def test_kl_penalty_is_nothing_at_the_start_and_grows():
    still, plain = attached(SftKl, kl_weight=5.0), attached(Sft, **SFT)
    batch = still.collate(ITEMS)
    torch.testing.assert_close(still.losses(batch)[0], plain.losses(batch)[0])
    losses = [
        moved(attached(SftKl, kl_weight=weight, direction=direction)).losses(batch)[0].mean()
        for weight, direction in ((0.0, "policy_to_ref"), (1.0, "policy_to_ref"), (1.0, "ref_to_policy"))
    ]
    assert losses[0] < losses[1] and losses[0] < losses[2] and not torch.isclose(losses[1], losses[2])


def test_neftune_adds_noise_in_training_alone():
    quiet, noisy = attached(Neftune, noise_alpha=0.0), attached(Neftune, noise_alpha=5.0)
    batch = quiet.collate(ITEMS)
    torch.testing.assert_close(quiet.losses(batch)[0], attached(Sft, **SFT).losses(batch)[0])
    torch.manual_seed(0)
    assert not torch.allclose(noisy.losses(batch)[0], quiet.losses(batch)[0])
    # Outside of losses nothing is hooked.
    torch.testing.assert_close(noisy.network.response_logps(batch)[0], quiet.network.response_logps(batch)[0])


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (FSft, {"divergence": "chi"}, "method.divergence"),
        (FSft, {"divergence": "neyman", "value": "free"}, "method.value"),
        (FSft, {"divergence": "neyman", "beta": 0.0}, "method.beta"),
        (SftKl, {"kl_weight": -1.0}, "method.kl_weight"),
        (SftKl, {"direction": "both"}, "method.direction"),
        (Neftune, {"noise_alpha": -1.0}, "method.noise_alpha"),
    ],
)
def test_bad_options_are_refused(kind, options, said):
    with pytest.raises(ValueError, match=said):
        kind(model=tiny_model(), seed=0, sampler=Sampler(max_tokens=4), **options)


def test_losses_before_prepare_are_refused():
    method = FSft(model=tiny_model(), seed=0, sampler=Sampler(max_tokens=4), divergence="neyman")
    method.attach(SumData())
    with pytest.raises(ValueError, match="prepare"):
        method.losses(method.collate(ITEMS))
