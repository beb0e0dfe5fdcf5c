"""Coverage of the intervals of sweeps.inference.significance on simulated experiments whose true scores are known.

    python -m benchmarks.calibration [--repeats 1000] [--seeds 3 5 10]
    python -m benchmarks.calibration --rare [--repeats 1000] [--seeds 1 3 5]
    python -m benchmarks.calibration --verdicts [--repeats 500] [--seeds 1 3 5] [--examples 30 60 100 200 400]

Every experiment draws arms that classify the same examples under several seeds each. An answer is right where

    ability of its class + luck of the seed (overall and per class)
        + ease of the example (for all arms, and for this arm) + interaction > 0

with normal terms (a crossed probit), and a wrong answer falls on another class with a fixed probability. Two arms have
equal distributions, so that their true difference is 0; a third is deterministic: one run, whose interaction belongs to
the example. The true score of an arm is its expectation over seeds and examples: given the seed it is a closed form in
normal tail areas, and the seeds are integrated over 100,000 draws.
"""

import argparse
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from sweeps.inference.random_effects import FEW
from sweeps.inference.significance import difference, estimate

# SemEval-2010 Task 8, test set: 17 directed relations and Other (the 18th has a single example).
DIRECTED = np.array([134, 194, 162, 150, 153, 39, 291, 211, 47, 22, 134, 32, 201, 210, 51, 108, 123, 454], dtype=float)
UNDIRECTED = np.array([328, 312, 192, 292, 258, 156, 233, 261, 231, 454], dtype=float)


@dataclass(frozen=True)
class World:
    """One kind of experiment. Standard deviations are on the probit scale, where the interaction has 1."""

    name: str
    examples: int
    accuracy: float
    seed: float  # luck of a seed on all classes
    seed_class: float  # and on each class
    example: float  # ease of an example, shared by the arms
    arm_example: float  # and for one arm
    sizes: tuple[float, ...] = tuple(UNDIRECTED)  # the last class is the one that macro-F1 leaves out
    ability: float = 0.5  # how classes differ
    slope: float = 0.0  # and how much harder a class is that is rarer by a standard deviation of the logarithms

    @functools.cached_property
    def priors(self) -> np.ndarray:
        return np.asarray(self.sizes) / sum(self.sizes)

    @functools.cached_property
    def confusion(self) -> np.ndarray:
        """(K, K): where the wrong answers of a class fall; frequent classes attract more."""
        count = len(self.sizes)
        weights = self.priors * np.random.default_rng(17).gamma(1.0, size=(count, count)) * (1 - np.eye(count))
        return weights / weights.sum(axis=1, keepdims=True)

    @functools.cached_property
    def abilities(self) -> np.ndarray:
        deviations = (1.0, self.seed, self.seed_class, self.example, self.arm_example, self.ability)
        spread = sum(deviation**2 for deviation in deviations) ** 0.5
        chance = np.random.default_rng(18).standard_normal(len(self.sizes))
        rarity = np.log(self.priors) - np.log(self.priors).mean()
        harder = self.slope * rarity / rarity.std() if self.slope else 0.0
        return spread * ndtri(self.accuracy) + self.ability * chance + harder


def contributions(gold: np.ndarray, answers: np.ndarray, classes: int) -> np.ndarray:
    """(S, N, 3 classes - 2) of right answers, answers and gold per scored class, and right answers of all classes."""
    given, wanted = np.eye(classes)[answers], np.broadcast_to(np.eye(classes)[gold], (*answers.shape, classes))
    right = given * wanted
    scored = (right[..., :-1], given[..., :-1], wanted[..., :-1])
    parts = (*scored, right.sum(-1, keepdims=True), wanted.sum(-1, keepdims=True))
    return np.concatenate(parts, axis=-1)


def accuracy(sums: np.ndarray) -> np.ndarray:
    return sums[..., -2] / sums[..., -1]


def macro_f1(sums: np.ndarray) -> np.ndarray:
    """Mean F1 of the scored classes that occur in gold, as in data.scoring."""
    right, given, wanted = np.split(sums[..., :-2], 3, axis=-1)
    present = wanted > 0.5
    return (2 * right * present / np.maximum(given + wanted, 1)).sum(-1) / np.maximum(present.sum(-1), 1)


# Name -> the score and the parts that it takes; a mean has two.
SCORES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], slice]] = {
    "accuracy": (accuracy, slice(-2, None)),
    "macro_f1": (macro_f1, slice(None)),
}

WORLDS = {
    world.name: world
    for world in (
        World("typical", 1363, 0.80, seed=0.05, seed_class=0.10, example=1.0, arm_example=0.7),
        World("seeds dominate", 1363, 0.80, seed=0.40, seed_class=0.40, example=0.5, arm_example=0.5),
        World("seeds as examples", 1363, 0.75, seed=0.10, seed_class=0.10, example=1.0, arm_example=1.0),
        World("examples dominate", 300, 0.80, seed=0.0, seed_class=0.0, example=1.5, arm_example=1.5),
        World("no effect but chance", 1363, 0.80, seed=0.0, seed_class=0.0, example=0.3, arm_example=0.0),
        World("few examples", 300, 0.75, seed=0.15, seed_class=0.20, example=1.0, arm_example=0.7),
        World("high accuracy", 1363, 0.92, seed=0.10, seed_class=0.10, example=1.0, arm_example=0.7, ability=0.2),
        World("high, few examples", 300, 0.90, seed=0.10, seed_class=0.10, example=1.0, arm_example=0.7, ability=0.2),
        World("17 classes", 1363, 0.75, 0.10, 0.20, 1.0, arm_example=0.7, sizes=tuple(DIRECTED)),
        World("17 classes, few examples", 300, 0.75, 0.10, 0.20, 1.0, arm_example=0.7, sizes=tuple(DIRECTED)),
    )
}

# Nine scored classes of which the rarest is a hundredth of the commonest, and the 17 of SemEval; rare ones are harder.
STEEP = (*np.geomspace(1000, 10, 9).tolist(), 300.0)
RARE = tuple(
    World(f"{name}, N = {examples}", examples, 0.75, 0.05, 0.1, 1.0, 0.7, sizes=sizes, ability=0.3, slope=1.0)
    for name, sizes in (("steep", STEEP), ("17 classes", tuple(DIRECTED)), ("9 classes", tuple(UNDIRECTED)))
    for examples in (60, 300, 1000, 3000)
)


@dataclass(frozen=True)
class Experiment:
    """Contributions (S, N, D) of two equal arms and (1, N, D) of a deterministic one, on one drawn test set."""

    left: np.ndarray
    right: np.ndarray
    deterministic: np.ndarray


def draw(world: World, seeds: int, rng: np.random.Generator) -> Experiment:
    classes = len(world.priors)
    gold = rng.choice(classes, size=world.examples, p=world.priors)
    ease = world.example * rng.standard_normal(world.examples)
    cumulative = world.confusion.cumsum(axis=1)
    arms = []
    for runs, lucky in ((seeds, 1.0), (seeds, 1.0), (1, 0.0)):
        luck = world.seed * rng.standard_normal((runs, 1)) + world.seed_class * rng.standard_normal((runs, classes))
        own = world.arm_example * rng.standard_normal(world.examples)
        noise = rng.standard_normal((runs, world.examples))
        latent = (world.abilities + lucky * luck)[:, gold] + ease + own + noise
        wrong = (rng.random((runs, world.examples, 1)) > cumulative[gold]).sum(-1).clip(max=classes - 1)
        arms.append(contributions(gold, np.where(latent > 0, gold, wrong), classes))
    return Experiment(*arms)


@functools.cache
def truth(world: World, score: str, lucky: float = 1.0) -> float:
    """Expected score of a seed on the whole population of examples; `lucky` 0 for the deterministic arm."""
    rng = np.random.default_rng(23)
    classes, parts, draws = len(world.priors), 10, 10_000
    total = 0.0
    for _ in range(parts):
        luck = world.seed * rng.standard_normal((draws, 1)) + world.seed_class * rng.standard_normal((draws, classes))
        right = ndtr((world.abilities + lucky * luck) / (1 + world.example**2 + world.arm_example**2) ** 0.5)
        mass = world.priors * right
        if score == "accuracy":
            total += mass.sum(-1).mean()
        else:
            given = mass + (world.priors * (1 - right)) @ world.confusion
            total += (2 * mass / (given + world.priors))[:, :-1].mean()
    return total / parts


@dataclass(frozen=True)
class Coverage:
    """Shares of the experiments; each is known to about sqrt(share (1 - share) / experiments)."""

    covered: float  # 95% interval of one arm's score holds the true score
    paired: float  # 95% interval of (stochastic - deterministic) holds the true difference
    rejected: float  # p < 0.05 for two equal arms
    rejected_strictly: float  # p < 0.01 for two equal arms


def coverage(world: World, seeds: int, repeats: int, stream: int = 0) -> dict[str, Coverage]:
    """Simulates experiments, each judged by every score; `stream` chooses the random numbers."""
    rng = np.random.default_rng([stream, seeds, *world.name.encode()])
    found = {score: np.empty((repeats, 4)) for score in SCORES}
    for repeat in range(repeats):
        drawn = draw(world, seeds, rng)
        for score, (value, parts) in SCORES.items():
            true, fixed = truth(world, score), truth(world, score, 0.0)
            left, right, single = (arm[..., parts] for arm in (drawn.left, drawn.right, drawn.deterministic))
            one = estimate(left, value)
            against = difference(left, single, value)
            p = difference(left, right, value).p_value
            found[score][repeat] = (
                one.low <= true <= one.high,
                against.low <= true - fixed <= against.high,
                p < 0.05,
                p < 0.01,
            )
    return {score: Coverage(*rows.mean(axis=0).tolist()) for score, rows in found.items()}


def rare_lines(seeds: Sequence[int], repeats: int) -> Iterator[str]:
    """Coverage of macro-F1 where rare classes are harder, without and with the caution that a table prints."""
    value, _ = SCORES["macro_f1"]
    yield "| experiment | seeds | gold of the rarest class | bias / standard error | covers | with caution | without |"
    yield "|---|---|---|---|---|---|---|"
    for world in RARE:
        for runs in seeds:
            lucky = float(runs > 1)  # one run stands for a deterministic row
            rng, true = np.random.default_rng([3, runs, *world.name.encode()]), truth(world, "macro_f1", lucky)
            covered, rarest, errors = np.empty((3, repeats))
            for repeat in range(repeats):
                drawn = draw(world, runs, rng)
                arm = drawn.left if runs > 1 else drawn.deterministic
                sizes = arm[0, :, 2 * len(world.sizes) - 2 : -2].sum(axis=0)
                found = estimate(arm, value)
                covered[repeat], rarest[repeat] = found.low <= true <= found.high, sizes[sizes > 0].min()
                errors[repeat] = (found.value - true) / max(found.standard_error, 1e-9)
            told = [
                f"{covered[chosen].mean():.1%} of {chosen.sum()}" if chosen.any() else "none"
                for chosen in (rarest < FEW, rarest >= FEW)
            ]
            yield (
                f"| {world.name} | {runs} | {np.median(rarest):.0f} | {errors.mean():+.2f} | {covered.mean():.1%} | "
                f"{' | '.join(told)} |"
            )


def coverage_lines(seeds: Sequence[int], repeats: int) -> Iterator[str]:
    """Coverage of the intervals in all worlds."""
    yield "| experiment | seeds | score | covers score | covers difference from a fixed arm | rejects at 5% | at 1% |"
    yield "|---|---|---|---|---|---|---|"
    for world in WORLDS.values():
        for runs in seeds:
            for score, found in coverage(world, runs, repeats).items():
                shares = (found.covered, found.paired, found.rejected, found.rejected_strictly)
                yield f"| {world.name} | {runs} | {score} | {' | '.join(f'{share:.1%}' for share in shares)} |"
    yield f"\n{repeats} experiments each: a share near 95% or 5% is known to {(0.0475 / repeats) ** 0.5:.1%}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, help="experiments each (1000; 500 with --verdicts)")
    parser.add_argument("--seeds", type=int, nargs="+", help="numbers of seeds (3 5 10; else 1 3 5)")
    parser.add_argument("--examples", type=int, nargs="+", default=[30, 60, 100, 200, 400], help="with --verdicts")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--verdicts", action="store_true", help="wrong verdicts of claims at their margin")
    which.add_argument("--rare", action="store_true", help="macro-F1 where rare classes are harder")
    chosen = parser.parse_args()
    if chosen.verdicts:
        from benchmarks.verdicts import lines

        table = lines(chosen.seeds or [1, 3, 5], chosen.examples, chosen.repeats or 500)
    elif chosen.rare:
        table = rare_lines(chosen.seeds or [1, 3, 5], chosen.repeats or 1000)
    else:
        table = coverage_lines(chosen.seeds or [3, 5, 10], chosen.repeats or 1000)
    for line in table:
        print(line, flush=True)


if __name__ == "__main__":
    main()
