"""The interface of everything that decides how imitation and reward are mixed, and the mixers without a controller.

A mixer sees what one step has: demonstrations of the step's problems, and groups of rollouts to the same problems. It
makes two scalar losses of them, and gives both a weight. ``sft_rl.module.Mixing`` does all else, alike for every mixer.

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
from lightning_modules.losses.sft import sft_loss
from lightning_modules.rl.terms import GroupRelative, RlTerm, Rolled, token_mean


class Wants(NamedTuple):
    """Which material a step needs; what no one wants is not made, and costs nothing."""

    demonstrations: bool
    rollouts: bool


class Demonstrated(NamedTuple):
    """Log-probabilities (P, L) of the demonstrations with their graph, nats, and the mask of their tokens."""

    logps: Tensor
    mask: Tensor


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


def adam_view(optimizer: Any, parameters: Sequence[Tensor]) -> AdamView | None:
    """How an optimiser stands; ``None`` before its first step. A parameter keeps its place whatever its group."""
    groups = optimizer.param_groups
    found = [optimizer.state.get(parameter) for parameter in parameters]
    states = [state for state in found if state]
    if len(states) < len(found):
        return None
    return AdamView(
        [state["exp_avg"] for state in states],
        [state["exp_avg_sq"] for state in states],
        int(states[0]["step"]),
        groups[0]["lr"],
        groups[0]["betas"],
        groups[0]["eps"],
    )


class Signals(NamedTuple):
    """What a mixer may weigh the losses by.

    Attributes:
        items: the step's problems; ``rewards`` (P, G) are in their order.
        sft_grads, rl_grads: of the two losses, one tensor per trained parameter; ``None`` for a loss that is not there.
        utility_gradient: samples fresh answers to held-out problems and gives the gradient of their mean reward, to be
            raised, at the present weights, from the number of problems and the rollouts of each. Costs what it costs.
        hessian_product: of the losses, weighted by the two numbers given, with one tensor per trained parameter, at the
            weights before the step; only for mixers that say ``curvature``. Counted like a second pass with gradients.
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
    hessian_product: Callable[[float, float, Sequence[Tensor]], Sequence[Tensor]]
    adam: AdamView | None


class Weights(NamedTuple):
    """Factors of the two gradients, and what else is to be logged."""

    sft: float
    rl: float
    metrics: Mapping[str, float] = {}


class Mixer:
    """RL alone, from which all mixers start: SFT's loss is the mean over tokens, RL's is what its term says.

    Attributes:
        rl: makes the reward loss; set before the first step, GRPO until then.
        seed: of the training; set before its first step, for mixers that draw.
        replays: whether it takes over the mu of the training that it starts from, and that training's own start.
        curvature: whether it asks for Hessian products.
        joins_groups: whether demonstrations join the groups of rollouts, so that advantages must be relative to them.
    """

    replays = False
    joins_groups = False
    curvature = False

    def __init__(self) -> None:
        self.rl: RlTerm = GroupRelative()
        self.seed = 0

    def begin(self, rl: RlTerm | None, seed: int) -> RlTerm:
        """Takes the reward loss (``None``: GRPO) and the seed of a training; gives the loss that it uses.

        Raises:
            ValueError: a loss that compares no groups, where demonstrations join them.
        """
        self.rl, self.seed = rl or self.rl, seed
        if self.joins_groups and not self.rl.of_groups:
            raise ValueError(
                f"{type(self).__name__} puts demonstrations into groups of rollouts, which {type(self.rl).__name__} "
                "does not compare: use a group-relative method.rl with it"
            )
        self.rl.start(seed=seed)
        return self.rl

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
        return self.rl.loss(rolled, self.rl.advantages(rolled))

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
    """

    def __init__(self, *, mu: float = 0.5) -> None:
        super().__init__()
        self._mu = _share("mu", mu)

    def mu(self, share: float) -> float:
        """See ``Scheduled``."""
        return self._mu


class SftThenRl(Scheduled):
    """SFT for the first steps, RL for the others: the baseline that mixed methods must beat at equal compute.

    Args:
        switch: share of the steps that are SFT.
    """

    def __init__(self, *, switch: float = 0.3) -> None:
        super().__init__()
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

    def __init__(self, *, mu_start: float = 0.8, mu_end: float = 0.05, shape: str = "linear") -> None:
        super().__init__()
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

    def __init__(self, *, order: str = "mean") -> None:
        super().__init__()
        if order not in ("same", "shuffled", "mean"):
            raise ValueError(f"mixer.order must be same, shuffled or mean, got {order!r}")
        self.order = order
        self._trajectory: list[float] = []

    def replay(self, trajectory: Sequence[float]) -> None:
        """See ``Mixer``. ``ValueError`` for an empty one."""
        if not trajectory:
            raise ValueError("the training that this control starts from has no mu: give base=amft/countdown_amft")
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


def _share(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"mixer.{name} must lie in 0..1, got {value}")
    return float(value)


def _there(part: Any) -> Any:
    if part is None:
        raise ValueError("the mixer uses a loss whose material it did not want: see Mixer.wants")
    return part
