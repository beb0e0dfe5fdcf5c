"""Level 0 of implicit-reward fine-tuning (after arXiv 2507.00018): f-SFT, SFT and SFT + KL on exact tables.

Departures: the paper's printed losses are unknown, this is the reconstruction of ``losses.f_sft``; preference
optimisation is not trained but exact, pi exp(r* / dpo_beta) / Z, what DPO reaches with infinitely many noisy pairs.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from data.records.tabular import TabularPolicy
from lightning_modules.base import Progress
from lightning_modules.losses.divergences import DIVERGENCES
from lightning_modules.losses.f_sft import f_sft_loss, shared_value
from lightning_modules.losses.tabular_optimum import tabular_optimum

Objective = Literal["sft", "f_sft", "sft_kl"]
Value = Literal["fixed", "prompt", "batch", "logit_gauge"]
Solver = Literal["optimum", "gradient"]


class TabularFSft:
    """Logits of every response, trained from the base policy on full batches, in fp64.

    Args:
        divergence: of f-SFT, a key of ``DIVERGENCES``.
        objective: plain SFT, f-SFT, or SFT with the explicit penalty kl_weight * KL(pi || pi0).
        beta: of f-SFT.
        value: V of f-SFT. "fixed" (choice A): the constant of the divergence; "prompt": free for every prompt; "batch"
            (choice C): one for all prompts, the best; "logit_gauge" (choice B): from the level of the logits.
        kl_weight: of "sft_kl".
        solver: "optimum" minimises (L-BFGS) until no gradient exceeds 1e-7; "gradient" takes plain gradient steps.
        learning_rate, steps: of "gradient". The loss is summed over prompts, so that a prompt's steps do not depend on
            how many there are.
        dpo_beta: of the exact preference optimisation afterwards.
    """

    trains = False

    def __init__(
        self,
        *,
        divergence: str,
        objective: Objective = "f_sft",
        beta: float = 0.5,
        value: Value = "fixed",
        kl_weight: float = 0.1,
        solver: Solver = "optimum",
        learning_rate: float = 0.5,
        steps: int = 400,
        dpo_beta: float = 0.5,
    ) -> None:
        for name, given, offered in (
            ("objective", objective, ("sft", "f_sft", "sft_kl")),
            ("divergence", divergence, tuple(DIVERGENCES)),
            ("value", value, ("fixed", "prompt", "batch", "logit_gauge")),
            ("solver", solver, ("optimum", "gradient")),
        ):
            if given not in offered:
                raise ValueError(f"method.{name} is {given!r}: give one of {', '.join(sorted(offered))}")
        for name, number in (("beta", beta), ("learning_rate", learning_rate), ("dpo_beta", dpo_beta)):
            if not number > 0:
                raise ValueError(f"method.{name} must be above 0, got {number}")
        if objective == "f_sft" and value != "fixed" and not DIVERGENCES[divergence].free_value:
            raise ValueError(
                f"method.value is {value!r}: {divergence} has no best V, its critic gains nothing past the bound while "
                "V falls; use fixed"
            )
        if kl_weight < 0:
            raise ValueError(f"method.kl_weight must be at least 0, got {kl_weight}")
        if steps < 1:
            raise ValueError(f"method.steps must be at least 1, got {steps}")
        self.objective, self.divergence, self.value, self.solver = objective, divergence, value, solver
        self.beta, self.kl_weight, self.dpo_beta = float(beta), float(kl_weight), float(dpo_beta)
        self.learning_rate, self.steps = float(learning_rate), int(steps)

    def attach(self, data: Any) -> None:
        """Nothing: all tables come with ``predict``."""

    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[TabularPolicy]:
        """Train on every prompt's demonstrations and give the policies of the prompts of a split."""
        base, shown = torch.tensor(data.base_logps), torch.tensor(data.demonstration_weights)
        logps = self.train(base, shown, progress).log_softmax(1)
        dpo_logps = (logps + torch.tensor(data.rewards) / self.dpo_beta).log_softmax(1)
        optimum = self.optimum(base, torch.tensor(data.expert_logps))
        return [
            TabularPolicy(
                identifier,
                tuple(logps[index].tolist()),
                tuple(dpo_logps[index].tolist()),
                tuple(optimum[index].tolist()),
            )
            for index, identifier in enumerate(data.examples(split, limit))
        ]

    def train(self, base_logps: Tensor, weights: Tensor, progress: Progress | None = None) -> Tensor:
        """Logits (P, R) after training on responses of those weights (P, R), which add up to 1 in every row."""
        logits = base_logps.clone().requires_grad_()
        if self.solver == "gradient":
            for step in range(self.steps):
                (gradient,) = torch.autograd.grad(self.losses(logits, base_logps, weights).sum(), logits)
                with torch.no_grad():
                    logits -= self.learning_rate * gradient
                if progress is not None:
                    progress(step + 1, self.steps)
            return logits.detach()
        search = torch.optim.LBFGS(
            [logits],
            max_iter=1000,
            tolerance_grad=1e-7,
            tolerance_change=1e-14,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            search.zero_grad()
            loss = self.losses(logits, base_logps, weights).sum()
            loss.backward()
            return loss

        search.step(closure)  # type: ignore[no-untyped-call]
        return logits.detach()

    def losses(self, logits: Tensor, base_logps: Tensor, weights: Tensor) -> Tensor:
        """(P,) losses, nats, each the expectation over a prompt's demonstrations."""
        logps = logits.log_softmax(1)
        if self.objective != "f_sft":
            penalty = self.kl_weight * (logps.exp() * (logps - base_logps)).sum(1)
            return -(weights * logps).sum(1) + (penalty if self.objective == "sft_kl" else 0.0)
        log_ratio = logps - base_logps
        value = self._value(log_ratio, logits, base_logps, weights)
        losses = f_sft_loss(log_ratio, divergence=self.divergence, beta=self.beta, value=value)
        return (weights * losses).sum(1)

    def _value(self, log_ratio: Tensor, logits: Tensor, base_logps: Tensor, weights: Tensor) -> Tensor | None:
        if self.value == "fixed":
            return None
        if self.value == "logit_gauge":
            return self.beta * (logits.logsumexp(1, keepdim=True) - base_logps.logsumexp(1, keepdim=True))
        if self.value == "prompt":
            return shared_value(log_ratio, divergence=self.divergence, beta=self.beta, weights=weights)
        shares = (weights / len(weights)).flatten()
        return shared_value(log_ratio.flatten(), divergence=self.divergence, beta=self.beta, weights=shares)

    def optimum(self, base_logps: Tensor, expert_logps: Tensor) -> Tensor:
        """Exact optimum (P, R) of the primal problem that the objective stands for; log-probabilities (P, R) in.

        SFT's is the expert. SFT + KL minimises KL(p_E || pi) + kl_weight KL(pi || pi0), which is a problem of f-SFT.
        """
        if self.objective == "f_sft":
            return tabular_optimum(base_logps, expert_logps, divergence=self.divergence, beta=self.beta)
        if self.objective == "sft_kl" and self.kl_weight > 0:
            return tabular_optimum(base_logps, expert_logps, divergence="kl_expert_policy", beta=self.kl_weight)
        return expert_logps.clone()
