"""Other published ways of mixing imitation and reward, each a ``controller.Mixer`` on the same problems as all others.

Departures that all share: one sampler, optimiser and RL term (GRPO unless the config says otherwise); one optimiser for
both kinds of steps; the token means of ``mixers``. Prefix-RFT and BRIDGE are not here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.records.texts import Demonstration
from lightning_modules.losses.logps import aggregate_tokens
from lightning_modules.losses.sft import sft_loss
from lightning_modules.rl.terms import GroupRelative, Rolled, token_mean
from lightning_modules.sft_rl.controller import (
    AdamView,
    Demonstrated,
    Material,
    Mixer,
    Scheduled,
    Signals,
    Wants,
    Weights,
)


class Chord(Scheduled):
    """CHORD (after Trinity-RFT's ``mix_chord``): mu rises linearly to a peak, falls along a cosine to a valley; every
    demonstrated token weighs p (1 - p), which spares what is known and what is out of reach.

    Args:
        peak, valley: of mu, in [0, 1].
        rise, fall: shares of the steps.
        token_weights: the weights p (1 - p); ``False`` is the schedule alone.
    """

    def __init__(
        self, *, peak: float = 0.5, valley: float = 0.02, rise: float = 0.1, fall: float = 0.6,
        token_weights: bool = True
    ) -> None:  # fmt: skip
        super().__init__()
        if not 0 <= valley <= peak <= 1 or rise < 0 or fall <= 0 or rise + fall > 1:
            raise ValueError(
                "0 <= valley <= peak <= 1, rise >= 0, fall > 0 and rise + fall <= 1 are wanted, got "
                f"{valley}, {peak}, {rise}, {fall}"
            )
        self.peak, self.valley, self.rise, self.fall, self.token_weights = peak, valley, rise, fall, token_weights

    def mu(self, share: float) -> float:
        """See ``Scheduled``."""
        if share < self.rise:
            return self.peak * share / self.rise
        gone = min(1.0, (share - self.rise) / self.fall)
        return self.valley + (self.peak - self.valley) * 0.5 * (1 + math.cos(math.pi * gone))

    def sft_loss(self, material: Material) -> Tensor:
        """See ``Mixer``."""
        shown, _ = _parts(material, rolled=False)
        if not self.token_weights:
            return super().sft_loss(material)
        chance = shown.logps.detach().exp()
        return token_mean(sft_loss(chance * (1 - chance) * shown.logps, shown.mask, per_sequence="sum"), shown.mask)


class Luffy(Mixer):
    """LUFFY (arXiv 2504.14945): the demonstration joins the group of its problem's rollouts, with reward 1. Its tokens
    have no ratio but f(p) = p / (p + gamma), which keeps unlikely ones alive, and are not clipped.

    Args:
        gamma: of f, above 0 (0.1 in the paper).
    """

    joins_groups = True

    def __init__(self, *, gamma: float = 0.1) -> None:
        super().__init__()
        if not gamma > 0:
            raise ValueError(f"mixer.gamma must be above 0, got {gamma}")
        self.gamma = gamma

    def wants(self, step: int, total: int) -> Wants:
        """See ``Mixer``."""
        return Wants(True, True)

    def sft_loss(self, material: Material) -> Tensor:
        """The demonstrations' part of the group's loss, over the tokens of both."""
        shown, rolled = _parts(material)
        chance = shown.logps.exp()
        gains = self._advantages(rolled)[:, -1:] * chance / (chance + self.gamma)
        return -aggregate_tokens(gains, shown.mask, per_sequence="sum").sum() / _tokens(shown, rolled)

    def rl_loss(self, material: Material) -> Tensor:
        """The rollouts' part."""
        shown, rolled = _parts(material)
        losses = self._group.sums(rolled, self._advantages(rolled)[:, :-1].flatten())
        return losses.sum() / _tokens(shown, rolled)

    def weights(self, signals: Signals) -> Weights:
        """One group, one loss: both parts as they are."""
        return Weights(1.0, 1.0)

    def _advantages(self, rolled: Rolled) -> Tensor:
        """(P, G + 1), the demonstration last."""
        joined = torch.cat([rolled.rewards, torch.ones_like(rolled.rewards[:, :1])], dim=1)
        return self._group.of_rewards(joined)

    @property
    def _group(self) -> GroupRelative:
        assert isinstance(self.rl, GroupRelative)  # ``Mixing`` refuses any other term
        return self.rl


class Srft(Luffy):
    """SRFT (arXiv 2506.19767): beside the group with its demonstration, imitation of demonstrations with the weight
    0.5 exp(-H) and of the own right answers with 0.1 exp(H), H the policy's entropy. (The public code is reported to
    have exp(+H) at the demonstrations.)

    Args:
        demonstration_weight, own_weight: 0.5 and 0.1 in the paper.
        entropy_sign: -1 as in the paper, +1 as in the code, of the exponent at demonstrations.
        gamma: as of ``Luffy``.
    """

    def __init__(
        self, *, demonstration_weight: float = 0.5, own_weight: float = 0.1, entropy_sign: int = -1,
        gamma: float = 0.1
    ) -> None:  # fmt: skip
        super().__init__(gamma=gamma)
        if demonstration_weight < 0 or own_weight < 0 or entropy_sign not in (-1, 1):
            raise ValueError("weights of at least 0 and an entropy_sign of -1 or 1 are wanted")
        self.demonstration_weight, self.own_weight, self.entropy_sign = demonstration_weight, own_weight, entropy_sign

    def sft_loss(self, material: Material) -> Tensor:
        """See ``Luffy``, and the imitation of demonstrations."""
        _, rolled = _parts(material)
        weight = self.demonstration_weight * math.exp(self.entropy_sign * rolled.entropy)
        return super().sft_loss(material) + weight * Mixer.sft_loss(self, material)

    def rl_loss(self, material: Material) -> Tensor:
        """See ``Luffy``, and the imitation of the own right answers."""
        _, rolled = _parts(material)
        right = rolled.mask & (rolled.rewards.flatten() > 0)[:, None]
        own = token_mean(sft_loss(rolled.logps, right, per_sequence="sum"), right)
        return super().rl_loss(material) + self.own_weight * math.exp(rolled.entropy) * own


class Hpt(Mixer):
    """HPT (arXiv 2509.04419): a problem of which at most ``gate`` rollouts succeed is imitated, any other is left to
    RL. The loss is the mean over problems.

    Args:
        gate: 0 in the paper's Qwen runs.
    """

    def __init__(self, *, gate: int = 0) -> None:
        super().__init__()
        if gate < 0:
            raise ValueError(f"mixer.gate must be at least 0, got {gate}")
        self.gate = gate

    def wants(self, step: int, total: int) -> Wants:
        """See ``Mixer``."""
        return Wants(True, True)

    def sft_loss(self, material: Material) -> Tensor:
        """Of the problems that did not pass; 0 where all did."""
        shown, rolled = _parts(material)
        mask = shown.mask & self._gated(rolled.rewards)[:, None]
        return token_mean(sft_loss(shown.logps, mask, per_sequence="sum"), mask)

    def rl_loss(self, material: Material) -> Tensor:
        """Of the problems that passed."""
        _, rolled = _parts(material)
        passed = ~self._gated(rolled.rewards)
        mask = rolled.mask & passed.repeat_interleave(rolled.rewards.shape[1])[:, None]
        return self.rl.loss(rolled._replace(mask=mask), self.rl.advantages(rolled))

    def weights(self, signals: Signals) -> Weights:
        """Shares of the problems."""
        assert signals.rewards is not None
        share = float(self._gated(signals.rewards).float().mean())
        return Weights(share, 1.0 - share)

    def _gated(self, rewards: Tensor) -> Tensor:
        return rewards.sum(1) <= self.gate


class Relift(Mixer):
    """ReLIFT (arXiv 2506.07527): RL; problems that no rollout solves are kept, and as soon as there are ``collected``
    of them a step imitates their demonstrations instead. The paper gives those steps an optimiser of their own.

    Args:
        collected: problems of an imitating step.
    """

    def __init__(self, *, collected: int = 64) -> None:
        super().__init__()
        if collected < 1:
            raise ValueError(f"mixer.collected must be at least 1, got {collected}")
        self.collected = collected
        self._kept: list[Demonstration] = []

    def wants(self, step: int, total: int) -> Wants:
        """See ``Mixer``."""
        full = len(self._kept) >= self.collected
        return Wants(full, not full)

    def shown(self, items: Sequence[Demonstration]) -> Sequence[Demonstration]:
        """See ``Mixer``."""
        return self._kept[: self.collected]

    def weights(self, signals: Signals) -> Weights:
        """See ``Mixer``."""
        imitating = signals.sft_grads is not None
        return Weights(1.0, 0.0) if imitating else Weights(0.0, 1.0)

    def after_step(self, signals: Signals, weights: Weights, clip_factor: float, adam: AdamView) -> None:
        """Keeps what failed, drops what was imitated."""
        if signals.rewards is None:
            self._kept = self._kept[self.collected :]
            return
        failed = (signals.rewards.amax(1) <= 0).tolist()
        self._kept += [item for item, hard in zip(signals.items, failed, strict=True) if hard]

    def state(self) -> dict[str, Any]:
        """See ``Mixer``."""
        return {"kept": [tuple(item) for item in self._kept]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See ``Mixer``."""
        self._kept = [Demonstration(*item) for item in state["kept"]]


class Sasr(Mixer):
    """SASR (arXiv 2505.13026): every step is SFT with the probability |g_S| / (|g_S| + gamma |g_S at the start|), else
    RL: much imitation while the demonstrations still teach something. No code was released; |g_S| is that of the step
    before.

    Args:
        gamma: at least 0.
    """

    def __init__(self, *, gamma: float = 1.0) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"mixer.gamma must be at least 0, got {gamma}")
        self.gamma = gamma
        self._first: float | None = None
        self._newest = 0.0

    def chance(self) -> float:
        """Probability that the coming step is SFT; 1 before the first."""
        if self._first is None or self._newest == 0.0:
            return 1.0
        return self._newest / (self._newest + self.gamma * self._first)

    def wants(self, step: int, total: int) -> Wants:
        """Demonstrations always: their gradient decides the next step."""
        drawn = np.random.default_rng([self.seed, step, 3]).random()
        return Wants(True, bool(drawn >= self.chance()))

    def weights(self, signals: Signals) -> Weights:
        """See ``Mixer``."""
        assert signals.sft_grads is not None
        metrics = {"train/sft_chance": self.chance()}
        self._newest = float(torch.stack([grad.norm() for grad in signals.sft_grads]).norm())
        self._first = self._newest if self._first is None else self._first
        return Weights(0.0, 1.0, metrics) if signals.rl_grads is not None else Weights(1.0, 0.0, metrics)

    def state(self) -> dict[str, Any]:
        """See ``Mixer``."""
        return {"first": self._first, "newest": self._newest}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See ``Mixer``."""
        self._first, self._newest = state["first"], state["newest"]


def _parts(material: Material, *, rolled: bool = True) -> tuple[Any, Any]:
    if material.demonstrated is None or (rolled and material.rolled is None):
        raise ValueError("the mixer uses a loss whose material it did not want: see Mixer.wants")
    return material.demonstrated, material.rolled


def _tokens(shown: Demonstrated, rolled: Rolled) -> Tensor:
    return (shown.mask.sum() + rolled.mask.sum()).clamp(min=1)
