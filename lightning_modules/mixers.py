"""The interface of everything that decides how imitation and reward are mixed, and the mixers without a controller.

A mixer sees what one step has: demonstrations of the step's problems, and groups of rollouts to the same problems. It
makes two scalar losses of them, and gives both a weight. ``mixing.Mixing`` does all else, alike for every mixer.

Shapes: P problems, G rollouts of each, N = P * G, L response tokens. The problems of demonstrations and groups agree
row by row. Weights and log-probabilities are those before the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from data.records.texts import Demonstration
from lightning_modules.losses.logps import per_global_token
from lightning_modules.losses.policy_gradient import clipped_policy_loss, group_advantages
from lightning_modules.losses.sft import sft_loss


class Wants(NamedTuple):
    """Which material a step needs; what no one wants is not made, and costs nothing."""

    demonstrations: bool
    rollouts: bool


class Demonstrated(NamedTuple):
    """Log-probabilities (P, L) of the demonstrations with their graph, nats, and the mask of their tokens."""

    logps: Tensor
    mask: Tensor


class Rolled(NamedTuple):
    """Own answers.

    Attributes:
        logps: (N, L) with their graph, at the sampling temperature, nats.
        old_logps: (N, L), of the sampler; constants.
        mask: (N, L).
        rewards: (P, G), 0 or 1.
        entropy: mean over all tokens of -log p, nats: an unbiased estimate of the policy's entropy on its own text.
    """

    logps: Tensor
    old_logps: Tensor
    mask: Tensor
    rewards: Tensor
    entropy: float


class Material(NamedTuple):
    """What one step has; ``None`` for what was not wanted."""

    demonstrated: Demonstrated | None
    rolled: Rolled | None
    step: int
    total: int


class AdamView(NamedTuple):
    """What the optimiser knows, one tensor per trained parameter; moments are those after its newest step."""

    first_moments: Sequence[Tensor]
    second_moments: Sequence[Tensor]
    step: int
    learning_rate: float
    betas: tuple[float, float]
    epsilon: float


class Signals(NamedTuple):
    """What a mixer may weigh the losses by.

    Attributes:
        items: the step's problems; ``rewards`` (P, G) are in their order.
        sft_grads, rl_grads: of the two losses, one tensor per trained parameter; ``None`` for a loss that is not there.
        utility_gradient: samples fresh answers to held-out problems and gives the gradient of their mean reward, to be
            raised, at the present weights, from the number of problems and the rollouts of each. Costs what it costs.
        adam: the optimiser as it is before this step; ``None`` before its first.
    """

    step: int
    total: int
    seed: int
    items: Sequence[Demonstration]
    entropy: float | None
    rewards: Tensor | None
    sft_grads: Sequence[Tensor] | None
    rl_grads: Sequence[Tensor] | None
    utility_gradient: Callable[[int, int], Sequence[Tensor]]
    adam: AdamView | None


class Weights(NamedTuple):
    """Factors of the two gradients, and what else is to be logged."""

    sft: float
    rl: float
    metrics: Mapping[str, float] = {}


class Mixer:
    """Plain GRPO, from which all mixers start: SFT's loss is the mean over tokens, RL's is GRPO's with that mean.

    Args:
        clip_eps: of the ratio between the policy and the one that sampled.
        normalise_std: divide advantages by the group's standard deviation (GRPO); ``False`` is Dr. GRPO's advantage.

    Attributes:
        seed: of the training; set before its first step, for mixers that draw.
        replays: whether it takes over the mu of the training that it starts from, and that training's own start.
    """

    replays = False

    def __init__(self, *, clip_eps: float = 0.2, normalise_std: bool = True) -> None:
        if not 0 < clip_eps <= 1:
            raise ValueError(f"mixer.clip_eps must be above 0 and at most 1, got {clip_eps}")
        self.clip_eps = clip_eps
        self.normalise_std = normalise_std
        self.seed = 0

    def wants(self, step: int, total: int) -> Wants:
        """What the step ``step`` (from 0) of ``total`` needs."""
        return Wants(False, True)

    def shown(self, items: Sequence[Demonstration]) -> Sequence[Demonstration]:
        """The demonstrations that a step imitates: those of its own problems."""
        return items

    def sft_loss(self, material: Material) -> Tensor:
        """The imitation loss, a scalar."""
        shown = _there(material.demonstrated)
        return token_mean(sft_loss(shown.logps, shown.mask, per_sequence="sum"), shown.mask)

    def rl_loss(self, material: Material) -> Tensor:
        """The reward loss, a scalar: 0, with a graph, where every group has equal rewards."""
        rolled = _there(material.rolled)
        return self.policy_loss(rolled, group_advantages(rolled.rewards, normalise_std=self.normalise_std))

    def policy_loss(self, rolled: Rolled, advantages: Tensor) -> Tensor:
        """Clipped surrogate of all rollouts for advantages (P, G), as the mean over their tokens."""
        losses = clipped_policy_loss(
            rolled.logps, rolled.old_logps, advantages.flatten(), rolled.mask, clip_eps=self.clip_eps,
            per_sequence="sum",
        )  # fmt: skip
        return token_mean(losses, rolled.mask)

    def weights(self, signals: Signals) -> Weights:
        """Factors of g_S and g_R in this step's gradient."""
        return Weights(0.0, 1.0)

    def after_step(self, signals: Signals, weights: Weights, clip_factor: float, adam: AdamView) -> None:
        """Told after the optimiser has moved: by what its gradient was clipped, and how it stands now."""

    def state(self) -> dict[str, Any]:
        """All that a resumed training needs of the mixer; goes into checkpoints."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes over what ``state`` gave."""

    def replay(self, trajectory: Sequence[float]) -> None:
        """Hears the mu of every step of the training that it starts from; only controls listen."""


class Imitation(Mixer):
    """SFT alone: no rollouts, mu = 1."""

    def wants(self, step: int, total: int) -> Wants:
        """See ``Mixer``."""
        return Wants(True, False)

    def weights(self, signals: Signals) -> Weights:
        """See ``Mixer``."""
        return Weights(1.0, 0.0)


class Scheduled(Mixer):
    """mu is a function of the share of the training done so far; where it is 0 or 1, the other loss is not computed."""

    def mu(self, share: float) -> float:
        """mu for a share in [0, 1)."""
        raise NotImplementedError

    def wants(self, step: int, total: int) -> Wants:
        """See ``Mixer``."""
        mu = self.mu(step / total)
        return Wants(mu > 0.0, mu < 1.0)

    def weights(self, signals: Signals) -> Weights:
        """See ``Mixer``."""
        mu = self.mu(signals.step / signals.total)
        return Weights(mu, 1.0 - mu)


class FixedMu(Scheduled):
    """The same mu all along.

    Args:
        mu: weight of SFT, in [0, 1].
        options: as of ``Mixer``.
    """

    def __init__(self, *, mu: float = 0.5, clip_eps: float = 0.2, normalise_std: bool = True) -> None:
        super().__init__(clip_eps=clip_eps, normalise_std=normalise_std)
        self._mu = _share("mu", mu)

    def mu(self, share: float) -> float:
        """See ``Scheduled``."""
        return self._mu


class SftThenRl(Scheduled):
    """SFT for the first steps, RL for the others: the baseline that mixed methods must beat at equal compute.

    Args:
        switch: share of the steps that are SFT.
    """

    def __init__(self, *, switch: float = 0.3, clip_eps: float = 0.2, normalise_std: bool = True) -> None:
        super().__init__(clip_eps=clip_eps, normalise_std=normalise_std)
        self._switch = _share("switch", switch)

    def mu(self, share: float) -> float:
        """See ``Scheduled``."""
        return 1.0 if share < self._switch else 0.0


class Schedule(Scheduled):
    """mu moves from ``mu_start`` to ``mu_end``.

    Args:
        mu_start, mu_end: in [0, 1].
        shape: "linear" or "cosine".
    """

    def __init__(
        self, *, mu_start: float = 0.8, mu_end: float = 0.05, shape: str = "linear", clip_eps: float = 0.2,
        normalise_std: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(clip_eps=clip_eps, normalise_std=normalise_std)
        if shape not in ("linear", "cosine"):
            raise ValueError(f"mixer.shape must be linear or cosine, got {shape!r}")
        self._start, self._end, self._shape = _share("mu_start", mu_start), _share("mu_end", mu_end), shape

    def mu(self, share: float) -> float:
        """See ``Scheduled``."""
        gone = share if self._shape == "linear" else 0.5 * (1 - math.cos(math.pi * share))
        return self._start + (self._end - self._start) * gone


class Replayed(Mixer):
    """Controls of a learnt mu: the trajectory of the training that this one starts from, without what it reacted to.

    Args:
        order: "same" gives every step the mu that it had there; "shuffled" the same values in another order; "mean"
            their mean, all along. A training of another length reads the trajectory at the same share of its steps.
    """

    replays = True

    def __init__(self, *, order: str = "mean", clip_eps: float = 0.2, normalise_std: bool = True) -> None:
        super().__init__(clip_eps=clip_eps, normalise_std=normalise_std)
        if order not in ("same", "shuffled", "mean"):
            raise ValueError(f"mixer.order must be same, shuffled or mean, got {order!r}")
        self.order = order
        self._trajectory: list[float] = []

    def replay(self, trajectory: Sequence[float]) -> None:
        """See ``Mixer``. ``ValueError`` for an empty one."""
        if not trajectory:
            raise ValueError("the training that this control starts from has no mu: give base=countdown_amft")
        self._trajectory = list(trajectory)

    def wants(self, step: int, total: int) -> Wants:
        """See ``Mixer``."""
        return Wants(True, True)

    def weights(self, signals: Signals) -> Weights:
        """See ``Mixer``."""
        mus = self._trajectory
        if not mus:
            raise ValueError("no trajectory of mu was replayed: this control starts from a training that has one")
        if self.order == "mean":
            mu = sum(mus) / len(mus)
        else:
            place = signals.step * len(mus) // signals.total
            if self.order == "shuffled":
                order = torch.randperm(len(mus), generator=torch.Generator().manual_seed(signals.seed + 7))
                place = int(order[place])
            mu = mus[place]
        return Weights(mu, 1.0 - mu)


def token_mean(sums: Tensor, mask: Tensor) -> Tensor:
    """Sums of sequences (N,) -> their total over all tokens of the step; 0 for a step without tokens."""
    return per_global_token(sums, token_count=mask.sum()).sum()


def _share(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"mixer.{name} must lie in 0..1, got {value}")
    return float(value)


def _there(part: Any) -> Any:
    if part is None:
        raise ValueError("the mixer uses a loss whose material it did not want: see Mixer.wants")
    return part
