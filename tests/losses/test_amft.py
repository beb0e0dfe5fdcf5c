import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, jvp

from lightning_modules.losses.amft import (
    accumulate_tangent,
    adam_preconditioner,
    amft_loss,
    gradient_cosine,
    mu_meta_gradient,
    mu_tangent,
    tangent_meta_gradient,
    update_mu,
)
from lightning_modules.losses.policy_gradient import clipped_policy_loss

RATES: dict[str, Any] = {"meta_lr": 0.5, "entropy_lr": 0.1, "mu_min": 0.05, "mu_max": 0.95}


def scalar(value):
    return [torch.tensor(value, dtype=torch.float64)]


class Problem:
    """A small network whose SFT loss, RL loss and utility read different data, in fp64."""

    def __init__(self, seed=0):
        torch.manual_seed(seed)
        self.net = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.Tanh(), torch.nn.Linear(6, 4)).double()
        self.names = [name for name, _ in self.net.named_parameters()]
        self.start = tuple(value.detach().clone() for value in self.net.parameters())
        self.inputs = torch.randn(3, 8, 5, dtype=torch.float64)
        self.labels = torch.randint(0, 4, (8,))
        self.actions = torch.randint(0, 4, (8, 1))
        self.advantages = torch.randn(8, dtype=torch.float64)
        self.rewards = torch.rand(8, 4, dtype=torch.float64)
        self.old = self.scores(self.start, 1).gather(1, self.actions).detach()

    def scores(self, weights, part):
        named = dict(zip(self.names, weights, strict=True))
        return functional_call(self.net, named, (self.inputs[part],)).log_softmax(-1)

    def sft(self, weights):
        return F.nll_loss(self.scores(weights, 0), self.labels)

    def rl(self, weights):
        logps, ones = self.scores(weights, 1).gather(1, self.actions), torch.ones(8, 1, dtype=torch.bool)
        return clipped_policy_loss(logps, self.old, self.advantages, ones, clip_eps=0.2).mean()

    def utility(self, weights):
        return (self.scores(weights, 2).exp() * self.rewards).sum(-1).mean()

    def blend(self, weights, mu):
        return amft_loss(self.sft(weights), self.rl(weights), mu)


def moved(weights, directions, factor):
    return tuple(value + factor * direction for value, direction in zip(weights, directions, strict=True))


def relative_error(got, wanted):
    return abs(got.item() - wanted.item()) / abs(wanted.item())


def test_amft_loss_at_the_ends_and_between():
    """mu weights SFT: 0.75 * 4 + 0.25 * 2 = 3.5 at mu 1/4."""
    sft, rl = torch.tensor(2.0), torch.tensor(4.0)
    assert amft_loss(sft, rl, 1.0).item() == 2.0 and amft_loss(sft, rl, 0.0).item() == 4.0
    assert amft_loss(sft, rl, 0.25).item() == 3.5


def test_amft_sign_sft_that_helps_raises_mu():
    """From theta = 0 with g_S = -2, g_R = 1, alpha = 0.1, mu = 0.4: theta+ = -0.1 (0.6 * 1 + 0.4 * -2) = 0.02;
    U = -(theta - 2)^2 / 2 has the slope 2 - 0.02 = 1.98; dU/dmu = 0.1 * 1.98 * (1 + 2) = 0.594. SFT moves theta towards
    2 and RL away from it, so that mu must rise."""
    theta = 0.0 - 0.1 * (0.6 * 1.0 + 0.4 * -2.0)
    slope = 2.0 - theta
    meta = mu_meta_gradient(scalar(slope), scalar(-2.0), scalar(1.0), step_size=0.1)
    assert meta.item() == pytest.approx(0.594)
    update = update_mu(0.4, meta_gradient=meta.item(), entropy=1.0, target_entropy=1.0, entropy_sign="eq6", **RATES)
    assert update.mu == pytest.approx(0.4 + 0.5 * 0.594)


def test_amft_sign_rl_that_helps_lowers_mu():
    """The mirror image, g_S = 2 and g_R = -1: theta+ = -0.1 (0.6 * -1 + 0.4 * 2) = -0.02, slope 2.02,
    dU/dmu = 0.1 * 2.02 * (-1 - 2) = -0.606."""
    meta = mu_meta_gradient(scalar(2.02), scalar(2.0), scalar(-1.0), step_size=0.1)
    assert meta.item() == pytest.approx(-0.606)
    update = update_mu(0.4, meta_gradient=meta.item(), entropy=1.0, target_entropy=1.0, entropy_sign="prose", **RATES)
    assert update.mu == pytest.approx(0.4 - 0.5 * 0.606)


@pytest.mark.parametrize("mu", [0.05, 0.4, 0.95])
def test_meta_gradient_of_one_sgd_step_equals_torch_func_and_finite_differences(mu):
    problem, rate = Problem(), 0.3
    sft_grads, rl_grads = grad(problem.sft)(problem.start), grad(problem.rl)(problem.start)

    def outcome(weight):
        return problem.utility(moved(problem.start, grad(problem.blend)(problem.start, weight), -rate))

    new = moved(problem.start, grad(problem.blend)(problem.start, mu), -rate)
    result = mu_meta_gradient(grad(problem.utility)(new), sft_grads, rl_grads, step_size=rate)
    at = torch.tensor(mu, dtype=torch.float64)
    assert relative_error(result, grad(outcome)(at)) < 1e-10
    assert relative_error(result, (outcome(at + 1e-4) - outcome(at - 1e-4)) / 2e-4) < 1e-4


def adam_outcome(problem, mu, steps, exact_moments):
    """Utility after `steps` Adam steps of torch, the last one with weight mu and the earlier ones with 0.5; with what
    the last step read and left behind."""
    problem.net.load_state_dict(dict(zip(problem.names, problem.start, strict=True)))
    optimizer = torch.optim.AdamW(problem.net.parameters(), lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)
    parameters = tuple(problem.net.parameters())
    for step in range(1, steps + 1):
        before = tuple(value.detach().clone() for value in parameters)
        gradient = grad(problem.blend)(before, mu if step == steps else 0.5)
        for parameter, value in zip(parameters, gradient, strict=True):
            parameter.grad = value
        optimizer.step()
    after = tuple(value.detach().clone() for value in parameters)
    states = [optimizer.state[parameter] for parameter in parameters]
    preconditioner = adam_preconditioner(
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        gradient,
        step=steps,
        beta1=0.8,
        beta2=0.95,
        epsilon=1e-6,
        exact=exact_moments,
    )
    return problem.utility(after), before, after, preconditioner


@pytest.mark.parametrize("steps", [1, 4])
def test_meta_gradient_of_one_adam_step_equals_finite_differences_through_torch_adam(steps):
    problem, mu = Problem(), 0.4
    _, before, after, preconditioner = adam_outcome(problem, mu, steps, True)
    result = mu_meta_gradient(
        grad(problem.utility)(after),
        grad(problem.sft)(before),
        grad(problem.rl)(before),
        step_size=0.05,
        preconditioner=preconditioner,
    )
    # At step 1 Adam's direction is close to a sign: it changes over distances of epsilon, hence the small difference.
    h = 1e-6
    high, low = adam_outcome(problem, mu + h, steps, True)[0], adam_outcome(problem, mu - h, steps, True)[0]
    assert relative_error(result, (high - low) / (2 * h)) < 1e-4


def test_meta_gradient_of_one_adam_step_equals_torch_func_through_the_update():
    problem, rate, beta1, beta2, epsilon, step = Problem(), 0.05, 0.8, 0.95, 1e-6, 5
    torch.manual_seed(3)
    first = [0.1 * torch.randn_like(value) for value in problem.start]
    second = [0.1 * torch.rand_like(value) for value in problem.start]

    def outcome(mu):
        gradient = grad(problem.blend)(problem.start, mu)
        weights = []
        for value, g, m, v in zip(problem.start, gradient, first, second, strict=True):
            m_hat = (beta1 * m + (1 - beta1) * g) / (1 - beta1**step)
            v_hat = (beta2 * v + (1 - beta2) * g**2) / (1 - beta2**step)
            weights.append(value - rate * m_hat / (v_hat.sqrt() + epsilon))
        return problem.utility(tuple(weights)), tuple(weights)

    at = torch.tensor(0.4, dtype=torch.float64)
    wanted, weights = grad(outcome, has_aux=True)(at)
    gradient = grad(problem.blend)(problem.start, at)
    moments = (
        [beta1 * m + (1 - beta1) * g for m, g in zip(first, gradient, strict=True)],
        [beta2 * v + (1 - beta2) * g**2 for v, g in zip(second, gradient, strict=True)],
    )
    options: dict[str, Any] = {"step": step, "beta1": beta1, "beta2": beta2, "epsilon": epsilon}
    sft_grads, rl_grads = grad(problem.sft)(problem.start), grad(problem.rl)(problem.start)
    results = {}
    for exact in (True, False):
        preconditioner = adam_preconditioner(*moments, gradient, exact=exact, **options)
        results[exact] = mu_meta_gradient(
            grad(problem.utility)(weights), sft_grads, rl_grads, step_size=rate, preconditioner=preconditioner
        )
    assert relative_error(results[True], wanted) < 1e-10
    assert relative_error(results[False], wanted) > 1e-4  # what holding the second moment fixed leaves out


def test_adam_preconditioner_by_hand():
    """First step, beta1 = beta2 = 1/2, gradient 3, epsilon 1: moments 1.5 and 4.5, corrected 3 and 9, root 3. Held
    fixed: (1/2)/(1/2) / (3 + 1) = 1/4. Exact: less 3 * (1 * 3 / 3) / 16 = 3/16, which leaves 1/16, the derivative of
    g / (g + 1) at 3. A clip factor of 0.5 halves it, and a coordinate without any gradient has 1 / epsilon."""
    first, second, gradient = scalar(1.5), scalar(4.5), scalar(3.0)
    options: dict[str, Any] = {"step": 1, "beta1": 0.5, "beta2": 0.5, "epsilon": 1.0}
    assert adam_preconditioner(first, second, gradient, exact=False, **options)[0].item() == 0.25
    assert adam_preconditioner(first, second, gradient, **options)[0].item() == 1 / 16
    assert adam_preconditioner(first, second, gradient, clip_factor=0.5, **options)[0].item() == 1 / 32
    assert adam_preconditioner(scalar(0.0), scalar(0.0), scalar(0.0), **options)[0].item() == 1.0


def test_forward_mode_over_several_sgd_steps_equals_torch_func():
    """z <- z - alpha H z + alpha (g_R - g_S), with the products H z from forward over reverse differentiation."""
    problem, rate, mu, steps = Problem(), 0.3, 0.4, 4
    at = torch.tensor(mu, dtype=torch.float64)

    def outcome(weight):
        weights = problem.start
        for _ in range(steps):
            weights = moved(weights, grad(problem.blend)(weights, weight), -rate)
        return problem.utility(weights)

    weights = problem.start
    tangent: list[torch.Tensor] = []
    without: list[torch.Tensor] = []
    for _ in range(steps):
        new = mu_tangent(grad(problem.sft)(weights), grad(problem.rl)(weights), step_size=rate)
        gradient = grad(lambda value: problem.blend(value, mu))
        if not tangent:
            tangent = without = new
        else:
            products = jvp(gradient, (weights,), (tuple(tangent),))[1]
            tangent = accumulate_tangent(tangent, new, step_size=rate, hessian_products=products)
            without = accumulate_tangent(without, new)
        weights = moved(weights, gradient(weights), -rate)
    utility_grads, wanted = grad(problem.utility)(weights), grad(outcome)(at)
    assert relative_error(tangent_meta_gradient(utility_grads, tangent), wanted) < 1e-10
    assert relative_error(tangent_meta_gradient(utility_grads, without), wanted) > 1e-4


def test_accumulate_tangent_by_hand():
    """0.5 * (4 - 0.1 * 10) + 3 = 4.5; without curvature 0.5 * 4 + 3 = 5."""
    old, new = scalar(4.0), scalar(3.0)
    with_curvature = accumulate_tangent(old, new, decay=0.5, step_size=0.1, hessian_products=scalar(10.0))
    assert with_curvature[0].item() == pytest.approx(4.5)
    assert accumulate_tangent(old, new, decay=0.5)[0].item() == 5.0


def test_several_parameters_add_up_and_the_preconditioner_scales_each():
    """<(1, 2), 0.5 * P * ((3, 4) - (1, 1))> = 0.5 * (1 * 2 + 2 * 3) = 4; with P = (10, 1): 0.5 * (20 + 6) = 13."""
    utility, sft, rl = (scalar(a) + scalar(b) for a, b in ((1.0, 2.0), (1.0, 1.0), (3.0, 4.0)))
    assert mu_meta_gradient(utility, sft, rl, step_size=0.5).item() == 4.0
    scale = scalar(10.0) + scalar(1.0)
    assert mu_meta_gradient(utility, sft, rl, step_size=0.5, preconditioner=scale).item() == 13.0


def test_half_precision_gradients_are_multiplied_in_fp64():
    """256 products of 1 and 1.0078125 are 258 exactly; in bfloat16 the spacing there is 2, and sums stall."""
    left, right = torch.ones(256, dtype=torch.bfloat16), torch.full((256,), 1.0078125, dtype=torch.bfloat16)
    result = tangent_meta_gradient([left], [right])
    assert result.dtype == torch.float64 and result.item() == 258.0


def test_gradient_cosine():
    """(3, 4) and (4, 3): 24/25. Opposite: -1. A zero gradient: 0 instead of NaN."""
    left = scalar(3.0) + scalar(4.0)
    assert gradient_cosine(left, scalar(4.0) + scalar(3.0)).item() == pytest.approx(0.96)
    assert gradient_cosine(left, [-value for value in left]).item() == pytest.approx(-1.0)
    assert gradient_cosine(left, scalar(0.0) + scalar(0.0)).item() == 0.0


def test_entropy_sign_prose_raises_mu_when_entropy_is_high_and_eq6_lowers_it():
    """Entropy 3 against a target of 1, rate 0.1: an increment of 0.2 either way."""
    above: dict[str, Any] = {"meta_gradient": 0.0, "entropy": 3.0, "target_entropy": 1.0, **RATES}
    prose, eq6 = update_mu(0.5, entropy_sign="prose", **above), update_mu(0.5, entropy_sign="eq6", **above)
    assert prose.mu == pytest.approx(0.7) and prose.entropy_increment == pytest.approx(0.2)
    assert eq6.mu == pytest.approx(0.3) and eq6.entropy_increment == pytest.approx(-0.2)


def test_update_mu_adds_both_terms_and_reports_them_before_the_bounds():
    """0.5 + 0.5 * 0.1 + 0.1 * (1 - 2) = 0.45; an increment of 5 ends at the bound 0.95, but is reported as 5."""
    update = update_mu(0.5, meta_gradient=0.1, entropy=2.0, target_entropy=1.0, entropy_sign="eq6", **RATES)
    assert tuple(update) == pytest.approx((0.45, 0.05, -0.1))
    level: dict[str, Any] = {"entropy": 1.0, "target_entropy": 1.0, "entropy_sign": "eq6", **RATES}
    high, low = update_mu(0.5, meta_gradient=10.0, **level), update_mu(0.5, meta_gradient=-10.0, **level)
    assert (high.mu, high.meta_increment) == (0.95, 5.0) and (low.mu, low.meta_increment) == (0.05, -5.0)


def test_entry_checks():
    level: dict[str, Any] = {
        "meta_gradient": 0.0,
        "entropy": 1.0,
        "target_entropy": 1.0,
        "entropy_sign": "eq6",
        **RATES,
    }
    with pytest.raises(ValueError, match="sft_loss has shape"):
        amft_loss(torch.zeros(2), torch.tensor(0.0), 0.5)
    with pytest.raises(ValueError, match=r"mu is 1\.5"):
        amft_loss(torch.tensor(0.0), torch.tensor(0.0), 1.5)
    with pytest.raises(ValueError, match="rl_grads has shapes"):
        mu_meta_gradient(scalar(1.0), scalar(1.0), [torch.zeros(2)], step_size=0.1)
    with pytest.raises(ValueError, match="tangent has shapes"):
        mu_meta_gradient(scalar(1.0) + scalar(1.0), scalar(1.0), scalar(1.0), step_size=0.1)
    with pytest.raises(ValueError, match="step_size is None"):
        accumulate_tangent(scalar(1.0), scalar(1.0), hessian_products=scalar(1.0))
    with pytest.raises(ValueError, match="meta_gradient is nan"):
        update_mu(0.5, **{**level, "meta_gradient": math.nan})
    with pytest.raises(ValueError, match=r"mu_min is 0\.96"):
        update_mu(0.5, **{**level, "mu_min": 0.96})
    with pytest.raises(ValueError, match="entropy_sign"):
        update_mu(0.5, **{**level, "entropy_sign": "eq7"})
    with pytest.raises(ValueError, match="step is 0"):
        adam_preconditioner(scalar(1.0), scalar(1.0), scalar(1.0), step=0, beta1=0.9, beta2=0.9, epsilon=1.0)
