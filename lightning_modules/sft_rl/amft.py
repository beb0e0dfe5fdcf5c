"""AMFT (arXiv 2508.06944): mu, the weight of SFT, is learnt from held-out reward and from the policy's entropy.

Departures from the paper: the RL term is critic-free (GRPO's) by default where the paper has PPO with a critic, which
is an option (method=amft_ppo); the meta-gradient is scaled to a cosine by default, since at the released rate of 1e-4
it moves mu by 1e-7 an update; the direction of the entropy term, on which the paper's text and its Eq. 6 differ, is an
option. The released code has the meta-gradient's
sign reversed, and no rollouts: it is no guide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from lightning_modules.losses.amft import (
    accumulate_tangent,
    adam_preconditioner,
    gradient_cosine,
    mu_tangent,
    tangent_meta_gradient,
    update_mu,
)
from lightning_modules.sft_rl.controller import AdamView, Mixer, Signals, Wants, Weights


class Amft(Mixer):
    """The controller of mu.

    Args:
        mu_init, mu_min, mu_max: of mu.
        meta_gradient: "none"; "old": utility's gradient and both losses' at the same weights (cheap); "new": utility at
            the weights after the step whose derivative by mu is taken (exact for one step, with ``preconditioner`` to
            match the optimiser); "trailing": as "new", with the steps before it, forgotten at ``tangent_decay`` and
            without curvature; "forward": forward mode, "trailing" with the Hessian of every step (for SGD exact at
            ``tangent_decay=1``; of Adam it leaves out that moments remember earlier gradients).
        meta_scale: "cosine": of utility's gradient and d(weights)/d(mu), free of scale; "raw": their product, AMFT Eq.
            5.
        meta_lr: rate of the meta-gradient; about 0.2 for cosines.
        meta_every: steps between meta-gradients (the paper's K).
        validation_prompts, validation_rollouts: fresh rollouts that each of them samples.
        preconditioner: "adam": Adam's, its second moment held fixed; "adam_exact": with the change of the second
            moment; "none": that of SGD.
        entropy_lr: rate of the entropy term; 0 leaves it out.
        entropy_sign: see ``losses.amft.update_mu``.
        target_entropy: H*, nats per token; ``None``: that of the first step's rollouts, which is the entropy after the
            warm-up.
    """

    def __init__(
        self,
        *,
        mu_init: float = 0.5,
        mu_min: float = 0.05,
        mu_max: float = 0.95,
        meta_gradient: Literal["none", "old", "new", "trailing", "forward"] = "trailing",
        meta_scale: Literal["cosine", "raw"] = "cosine",
        meta_lr: float = 0.2,
        meta_every: int = 3,
        validation_prompts: int = 128,
        validation_rollouts: int = 8,
        preconditioner: Literal["none", "adam", "adam_exact"] = "adam",
        tangent_decay: float = 0.9,
        entropy_lr: float = 0.02,
        entropy_sign: Literal["prose", "eq6"] = "eq6",
        target_entropy: float | None = None,
    ) -> None:
        super().__init__()
        for name, given, offered in (
            ("meta_gradient", meta_gradient, ("none", "old", "new", "trailing", "forward")),
            ("meta_scale", meta_scale, ("cosine", "raw")),
            ("preconditioner", preconditioner, ("none", "adam", "adam_exact")),
            ("entropy_sign", entropy_sign, ("prose", "eq6")),
        ):
            if given not in offered:
                raise ValueError(f"mixer.{name} is {given!r}: give one of {', '.join(offered)}")
        if not 0 <= mu_min <= mu_init <= mu_max <= 1:
            raise ValueError(f"0 <= mu_min <= mu_init <= mu_max <= 1 is wanted, got {mu_min}, {mu_init}, {mu_max}")
        if meta_every < 1 or validation_prompts < 1 or validation_rollouts < 2:
            raise ValueError(
                "mixer.meta_every and validation_prompts must be at least 1 and validation_rollouts at least 2, got "
                f"{meta_every}, {validation_prompts} and {validation_rollouts}"
            )
        if meta_lr < 0 or entropy_lr < 0 or not 0 <= tangent_decay <= 1:
            raise ValueError(
                "mixer.meta_lr and entropy_lr must be at least 0 and tangent_decay in [0, 1], got "
                f"{meta_lr}, {entropy_lr} and {tangent_decay}"
            )
        self.mu = float(mu_init)
        self.bounds = {"mu_min": float(mu_min), "mu_max": float(mu_max)}
        self.meta_gradient, self.meta_scale, self.preconditioner = meta_gradient, meta_scale, preconditioner
        self.meta_lr, self.meta_every, self.tangent_decay = float(meta_lr), int(meta_every), float(tangent_decay)
        self.validation = (int(validation_prompts), int(validation_rollouts))
        self.entropy_lr, self.entropy_sign = float(entropy_lr), entropy_sign
        self.target_entropy = target_entropy
        self.tangent: list[Tensor] | None = None
        self.curvature = meta_gradient == "forward"
        self._curved: Sequence[Tensor] | None = None
        self.travelled = (0.0, 0.0)

    def wants(self, step: int, total: int) -> Wants:
        """Both, always."""
        return Wants(True, True)

    def weights(self, signals: Signals) -> Weights:
        """Moves mu, then uses it: AMFT updates mu before the step that it weighs."""
        assert signals.entropy is not None
        if self.target_entropy is None:
            self.target_entropy = signals.entropy
        metrics = {"train/target_entropy": self.target_entropy}
        tangent = self._present_tangent(signals)
        measured = 0.0
        if signals.step % self.meta_every == 0 and tangent is not None:
            utility = signals.utility_gradient(*self.validation)
            product = gradient_cosine if self.meta_scale == "cosine" else tangent_meta_gradient
            measured = float(product(utility, tangent))
            metrics["train/meta_gradient"] = measured
        moved = update_mu(
            self.mu,
            meta_gradient=measured,
            entropy=signals.entropy,
            target_entropy=self.target_entropy,
            meta_lr=self.meta_lr,
            entropy_lr=self.entropy_lr,
            entropy_sign=self.entropy_sign,
            **self.bounds,
        )
        self.mu = moved.mu
        if self.curvature and self.tangent is not None:
            self._curved = signals.hessian_product(self.mu, 1.0 - self.mu, self.tangent)
        meta, entropy = self.travelled
        self.travelled = (meta + moved.meta_increment, entropy + moved.entropy_increment)
        metrics |= {
            "train/mu_meta_increment": moved.meta_increment,
            "train/mu_entropy_increment": moved.entropy_increment,
            "train/mu_meta_total": self.travelled[0],  # a log of every tenth step misses most increments
            "train/mu_entropy_total": self.travelled[1],
        }
        return Weights(self.mu, 1.0 - self.mu, metrics)

    def after_step(self, signals: Signals, weights: Weights, clip_factor: float, adam: AdamView) -> None:
        """Keeps d(weights)/d(mu) of the step that was just made."""
        if self.meta_gradient not in ("new", "trailing", "forward"):
            return
        sft, rl = _both(signals)
        blended = [clip_factor * (weights.sft * s + weights.rl * r) for s, r in zip(sft, rl, strict=True)]
        scale = self._scale(adam, blended, clip_factor)
        made = mu_tangent(sft, rl, step_size=adam.learning_rate, preconditioner=scale)
        if self.meta_gradient != "new" and self.tangent is not None:
            curved = self._curved
            if curved is not None and scale is not None:
                curved = [factor * product for factor, product in zip(scale, curved, strict=True)]
            made = accumulate_tangent(
                self.tangent, made, decay=self.tangent_decay, step_size=adam.learning_rate, hessian_products=curved
            )
        self._curved = None
        self.tangent = made

    def state(self) -> dict[str, Any]:
        """See ``Mixer``."""
        return {
            "mu": self.mu,
            "target_entropy": self.target_entropy,
            "tangent": self.tangent,
            "travelled": self.travelled,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See ``Mixer``."""
        self.mu, self.target_entropy = state["mu"], state["target_entropy"]
        self.tangent, self.travelled = state["tangent"], state["travelled"]

    def _present_tangent(self, signals: Signals) -> Sequence[Tensor] | None:
        """d(weights)/d(mu) that goes with utility's gradient at the present weights; ``None`` where there is none."""
        if self.meta_gradient == "none":
            return None
        if self.meta_gradient != "old":
            return self.tangent
        if signals.adam is None:
            return None  # Adam's first step has no moments to precondition by
        sft, rl = _both(signals)
        blended = [self.mu * s + (1 - self.mu) * r for s, r in zip(sft, rl, strict=True)]
        return mu_tangent(
            sft, rl, step_size=signals.adam.learning_rate, preconditioner=self._scale(signals.adam, blended, 1.0)
        )

    def _scale(self, adam: AdamView, blended: Sequence[Tensor], clip_factor: float) -> list[Tensor] | None:
        if self.preconditioner == "none":
            return None
        return adam_preconditioner(
            adam.first_moments,
            adam.second_moments,
            blended,
            step=adam.step,
            beta1=adam.betas[0],
            beta2=adam.betas[1],
            epsilon=adam.epsilon,
            clip_factor=clip_factor,
            exact=self.preconditioner == "adam_exact",
        )


def _both(signals: Signals) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    assert signals.sft_grads is not None and signals.rl_grads is not None
    return signals.sft_grads, signals.rl_grads
