import math

import pytest
import torch

from lightning_modules.losses.dpo import dpo_loss, ipo_loss
from lightning_modules.losses.infifpo import (
    fuse_reference_logps,
    fusion_margin,
    infifpo_loss,
    winner_shares,
)


def logs(*values):
    return torch.tensor(values, dtype=torch.float64).log()


# The situation of the paper's Figure 1: initial pivot 0.2 on chosen and 0.3 on rejected; source 3 (from 0) is best on
# chosen with 0.9, source 2 on rejected with 0.1.
INIT = (logs(0.2), logs(0.3))
SOURCES = (logs([0.3, 0.1, 0.4, 0.9]), logs([0.35, 0.2, 0.1, 0.25]))


def random_case(count=10_000, sources=4, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return -5 * torch.rand(*shape, generator=generator, dtype=torch.float64)

    policy, init = (draw(count), draw(count)), (draw(count), draw(count))
    return policy, init, (draw(count, sources), draw(count, sources))


def test_max_margin_picks_the_best_source_for_each_response():
    """Farthest from the pivot after clipping: 0.9 on chosen (column 3), 0.1 on rejected (column 2)."""
    fused = fuse_reference_logps(*INIT, *SOURCES)
    torch.testing.assert_close(fused.chosen, logs(0.9))
    torch.testing.assert_close(fused.rejected, logs(0.1))
    assert (fused.chosen_winner.item(), fused.rejected_winner.item()) == (3, 2)


def test_infifpo_worked_example():
    """Policy at the initial pivot: the margin is m = ln(0.9/0.2) + ln(0.3/0.1) = ln 13.5, and the loss
    -log sigmoid(-beta ln 13.5) = ln(1 + 13.5^beta); 2.5 is the paper's beta."""
    assert infifpo_loss(*INIT, *INIT, *SOURCES, beta=1.0).losses.item() == pytest.approx(math.log(14.5))
    assert infifpo_loss(*INIT, *INIT, *SOURCES, beta=2.5).losses.item() == pytest.approx(math.log1p(13.5**2.5))
    margin = fusion_margin(fuse_reference_logps(*INIT, *SOURCES), *INIT)
    assert margin.item() == pytest.approx(math.log(13.5))


def test_per_pair_takes_one_source_for_both_responses():
    """Clipped margins by column: 0.3/0.3, 0.2/0.2, 0.4/0.1, 0.9/0.25. The ratio is largest for column 2, 4 against
    3.6: references 0.4 and 0.1, margin ln(0.4/0.2) + ln(0.3/0.1) = ln 6, less than the ln 13.5 of per_response."""
    fused = fuse_reference_logps(*INIT, *SOURCES, scope="per_pair")
    assert (fused.chosen_winner.item(), fused.rejected_winner.item()) == (2, 2)
    torch.testing.assert_close(fused.chosen, logs(0.4))
    torch.testing.assert_close(fused.rejected, logs(0.1))
    assert fusion_margin(fused, *INIT).item() == pytest.approx(math.log(6.0))


def test_average_is_the_geometric_mean_of_clipped_probabilities():
    """Chosen after clipping: 0.3, 0.2, 0.4, 0.9, product 0.0216. Rejected: 0.3, 0.2, 0.1, 0.25, product 0.0015."""
    fused = fuse_reference_logps(*INIT, *SOURCES, strategy="average")
    torch.testing.assert_close(fused.chosen, logs(0.0216) / 4)
    torch.testing.assert_close(fused.rejected, logs(0.0015) / 4)
    assert (fused.chosen_winner.item(), fused.rejected_winner.item()) == (-1, -1)


def test_confidence_weights_by_inverse_negative_log_probability():
    """Values -1 and -3 have confidences 1 and 1/3, weights 3/4 and 1/4: -0.75 - 0.75 = -1.5. Unclipped, since the
    initial pivot at -2 would otherwise replace one of them on either side."""
    init, sources = torch.tensor([-2.0], dtype=torch.float64), torch.tensor([[-1.0, -3.0]], dtype=torch.float64)
    fused = fuse_reference_logps(init, init, sources, sources, strategy="confidence", clip=False)
    assert fused.chosen.item() == pytest.approx(-1.5) and fused.rejected.item() == pytest.approx(-1.5)
    # Clipped to (-1, -2) on chosen: weights 2/3 and 1/3, value -4/3. To (-2, -3) on rejected: 3/5 and 2/5, -12/5.
    clipped = fuse_reference_logps(init, init, sources, sources, strategy="confidence")
    assert clipped.chosen.item() == pytest.approx(-4 / 3) and clipped.rejected.item() == pytest.approx(-12 / 5)


def test_clipping_raises_chosen_lowers_rejected_and_can_be_switched_off():
    """A source at 0.05 on chosen (pivot 0.2) and at 0.9 on rejected (pivot 0.3) is the farthest one on both sides, but
    clipping replaces it by the pivot; without clipping it wins."""
    sources = (logs([0.05, 0.25]), logs([0.9, 0.25]))
    clipped = fuse_reference_logps(*INIT, *sources)
    torch.testing.assert_close(clipped.chosen, logs(0.25))
    torch.testing.assert_close(clipped.rejected, logs(0.25))
    free = fuse_reference_logps(*INIT, *sources, clip=False)
    torch.testing.assert_close(free.chosen, logs(0.05))
    torch.testing.assert_close(free.rejected, logs(0.9))


def test_distance_in_log_or_probability_space_can_choose_differently_without_clipping():
    """From -1: -0.2 is 0.8 away in logs and e^-0.2 - e^-1 = 0.451 in probability; -3 is 2 away and 0.318."""
    init, sources = torch.tensor([-1.0]), torch.tensor([[-0.2, -3.0]])
    by_log = fuse_reference_logps(init, init, sources, sources, clip=False, distance="log")
    by_probability = fuse_reference_logps(init, init, sources, sources, clip=False, distance="probability")
    assert by_log.chosen_winner.item() == 1 and by_probability.chosen_winner.item() == 0


def test_probability_distance_survives_sums_whose_probability_underflows():
    """From -900 the source at -800 is farther in probability than the one at -1,100, though both are 0 in fp32."""
    init, sources = torch.tensor([-900.0]), torch.tensor([[-1100.0, -800.0]])
    assert fuse_reference_logps(init, init, sources, sources, clip=False).chosen_winner.item() == 1


@pytest.mark.parametrize("distance", ["probability", "log"])
def test_a_tie_goes_to_the_first_source_and_a_clipped_winner_is_the_pivot(distance):
    """Two sources at the same value tie: column 0. If no source beats the pivot, the pivot stands and nobody won."""
    tied = fuse_reference_logps(*INIT, logs([0.5, 0.5]), logs([0.1, 0.1]), distance=distance)
    assert (tied.chosen_winner.item(), tied.rejected_winner.item()) == (0, 0)
    beaten = fuse_reference_logps(*INIT, logs([0.1, 0.2]), logs([0.4, 0.3]), distance=distance)
    assert (beaten.chosen_winner.item(), beaten.rejected_winner.item()) == (-1, -1)
    assert torch.equal(beaten.chosen, INIT[0]) and torch.equal(beaten.rejected, INIT[1])


def test_a_broken_source_is_seen_in_the_winner_shares_of_the_rejected_side():
    """A source that scores everything at -50 is clipped away on every chosen response, and wins every rejected one."""
    _, init, sources = random_case(1000)
    broken = [torch.cat([side, torch.full((1000, 1), -50.0, dtype=torch.float64)], 1) for side in sources]
    fused = fuse_reference_logps(*init, *broken)
    assert winner_shares(fused.chosen_winner, sources=5)[4].item() == 0.0
    assert winner_shares(fused.rejected_winner, sources=5).tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]


def test_winner_shares_leave_the_pivot_out():
    """Of 4 rows source 0 won one, source 2 two, the pivot one."""
    assert winner_shares(torch.tensor([0, 2, -1, 2]), sources=3).tolist() == [0.25, 0.0, 0.5]


@pytest.mark.parametrize("bad", [-math.inf, math.inf, math.nan])
def test_a_score_that_is_not_finite_spoils_its_own_row_only(bad):
    """Clipping alone would hide -inf on the chosen side; the loss must not look healthy."""
    _, init, sources = random_case(3)
    chosen = sources[0].clone()
    chosen[1, 2] = bad
    losses = infifpo_loss(init[0], init[1], init[0], init[1], chosen, sources[1], beta=2.5).losses
    assert losses.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("strategy", ["max_margin", "average"])
def test_with_the_pivot_as_its_only_source_infifpo_is_length_normalised_dpo_exactly(strategy):
    policy, init, _ = random_case(1000)
    alone = [side[:, None] for side in init]
    fused = infifpo_loss(*policy, *init, *alone, beta=2.5, strategy=strategy)
    plain = dpo_loss(*policy, *init, beta=2.5)
    assert all(torch.equal(left, right) for left, right in zip(fused, plain, strict=True))


def test_margin_identity_on_ten_thousand_random_cases():
    """-log sigmoid(beta ((D_policy - D_init) - m)) with D = chosen less rejected and m = max(init, sources) on chosen
    less min(init, sources) on rejected less D_init, which is never negative."""
    policy, init, sources = random_case()
    best = torch.maximum(init[0], sources[0].amax(1))
    worst = torch.minimum(init[1], sources[1].amin(1))
    margin = (best - worst) - (init[0] - init[1])
    assert margin.min() >= 0
    logit = 2.5 * ((policy[0] - policy[1]) - (init[0] - init[1]) - margin)
    result = infifpo_loss(*policy, *init, *sources, beta=2.5)
    torch.testing.assert_close(result.losses, torch.log1p(torch.exp(-logit)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(fusion_margin(fuse_reference_logps(*init, *sources), *init), margin)


@pytest.mark.parametrize("distance", ["probability", "log"])
def test_clipped_max_margin_is_the_maximum_on_chosen_and_the_minimum_on_rejected(distance):
    _, init, sources = random_case(seed=1)
    fused = fuse_reference_logps(*init, *sources, distance=distance)
    assert torch.equal(fused.chosen, torch.maximum(init[0], sources[0].amax(1)))
    assert torch.equal(fused.rejected, torch.minimum(init[1], sources[1].amin(1)))


def test_per_pair_margin_never_exceeds_per_response_margin_and_both_are_at_least_zero():
    _, init, sources = random_case(seed=2)
    pair = fusion_margin(fuse_reference_logps(*init, *sources, scope="per_pair"), *init)
    response = fusion_margin(fuse_reference_logps(*init, *sources), *init)
    assert pair.min() >= 0 and (pair <= response + 1e-12).all() and (pair < response - 1e-6).any()


@pytest.mark.parametrize("strategy", ["max_margin", "average", "confidence"])
def test_the_first_loss_is_at_least_log_two(strategy):
    """The policy starts at the initial pivot, and the margin is not negative: -log sigmoid(-beta m) >= ln 2."""
    _, init, sources = random_case(1000)
    losses = infifpo_loss(*init, *init, *sources, beta=2.5, strategy=strategy).losses
    assert losses.min() >= math.log(2) - 1e-12


def test_swapping_chosen_and_rejected_changes_both_the_clip_and_the_sign():
    """Swapped, 0.3 is the pivot of the new chosen and 0.35 the maximum; 0.2 the pivot of the new rejected and 0.1 the
    minimum: m = ln(0.35/0.3) + ln(0.2/0.1) = ln(7/3), loss ln(1 + 7/3)."""
    swapped = infifpo_loss(*INIT[::-1], *INIT[::-1], *SOURCES[::-1], beta=1.0).losses
    assert swapped.item() == pytest.approx(math.log(1 + 7 / 3))


def test_gradient_reaches_the_policy_alone_with_the_sign_of_dpo():
    """d loss / d policy_chosen = -beta sigmoid(beta m) at the start = -13.5/14.5 for beta 1."""
    policy, init, sources = ([side.clone().requires_grad_() for side in sides] for sides in (INIT, INIT, SOURCES))
    infifpo_loss(*policy, *init, *sources, beta=1.0, anchor="current").losses.sum().backward()
    assert policy[0].grad is not None and policy[0].grad.item() == pytest.approx(-13.5 / 14.5)
    assert policy[1].grad is not None and policy[1].grad.item() == pytest.approx(13.5 / 14.5)
    assert all(side.grad is None for side in (*init, *sources))


def test_the_current_anchor_flips_the_winner_once_the_policy_is_past_the_midpoint():
    """Candidates on chosen are 0.2 (the source at 0.1, clipped) and 0.9. From a policy at 0.5 the farther is 0.9, from
    0.6 it is 0.2: the pivot's value, hence no winner. The midpoint is 0.55."""
    sources = (logs([0.1, 0.9]), logs([0.3, 0.3]))
    before = fuse_reference_logps(*INIT, *sources, anchor_chosen=logs(0.5), anchor_rejected=logs(0.3))
    after = fuse_reference_logps(*INIT, *sources, anchor_chosen=logs(0.6), anchor_rejected=logs(0.3))
    torch.testing.assert_close(before.chosen, logs(0.9))
    torch.testing.assert_close(after.chosen, logs(0.2))
    assert before.chosen_winner.item() == 1 and after.chosen_winner.item() == -1
    loss = infifpo_loss(logs(0.6), INIT[1], *INIT, *sources, beta=1.0, anchor="current").losses
    # References 0.2 and 0.3: the rejected ratio is 1, the chosen 3, so -log sigmoid(ln 3) = ln(4/3).
    assert loss.item() == pytest.approx(math.log(4 / 3))


def test_the_rejected_side_has_its_own_anchor():
    """From a rejected policy at 0.12 the pivot's 0.3 is farther than 0.1, while from the initial pivot 0.1 is."""
    fused = fuse_reference_logps(*INIT, logs([0.9, 0.9]), logs([0.1, 0.5]), anchor_rejected=logs(0.12))
    torch.testing.assert_close(fused.rejected, logs(0.3))
    torch.testing.assert_close(fused.chosen, logs(0.9))


def test_ipo_form_uses_the_fused_reference_and_does_not_multiply_ratios_by_beta():
    """At the start the difference of ratios is -ln 13.5; beta 0.25 aims at 2: (ln 13.5 + 2)^2."""
    loss = infifpo_loss(*INIT, *INIT, *SOURCES, beta=0.25, objective="ipo").losses.item()
    assert loss == pytest.approx((math.log(13.5) + 2) ** 2)
    policy, init, _ = random_case(50)
    alone = [side[:, None] for side in init]
    fused = infifpo_loss(*policy, *init, *alone, beta=0.5, objective="ipo").losses
    assert torch.equal(fused, ipo_loss(*policy, *init, beta=0.5).losses)


def test_half_precision_sources_are_fused_in_fp32():
    half = [side.bfloat16() for side in (*INIT, *SOURCES)]
    fused = fuse_reference_logps(*half)
    assert fused.chosen.dtype == torch.float32 and fused.chosen.item() == half[2][0, 3].item()


def test_entry_checks():
    with pytest.raises(ValueError, match="N >= 1"):
        fuse_reference_logps(*INIT, torch.zeros(1, 0), torch.zeros(1, 0))
    with pytest.raises(ValueError, match=r"source_rejected has shape \(1, 3\)"):
        fuse_reference_logps(*INIT, SOURCES[0], SOURCES[1][:, :3])
    with pytest.raises(ValueError, match="only max_margin selects"):
        fuse_reference_logps(*INIT, *SOURCES, strategy="average", scope="per_pair")
    with pytest.raises(ValueError, match="strategy is 'mean', wanted one of average, confidence, max_margin"):
        fuse_reference_logps(*INIT, *SOURCES, strategy="mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="anchor"):
        infifpo_loss(*INIT, *INIT, *SOURCES, beta=1.0, anchor="moving")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="beta is 0"):
        infifpo_loss(*INIT, *INIT, *SOURCES, beta=0)
