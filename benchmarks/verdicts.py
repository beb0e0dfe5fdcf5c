"""How often claims are decided wrongly where the truth lies exactly at their margin.

    python -m benchmarks.calibration --verdicts [--repeats 2000] [--seeds 1 3 5] [--examples 30 60 100 200 400]

Every entry (seed, example) has a normal score with parts of its seed, its example and itself; the lowest and highest
parts of that score's distribution are wrong answers, or answers in which two arms differ, so that their shares are
exact whatever the parts. One seed stands for two deterministic rows, which have no part of a seed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from sweeps.inference.significance import difference, estimate

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
PARTS = {"seeds alike": (0.0, 0.5), "differ": (0.01, 0.4), "differ much": (0.05, 0.3)}
"""Parts of the variance: of seeds, of examples. 0.01 and 0.05 move an accuracy of 80% by 2.8 and 6.3 points a seed, and
an error rate of 5% by a fifth and by half of itself."""


@dataclass(frozen=True)
class Claimed:
    """A claim whose truth is its margin.

    Attributes:
        kind: one of statistics.KINDS.
        share: wrong answers (at_least), or examples in which the arms differ.
        tilt: how one-sided the differing examples are, from 0 (greater) to 1, all in favour of one arm.
    """

    kind: str
    share: float
    tilt: float = 0.0

    def decided(
        self, seeds: int, examples: int, parts: tuple[float, float], rng: np.random.Generator
    ) -> tuple[bool, bool]:
        """Whether the claim holds, and whether it fails, in one experiment: what its interval says, as its p-value."""
        by_seed, by_example = parts if seeds > 1 else (0.0, sum(parts))
        normal = by_seed**0.5 * rng.standard_normal((seeds, 1)) + by_example**0.5 * rng.standard_normal(examples)
        place = ndtr(normal + (1 - by_seed - by_example) ** 0.5 * rng.standard_normal((seeds, examples)))
        if self.kind == "at_least":
            found = estimate(_parts(place >= self.share), _share)
            return found.low > 1 - self.share, found.high < 1 - self.share
        worse, better = place < self.share * (1 - self.tilt) / 2, place > 1 - self.share * (1 + self.tilt) / 2
        gap, margin = difference(_parts(~worse), _parts(~better), _share), self.share * self.tilt
        if self.kind == "greater":
            return gap.low > 0, gap.high < 0
        return -margin < gap.low and gap.high < margin, gap.low > margin or gap.high < -margin


CLAIMS = tuple(
    Claimed(kind, share, tilt)
    for share in SHARES
    for kind, tilt in (("at_least", 0.0), ("greater", 0.0), ("equal_within", 1.0), ("equal_within", 0.5))
)


def _parts(right: np.ndarray) -> np.ndarray:
    return np.stack([right.astype(np.float64), np.ones(right.shape)], axis=-1)


def _share(sums: np.ndarray) -> np.ndarray:
    return sums[..., 0] / sums[..., 1]


def wrong(
    claim: Claimed, seeds: int, examples: int, parts: tuple[float, float], repeats: int, stream: int = 0
) -> tuple[float, float]:
    """Shares of experiments in which the claim holds, and in which it fails; either may be 2.5%."""
    rng = np.random.default_rng([stream, seeds, examples, round(1000 * claim.share), round(10 * claim.tilt)])
    found = np.array([claim.decided(seeds, examples, parts, rng) for _ in range(repeats)])
    holds, fails = found.mean(axis=0).tolist()
    return holds, fails


def lines(seeds: Sequence[int], examples: Sequence[int], repeats: int) -> Iterator[str]:
    """The table: for every kind and number of seeds the share of wrong verdicts by number of examples.

    A cell has "holds" and "fails", each as mean over `SHARES` and, in brackets, the worst of them.
    """
    yield f"| claim at its margin | seeds | {' | '.join(f'N = {number}' for number in examples)} |"
    yield "|" + "---|" * (2 + len(examples))
    for kind, tilt in dict.fromkeys((claim.kind, claim.tilt) for claim in CLAIMS):
        claims = [claim for claim in CLAIMS if (claim.kind, claim.tilt) == (kind, tilt)]
        sided = {1.0: ", one arm ahead", 0.5: ", either ahead"}.get(tilt, "")
        for runs in seeds:
            for name, parts in PARTS.items() if runs > 1 else [("deterministic", next(iter(PARTS.values())))]:
                cells = []
                for number in examples:
                    found = np.array([wrong(claim, runs, number, parts, repeats) for claim in claims])
                    told = zip(found.mean(axis=0), found.max(axis=0), strict=True)
                    cells.append(" / ".join(f"{100 * mean:.1f} ({100 * most:.1f})" for mean, most in told))
                yield f"| {kind}{sided} | {runs}, {name} | {' | '.join(cells)} |"
    mean, one = (100 * (0.025 * 0.975 / count) ** 0.5 for count in (repeats * len(SHARES), repeats))
    yield ""
    yield f"Percent. Binomial error of a share of 2.5%: {mean:.1f} of a mean, {one:.1f} of a worst one."
