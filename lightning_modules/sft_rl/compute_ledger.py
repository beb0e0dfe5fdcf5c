"""What a training on rollouts costs, and what it cost to get as far as was asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Ledger(NamedTuple):
    """Tokens: sampled for training; sampled for validation; read to sample; passed with gradients. Token passes cost 1
    without gradients and 3 with."""

    rollout: int = 0
    validation: int = 0
    read: int = 0
    trained: int = 0

    @property
    def compute(self) -> int:
        """Token passes."""
        return self.rollout + self.validation + self.read + 3 * self.trained


class Probe(NamedTuple):
    """How well the policy does on validation problems during training: a measurement, which no ledger counts.

    Attributes:
        every: steps between probes, the first at step 0; ``None``: none.
        problems, copies: answers to that many problems, so many each, at temperature 1.
        target: success that is to be reached, for tables of what it cost.
    """

    every: int | None = None
    problems: int = 128
    copies: int = 4
    target: float = 0.35


def checked_probe(options: Mapping[str, Any] | None) -> Probe:
    """A ``Probe`` of its fields; ``ValueError`` for values out of range."""
    probe = Probe(**(options or {}))
    if min(probe.every or 1, probe.problems, probe.copies) < 1 or not 0 < probe.target <= 1:
        raise ValueError(f"method.probe wants counts of at least 1 and a target in (0, 1], got {dict(options or {})}")
    return probe


class Probed(NamedTuple):
    """One measurement: the step, the share of right answers, and what training had cost before it."""

    step: int
    success: float
    compute: int
    sampled: int


def reached(probes: Sequence[Probed], target: float, ledger: Ledger) -> tuple[float, float, float]:
    """Whether a probe found the target (1 or 0), and the compute and the sampled tokens up to the first that did.

    Where none did, they are those of the whole training: a lower bound. All NaN without probes.
    """
    if not probes:
        return math.nan, math.nan, math.nan
    for one in probes:
        if one.success >= target:
            return 1.0, float(one.compute), float(one.sampled)
    return 0.0, float(ledger.compute), float(ledger.rollout + ledger.validation)
