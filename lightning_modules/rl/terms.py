"""The reward loss of a step, as plug-ins: relative to the other rollouts of a group, or to a critic.

``GroupRelative`` is GRPO (arXiv 2402.03300) as it stands; Dr. GRPO, RLOO and DAPO are its options, see ``conf/method``.
``Ppo`` is PPO's clipped loss (arXiv 1707.06347) with generalised advantages (arXiv 1506.02438).

Departures: one update per batch, so that the ratio is 1 and clipping matters only where sampler and training differ;
DAPO's dynamic sampling (drawing problems again whose group has equal rewards) is left out, such groups being counted.

Shapes: P problems, G rollouts of each, N = P * G, L response tokens, H width of the states.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from lightning_modules.losses.logps import aggregate_tokens, per_global_token
from lightning_modules.losses.policy_gradient import (
    clipped_policy_loss,
    generalised_advantages,
    group_advantages,
    kl_estimates,
    value_loss,
)


class Rolled(NamedTuple):
    """Own answers.

    Attributes:
        logps: (N, L) with their graph, at the sampling temperature, nats.
        old_logps: (N, L), of the sampler; constants.
        mask: (N, L).
        rewards: (P, G), 0 or 1.
        entropy: mean over all tokens of -log p, nats: an unbiased estimate of the policy's entropy on its own text.
        states: (N, L, H) that predict the tokens, constants; ``None`` where no one wants them.
    """

    logps: Tensor
    old_logps: Tensor
    mask: Tensor
    rewards: Tensor
    entropy: float
    states: Tensor | None = None


class RlTerm(Protocol):
    """What makes a loss of rollouts.

    Attributes:
        of_groups: whether advantages compare the rollouts of a group, so that a demonstration may join it.
        wants_states: whether ``Rolled.states`` are read.
    """

    of_groups: bool
    wants_states: bool

    def start(self, *, seed: int) -> None:
        """Told the seed of the training, for what it trains itself. Called once, before the first step."""
        ...

    def advantages(self, rolled: Rolled) -> Tensor:
        """(N,) of answers, or (N, L) of their tokens; constants."""
        ...

    def loss(self, rolled: Rolled, advantages: Tensor) -> Tensor:
        """A scalar to descend; 0, with a graph, where nothing is to be learnt."""
        ...

    def after_step(self) -> Mapping[str, float]:
        """Told after the policy has moved; gives what is to be logged."""
        ...

    def state(self) -> dict[str, Any]:
        """All that a resumed training needs; goes into checkpoints."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes over what ``state`` gave."""
        ...


class _Clipped:
    """What all terms share: the clipped loss and how it is averaged."""

    def __init__(
        self,
        *,
        clip_eps: float = 0.2,
        clip_eps_high: float | None = None,
        average: Literal["tokens", "sequences", "constant"] = "tokens",
        constant: int | None = None,
    ) -> None:
        if not 0 < clip_eps <= 1:
            raise ValueError(f"rl.clip_eps must be above 0 and at most 1, got {clip_eps}")
        if clip_eps_high is not None and not clip_eps_high > 0:
            raise ValueError(f"rl.clip_eps_high must be above 0 or null, got {clip_eps_high}")
        if average not in ("tokens", "sequences", "constant"):
            raise ValueError(f"rl.average must be tokens, sequences or constant, got {average!r}")
        if (average == "constant") != (constant is not None) or (constant is not None and constant < 1):
            raise ValueError(f"rl.constant is a length of at least 1 for average=constant, else null, got {constant}")
        self.clip_eps = clip_eps
        self.clip_eps_high = clip_eps_high
        self.average = average
        self.constant = constant

    def sums(self, rolled: Rolled, advantages: Tensor) -> Tensor:
        """Clipped losses of the answers, each summed over its tokens: (N,)."""
        return clipped_policy_loss(
            rolled.logps,
            rolled.old_logps,
            advantages,
            rolled.mask,
            clip_eps=self.clip_eps,
            clip_eps_high=self.clip_eps_high,
            per_sequence="sum",
        )

    def loss(self, rolled: Rolled, advantages: Tensor) -> Tensor:
        """See ``RlTerm``: the mean over all tokens of the step, or of the answers' own means, or of sums by length."""
        sums = self.sums(rolled, advantages)
        if self.average == "tokens":
            return token_mean(sums, rolled.mask)
        lengths = rolled.mask.sum(1)
        answers = (lengths > 0).sum().clamp(min=1)
        return (sums / (lengths.clamp(min=1) if self.constant is None else self.constant)).sum() / answers


class GroupRelative(_Clipped):
    """Advantages relative to the other rollouts of a problem.

    Args:
        baseline: "group_mean", or "leave_one_out" (RLOO).
        normalise_std: divide by the group's standard deviation (GRPO); Dr. GRPO and RLOO do not.
        clip_eps: of the ratio between the policy and the one that sampled.
        clip_eps_high: above 1, where it differs (DAPO); ``None``: the same.
        average: "tokens": over all tokens of the step; "sequences": of each answer's mean, as GRPO was published;
            "constant": of sums divided by the length ``constant`` (Dr. GRPO).
        constant: that length, tokens.
    """

    of_groups = True
    wants_states = False

    def __init__(
        self,
        *,
        baseline: Literal["group_mean", "leave_one_out"] = "group_mean",
        normalise_std: bool = True,
        clip_eps: float = 0.2,
        clip_eps_high: float | None = None,
        average: Literal["tokens", "sequences", "constant"] = "tokens",
        constant: int | None = None,
    ) -> None:
        super().__init__(clip_eps=clip_eps, clip_eps_high=clip_eps_high, average=average, constant=constant)
        if baseline not in ("group_mean", "leave_one_out"):
            raise ValueError(f"rl.baseline must be group_mean or leave_one_out, got {baseline!r}")
        self.baseline = baseline
        self.normalise_std = normalise_std

    def start(self, *, seed: int) -> None:
        """Nothing to draw."""

    def of_rewards(self, rewards: Tensor) -> Tensor:
        """Advantages (P, G) of rewards (P, G)."""
        return group_advantages(rewards, normalise_std=self.normalise_std, baseline=self.baseline)

    def advantages(self, rolled: Rolled) -> Tensor:
        """See ``RlTerm``: one for each answer."""
        return self.of_rewards(rolled.rewards).flatten()

    def after_step(self) -> Mapping[str, float]:
        """Nothing to learn."""
        return {}

    def state(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing to take over."""


class Ppo(_Clipped):
    """Advantages of tokens against a critic, which is trained on their returns.

    The critic is a small network on the policy's states, fp32, with an optimiser of its own; no gradient of it reaches
    the policy, so that the reward loss and the meta-gradient stay what they are. An answer's reward comes with its last
    token; with several turns, what the world writes in between is no step.

    Args:
        clip_eps, clip_eps_high, average, constant: see ``GroupRelative``.
        gamma: discount per token; ``gae_lambda``: of the generalised advantages; both in [0, 1].
        whiten: advantages of a step get mean 0 and standard deviation 1 over their tokens.
        critic_width: units of the critic's hidden layer.
        critic_rate: its learning rate (AdamW).
        critic_steps: its updates after every step of the policy, on that step's rollouts.
        value_clip: of value losses, as PPO's first release had it; ``None``: plain squared error.
        critic_warmup: first steps in which only the critic learns, and the policy's loss is 0.
    """

    of_groups = False
    wants_states = True

    def __init__(
        self,
        *,
        clip_eps: float = 0.2,
        clip_eps_high: float | None = None,
        average: Literal["tokens", "sequences", "constant"] = "tokens",
        constant: int | None = None,
        gamma: float = 1.0,
        gae_lambda: float = 0.95,
        whiten: bool = True,
        critic_width: int = 64,
        critic_rate: float = 1e-3,
        critic_steps: int = 4,
        value_clip: float | None = None,
        critic_warmup: int = 5,
    ) -> None:
        super().__init__(clip_eps=clip_eps, clip_eps_high=clip_eps_high, average=average, constant=constant)
        if not 0 <= gamma <= 1 or not 0 <= gae_lambda <= 1:
            raise ValueError(f"rl.gamma and gae_lambda must lie in 0..1, got {gamma}, {gae_lambda}")
        if critic_width < 1 or critic_steps < 1 or critic_warmup < 0 or not 0 < critic_rate < 1:
            raise ValueError(
                "rl.critic_width and critic_steps of at least 1, critic_warmup of at least 0 and critic_rate between 0 "
                f"and 1 are wanted, got {critic_width}, {critic_steps}, {critic_warmup}, {critic_rate}"
            )
        if value_clip is not None and not value_clip > 0:
            raise ValueError(f"rl.value_clip must be above 0 or null, got {value_clip}")
        self.gamma, self.gae_lambda, self.whiten = gamma, gae_lambda, whiten
        self.critic_width, self.critic_rate, self.critic_steps = critic_width, critic_rate, critic_steps
        self.value_clip, self.critic_warmup = value_clip, critic_warmup
        self.critic: nn.Sequential | None = None
        self.optimiser: torch.optim.Optimizer | None = None
        self.seed = 0
        self.steps = 0
        self._seen: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def start(self, *, seed: int) -> None:
        """See ``RlTerm``."""
        self.seed = seed

    def build(self, width: int) -> None:
        """The critic and its optimiser for states of a width; the first values are 0."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed + 11)
            last = nn.Linear(self.critic_width, 1)
            self.critic = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, self.critic_width), nn.SiLU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.optimiser = torch.optim.AdamW(self.critic.parameters(), lr=self.critic_rate, weight_decay=0.0)

    def values(self, states: Tensor) -> Tensor:
        """What the critic expects before each token: (N, L, H) -> (N, L), fp32."""
        if self.critic is None:
            self.build(states.shape[-1])
        assert self.critic is not None
        with torch.autocast(states.device.type, enabled=False):
            return self.critic.to(states.device)(states.float())[..., 0]

    def advantages(self, rolled: Rolled) -> Tensor:
        """See ``RlTerm``: (N, L)."""
        if rolled.states is None:
            raise ValueError("PPO reads the states of the rollouts, and got none")
        with torch.no_grad():
            values = self.values(rolled.states)
            rewards = last_token_rewards(rolled.rewards.flatten(), rolled.mask)
            found = generalised_advantages(rewards, values, rolled.mask, gamma=self.gamma, gae_lambda=self.gae_lambda)
        self._seen = (rolled.states, values, found.returns, rolled.mask)
        return whitened(found.advantages, rolled.mask) if self.whiten else found.advantages

    def loss(self, rolled: Rolled, advantages: Tensor) -> Tensor:
        """See ``RlTerm``."""
        found = super().loss(rolled, advantages)
        return found * 0.0 if self.steps < self.critic_warmup else found

    def after_step(self) -> Mapping[str, float]:
        """Trains the critic on the step's returns; logs its error and the share of their variance that it explains."""
        if self._seen is None:  # a step without rollouts
            return {}
        assert self.critic is not None and self.optimiser is not None
        states, old, returns, mask = self._seen
        first = None
        for _ in range(self.critic_steps):
            values = self.values(states)
            errors = value_loss(values, old, returns, mask, clip_range=self.value_clip, per_sequence="sum")
            error = token_mean(errors, mask)
            first = error.item() if first is None else first
            self.optimiser.zero_grad()
            error.backward()
            nn.utils.clip_grad_norm_(self.critic.parameters(), 1.0)
            self.optimiser.step()
        self.steps += 1
        self._seen = None
        spread = returns[mask].var(correction=0)
        unexplained = (returns - old)[mask].var(correction=0)
        explained = 0.0 if spread == 0 else 1.0 - float(unexplained / spread)
        return {"train/value_loss": first or 0.0, "train/value_explained": explained}

    def state(self) -> dict[str, Any]:
        """See ``RlTerm``."""
        if self.critic is None or self.optimiser is None:  # no rollouts yet
            return {}
        held = {"critic": self.critic.state_dict(), "optimiser": self.optimiser.state_dict(), "steps": self.steps}
        return copy.deepcopy(held)  # both hand out their own tensors, which the next step changes

    def restore(self, state: Mapping[str, Any]) -> None:
        """See ``RlTerm``."""
        if not state:
            return
        self.build(state["critic"]["0.weight"].shape[0])
        assert self.critic is not None and self.optimiser is not None
        self.critic.load_state_dict(state["critic"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps = state["steps"]


def last_token_rewards(rewards: Tensor, mask: Tensor) -> Tensor:
    """Rewards of answers (N,) at the last token of each, in (N, L); nothing where an answer has no token."""
    places = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask, places, -1).amax(1, keepdim=True)
    return torch.where(places == last, rewards[:, None], torch.zeros_like(rewards)[:, None])


def whitened(advantages: Tensor, mask: Tensor) -> Tensor:
    """(N, L) with mean 0 and standard deviation 1 over the mask's tokens, 0 elsewhere; equal ones become 0."""
    kept = advantages[mask]
    if kept.numel() < 2 or kept.amax() == kept.amin():
        return torch.zeros_like(advantages)
    return torch.where(mask, (advantages - kept.mean()) / (kept.std() + 1e-8), torch.zeros_like(advantages))


def token_mean(sums: Tensor, mask: Tensor) -> Tensor:
    """Sums of sequences (N,) -> their total over all tokens of the step; 0 for a step without tokens."""
    return per_global_token(sums, token_count=mask.sum()).sum()


def kl_term(logps: Tensor, ref_logps: Tensor, mask: Tensor, *, estimator: Literal["k1", "k2", "k3"]) -> Tensor:
    """Mean over tokens of an estimate of KL(policy || reference) on own answers, nats; (N, L) each -> ()."""
    estimates = kl_estimates(logps, ref_logps, estimator=estimator)
    return token_mean(aggregate_tokens(estimates, mask, per_sequence="sum"), mask)
