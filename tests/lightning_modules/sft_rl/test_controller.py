"""Losses of the mixers on numbers that can be followed by hand: responses of one token, two rollouts to a problem."""

import math

import pytest
import torch

from data.records.texts import Demonstration
from lightning_modules.rl.terms import GroupRelative, Rolled
from lightning_modules.sft_rl.amft import Amft
from lightning_modules.sft_rl.controller import (
    AdamView,
    Demonstrated,
    Material,
    Mixer,
    Schedule,
    SftThenRl,
    Signals,
    Weights,
)
from lightning_modules.sft_rl.rivals import Chord, Hpt, Luffy, Relift, Sasr, Srft

ENTROPY = 0.7
HALF, FIFTH = math.log(0.5), math.log(0.2)


def material(rewards, shown=HALF):
    """Rollouts of probability 0.5 and 0.2 to every problem; demonstrations of the log-probability ``shown``."""
    rewards = torch.tensor(rewards, dtype=torch.float64)
    problems = len(rewards)
    logps = torch.tensor([[HALF], [FIFTH]] * problems, dtype=torch.float64, requires_grad=True)
    demos = torch.full((problems, 1), shown, dtype=torch.float64, requires_grad=True)
    ones = torch.ones(problems, 1, dtype=torch.bool)
    rolled = Rolled(logps, logps.detach(), ones.repeat(2, 1), rewards, ENTROPY)
    return Material(Demonstrated(demos, ones), rolled, 0, 10)


def plain(mixer):
    """The same mixer with advantages that no standard deviation divides."""
    mixer.rl = GroupRelative(normalise_std=False)
    return mixer


def slopes(loss, made):
    """Of a loss: by the demonstrations' log-probabilities, and by the rollouts'."""
    found = torch.autograd.grad(loss, [made.demonstrated.logps, made.rolled.logps], allow_unused=True)
    return [None if one is None else one.flatten().tolist() for one in found]


def test_grpo_raises_what_was_paid_and_lowers_what_was_not():
    made = material([[1.0, 0.0]])
    # Advantages 1/2 and -1/2, a ratio of 1, the mean over two tokens.
    assert slopes(plain(Mixer()).rl_loss(made), made)[1] == pytest.approx([-0.25, 0.25])


def test_luffy_counts_the_demonstration_as_a_rollout_that_was_paid():
    mixer, made = plain(Luffy()), material([[0.0, 0.0]])
    # Rewards 0, 0, 1: advantages -1/3, -1/3, 2/3, over three tokens. f(1/2) = 0.5 / 0.6.
    assert mixer.sft_loss(made).item() == pytest.approx(-2 / 3 * (0.5 / 0.6) / 3)
    # d f / d log p = p gamma / (p + gamma)^2.
    assert slopes(mixer.sft_loss(made), made)[0] == pytest.approx([-2 / 9 * 0.5 * 0.1 / 0.36])
    assert slopes(mixer.rl_loss(made), made)[1] == pytest.approx([1 / 9, 1 / 9])


def test_srft_imitates_demonstrations_and_its_own_right_answers_alone():
    made = material([[1.0, 0.0]])
    luffy, mixer = plain(Luffy()), plain(Srft())
    shown = (mixer.sft_loss(made) - luffy.sft_loss(made)).item()
    assert shown == pytest.approx(0.5 * math.exp(-ENTROPY) * -HALF)
    own = (mixer.rl_loss(made) - luffy.rl_loss(made)).item()
    # The wrong answer, of probability 0.2, is not imitated.
    assert own == pytest.approx(0.1 * math.exp(ENTROPY) * -HALF)
    code = plain(Srft(entropy_sign=1))
    assert (code.sft_loss(made) - luffy.sft_loss(made)).item() == pytest.approx(0.5 * math.exp(ENTROPY) * -HALF)


def test_hpt_imitates_what_no_rollout_solved_and_leaves_the_rest_to_rl():
    mixer, made = plain(Hpt()), material([[0.0, 0.0], [1.0, 0.0]])
    assert slopes(mixer.sft_loss(made), made)[0] == pytest.approx([-1.0, 0.0])
    assert slopes(mixer.rl_loss(made), made)[1] == pytest.approx([0.0, 0.0, -0.25, 0.25])
    weights = mixer.weights(signals(made.rolled.rewards))
    assert (weights.sft, weights.rl) == (0.5, 0.5)


def test_chord_weighs_tokens_by_p_times_1_minus_p_and_its_mu_peaks_after_the_rise():
    made = material([[1.0, 0.0]], shown=FIFTH)
    mixer = Chord(peak=0.5, valley=0.02, rise=0.1, fall=0.6)
    assert mixer.sft_loss(made).item() == pytest.approx(0.2 * 0.8 * -FIFTH)
    assert Chord(token_weights=False).sft_loss(made).item() == pytest.approx(-FIFTH)
    assert [mixer.mu(share) for share in (0.0, 0.05, 0.1, 0.4, 0.7, 0.9)] == pytest.approx(
        [0.0, 0.25, 0.5, 0.26, 0.02, 0.02]
    )


def test_schedules_move_from_imitation_to_reward():
    linear, cosine = Schedule(mu_start=0.8, mu_end=0.0), Schedule(mu_start=0.8, mu_end=0.0, shape="cosine")
    assert [linear.mu(share) for share in (0.0, 0.25, 1.0)] == pytest.approx([0.8, 0.6, 0.0])
    assert [cosine.mu(share) for share in (0.0, 0.25, 0.5, 1.0)] == pytest.approx(
        [0.8, 0.4 * (1 + math.cos(math.pi / 4)), 0.4, 0.0]
    )
    switch = SftThenRl(switch=0.3)
    assert [switch.wants(step, 10) for step in (0, 2, 3, 9)] == [(True, False)] * 2 + [(False, True)] * 2


def test_amft_keeps_the_derivative_of_the_step_that_was_made_and_clipped():
    seen = {}

    class Watching(Amft):
        def _scale(self, adam, blended, clip_factor):
            seen["blended"] = blended
            return None

    mixer = Watching(meta_gradient="new")
    grads = {"sft": [torch.tensor([1.0])], "rl": [torch.tensor([10.0])]}
    view = AdamView([], [], 1, 0.1, (0.9, 0.99), 1e-8)
    mixer.after_step(signals(**grads), Weights(0.25, 0.75), 0.5, view)
    # Half of a quarter of 1 and three quarters of 10; mu moves the step by -rate (g_S - g_R).
    assert seen["blended"][0].item() == pytest.approx(0.5 * (0.25 + 7.5))
    assert mixer.tangent[0].item() == pytest.approx(-0.1 * (1.0 - 10.0))


def test_forward_mode_carries_the_tangent_through_the_curvature_of_each_step():
    """Two steps of SGD on mu (w - 1)^2 + (1 - mu) (w + 1)^2 / 2, whose curvature is mu 2 + (1 - mu)."""
    rate, mu, place = 0.1, 0.5, torch.tensor([3.0])
    curvature = 2 * mu + (1 - mu)
    mixer = Amft(meta_gradient="forward", preconditioner="none", tangent_decay=1.0, mu_init=mu, entropy_lr=0.0)
    wanted = torch.zeros(1)
    for step in range(2):
        sft, rl = 2 * (place - 1), place + 1
        wanted = (1 - rate * curvature) * wanted + rate * (rl - sft)
        now = signals(sft=[sft], rl=[rl])._replace(
            step=step + 1, hessian_product=lambda s, r, vector: [(2 * s + r) * part for part in vector]
        )
        mixer.after_step(now, mixer.weights(now), 1.0, AdamView([], [], step + 1, rate, (0.9, 0.99), 1e-8))
        place = place - rate * (mu * sft + (1 - mu) * rl)
    assert mixer.tangent[0].item() == pytest.approx(wanted.item())

    # d(w after both steps)/d(mu) by a difference
    def after(weight):
        w = 3.0
        for _ in range(2):
            w -= rate * (weight * 2 * (w - 1) + (1 - weight) * (w + 1))
        return w

    assert wanted.item() == pytest.approx((after(mu + 1e-4) - after(mu - 1e-4)) / 2e-4, rel=1e-4)


def signals(rewards=None, sft=None, rl=None):
    items = [Demonstration(f"p{index}", "", "") for index in range(0 if rewards is None else len(rewards))]
    return Signals(0, 10, 0, items, ENTROPY, rewards, sft, rl, lambda *_: [], lambda *_: [], None)


def test_relift_imitates_the_problems_that_failed_once_there_are_enough():
    mixer = Relift(collected=2)
    rewards = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    for _ in range(2):
        assert mixer.wants(0, 10) == (False, True)
        seen = signals(rewards, rl=[])
        assert mixer.weights(seen)[:2] == (0.0, 1.0)
        mixer.after_step(seen, mixer.weights(seen), 1.0, None)
    assert mixer.wants(2, 10) == (True, False) and [one.id for one in mixer.shown([])] == ["p0", "p0"]
    imitating = signals(sft=[])
    assert mixer.weights(imitating)[:2] == (1.0, 0.0)
    mixer.after_step(imitating, mixer.weights(imitating), 1.0, None)
    assert mixer.wants(3, 10) == (False, True)


def test_sasr_imitates_less_as_the_demonstrations_gradient_shrinks():
    mixer = Sasr(gamma=1.0)
    assert mixer.chance() == 1.0
    mixer.weights(signals(sft=[torch.tensor([4.0])]))
    assert mixer.chance() == pytest.approx(0.5)
    mixer.weights(signals(sft=[torch.tensor([1.0])], rl=[]))
    assert mixer.chance() == pytest.approx(1 / (1 + 4))
