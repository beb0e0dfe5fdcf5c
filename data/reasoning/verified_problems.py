"""Problems of a generated world with an exact verifier, as the data of every method that mixes imitation and reward.

Training shows every method the same problems in the same order: the one reads their prompts and writes its own answers,
the other imitates their demonstrations. Held-out problems (validation, test, out of distribution) are the world's.

Problems of several turns are played through the world's environment. What a policy reads at a turn begins with what it
read before and wrote; a demonstration of such a problem is one text, with ``TURN`` between its actions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, overload

import pandas as pd

from data.files.stages import Stages
from data.loading.item_data import ItemData
from data.loading.seeding import generator
from data.loading.step_loader import StepLoader
from data.records.episodes import TURN, Answers, Episode, Problem, Turn
from data.records.texts import Demonstration
from data.worlds.environment import replay, rollouts
from data.worlds.vocabulary import Vocabulary

Lessons = Literal["pretraining", "warmup", "problems"]

Writer = Callable[[Sequence[int], Sequence[str]], Sequence[str]]
"""Gets the numbers of the unfinished episodes and what each was newly shown; gives an action for each of them."""


class VerifiedProblems(ItemData):
    """See the module.

    Args:
        world: such as ``data.worlds.cards.countdown.Countdown``. Its own seed fixes all problems and their
            demonstrations.
        seed: of the order in which they are met.
        name: what the data are called in tables.
        lessons: what is trained on. "pretraining": the world's lessons, which solve nothing; "warmup": demonstrations
            mixed with facts; "problems": problems with a demonstration each, for rollouts, imitation or both.
        demonstrations: problems of the train split that there are.
        fact_share: of "warmup", share of the items that are facts, so that what is shown stays known.
        retry_share: of "warmup", share of the items that are a demonstration after a wrong try and its feedback; only
            for worlds that have them.
        lesson_items: of "pretraining" and "warmup", items that there are.
        validation: held-out problems for utilities.
        test, ood: problems that scores are made of, in distribution and in every way out of it.
        batch_size: items of a step.
        steps: of one pass in the sense of ``trainer.max_epochs``: a unit of training time that rows of a sweep share.

    Attributes:
        several_turns: whether answers are given turn by turn, see ``play`` and ``turns``.
    """

    scored_by: tuple[str, ...] = ("data.scoring.columns", "data.scoring.policies")

    def __init__(
        self,
        *,
        world: Any,
        seed: int,
        name: str = "countdown",
        lessons: Lessons = "problems",
        demonstrations: int = 2000,
        fact_share: float = 0.3,
        retry_share: float = 0.0,
        lesson_items: int = 51_200,
        validation: int = 1024,
        test: int = 1024,
        ood: int = 1024,
        batch_size: int = 64,
        steps: int = 250,
    ) -> None:
        if lessons not in ("pretraining", "warmup", "problems"):
            raise ValueError(f"data.lessons must be pretraining, warmup or problems, got {lessons!r}")
        if fact_share < 0 or retry_share < 0 or fact_share + retry_share >= 1:
            raise ValueError(
                "data.fact_share and retry_share must be at least 0 and below 1 together, got "
                f"{fact_share}, {retry_share}"
            )
        if retry_share and not hasattr(world, "retry"):
            raise ValueError(f"data.retry_share is {retry_share}, but {type(world).__name__} has no second tries")
        for key, value in (
            ("demonstrations", demonstrations), ("lesson_items", lesson_items), ("validation", validation),
            ("test", test), ("ood", ood), ("batch_size", batch_size), ("steps", steps),
        ):  # fmt: skip
            if value < 1:
                raise ValueError(f"data.{key} must be at least 1, got {value}")
        self.world = world
        self.seed = seed
        self.name = name
        self.lessons = lessons
        self.demonstrations = demonstrations
        self.fact_share = fact_share
        self.retry_share = retry_share
        self.lesson_items = lesson_items
        self.ood_splits = tuple(split for split in world.splits if split.startswith("ood"))
        self.sizes = {"train": demonstrations, "validation": validation, "test": test}
        self.sizes |= dict.fromkeys(self.ood_splits, ood)
        self.batch_size = batch_size
        self._steps = steps
        closed = getattr(world, "vocabulary", None)  # real problems have none: their models bring a tokenizer
        separator = getattr(world, "separator", " ")
        self.vocabulary = None if closed is None else Vocabulary(closed(), separator=separator)
        self._bounded = hasattr(world, "size")
        self.several_turns = hasattr(world, "joint")
        self._problems: dict[str, Problem] = {}
        self._shown: dict[str, Demonstration] = {}

    def prepare(self, stages: Stages, progress: Callable[[int, int], None] | None = None) -> None:
        """Nothing: problems are made when they are asked for."""

    def items(self, split: str, limit: int | None = None) -> Sequence[Demonstration]:
        """Prompts with a right answer each. "dev" is the world's validation split, "test" its test and ood splits; of
        all of them, ``limit`` takes as large a share of each. ``ValueError`` for another split."""
        self._bound()
        if split == "train":
            everything = _Lazy(self.lesson_items if self.lessons != "problems" else self.demonstrations, self._lesson)
            return everything if limit is None else [everything[index] for index in range(min(limit, len(everything)))]
        if split not in ("dev", "test"):
            raise ValueError(f"the splits are train, dev and test, got {split!r}")
        parts = ("validation",) if split == "dev" else ("test", *self.ood_splits)
        whole = sum(self.sizes[part] for part in parts)
        found: list[Demonstration] = []
        for part in parts:
            size = self.sizes[part]
            count = size if limit is None else min(size, max(1, round(limit * size / whole)))
            found += [self._demonstrated(part, index) for index in range(count)]
        return found

    def held_out(self, step: int, count: int) -> list[Demonstration]:
        """``count`` validation problems, others at every step until all have been seen; follows from (seed, step)."""
        self._bound()
        size = self.sizes["validation"]
        if count > size:
            raise ValueError(f"{count} validation problems are wanted, there are {size}: raise data.validation")
        loader = StepLoader(range(size), batch_size=count, seed=self.seed + 1_000_003, collate=list)
        chosen = loader.at(step % (1 << 40))
        return [self._demonstrated("validation", index) for index in chosen]

    def solved(self, example_id: str, response: str) -> bool:
        """Whether a response to a problem that was handed out is right."""
        return self._solved(self._problem(example_id), response)

    def turns(self, item: Demonstration) -> list[Turn]:
        """A demonstration's actions with what the world shows after each; a lesson is one action."""
        actions = item.response.split(TURN)
        if len(actions) == 1:
            return [Turn(actions[0], "")]
        episode = replay(self.world.environment(), self._problem(item.id), actions)
        shown = [self._following(observation.text) for observation in episode.observations[1:-1]]
        return [Turn(action, text) for action, text in zip(actions, (*shown, ""), strict=True)]

    def play(self, example_ids: Sequence[str], write: Writer) -> list[Episode]:
        """Plays problems together, one turn of all unfinished ones at a time; the ids may recur.

        What ``write`` is shown at the first turn is the prompt.
        """
        problems = [self._problem(name)._replace(id=str(row)) for row, name in enumerate(example_ids)]

        def policy(episodes: Sequence[Episode]) -> Sequence[str]:
            rows = [int(episode.problem_id) for episode in episodes]
            return write(rows, [self._following(episode.observations[-1].text) for episode in episodes])

        return rollouts(self.world.environment, problems, policy)

    @property
    def steps_per_epoch(self) -> int:
        """The unit of training time that rows of a sweep share, whatever the number of items."""
        return self._steps

    def frame(self, answers: Sequence[Answers]) -> pd.DataFrame:
        """One row per problem.

        Columns: example_id; task; success, the share of sampled answers that are right, and greedy and pass_at_k, each
        with the prefixes id_ and ood_ as well (no value outside that part; of several ways out of distribution the
        first is ood_, another has its own name); response_tokens; what training the policy cost (``rollout_tokens``,
        ``validation_tokens``, ``megatokens``) and its mean mu, which are the same in every row; ``reached`` and what it
        cost where training was probed.
        """
        prefixes = {"test": "id", "validation": "id"}
        prefixes |= {
            split: split.removeprefix("ood_") if place else "ood" for place, split in enumerate(self.ood_splits)
        }
        rows = []
        for one in answers:
            problem = self._problem(one.example_id)
            right = [self._solved(problem, text) for text in one.samples]
            scores = {
                "success": sum(right) / len(right),
                "greedy": float(self._solved(problem, one.greedy)),
                "pass_at_k": float(any(right)),
            }
            part = prefixes[one.example_id.split("/")[1]]
            for name in list(scores):
                for prefix in dict.fromkeys(prefixes.values()):
                    scores[f"{prefix}_{name}"] = scores[name] if prefix == part else float("nan")
            cost = {
                "response_tokens": one.tokens,
                "rollout_tokens": float(one.rollout_tokens),
                "validation_tokens": float(one.validation_tokens),
                "megatokens": one.compute / 1e6,
                "mu": one.mu,
                "reached": one.reached,
                "megatokens_to_reach": one.compute_to_reach / 1e6,
                "rollouts_to_reach": one.rollouts_to_reach,
            }
            rows.append({"example_id": one.example_id, "task": problem.task, **scores, **cost})
        return pd.DataFrame(rows)

    def _lesson(self, index: int) -> Demonstration:
        if self.lessons == "pretraining":
            return self._opened(self.world.pretraining(index))
        if self.lessons == "problems":
            return self._demonstrated("train", index)
        rng = generator(self.world.seed, self.name, "warmup", index)
        kind = rng.random()
        if kind < self.fact_share:
            return self._opened(self.world.fact(index))
        chosen = rng.randrange(self.demonstrations)
        if kind < self.fact_share + self.retry_share:
            return self._opened(self.world.retry(self._problem(f"{self.name}/train/{chosen}"), index))
        return self._demonstrated("train", chosen)

    def _demonstrated(self, split: str, index: int) -> Demonstration:
        identifier = f"{self.name}/{split}/{index}"
        if identifier not in self._shown:
            problem = self._problem(identifier)
            actions = [turn.response for turn in self.world.demonstrations(problem)]
            self._shown[identifier] = self._opened(Demonstration(identifier, problem.prompt, TURN.join(actions)))
        return self._shown[identifier]

    def _bound(self) -> None:
        """Where a world has an end, nothing is asked for behind it. Reads its files, so not before it is used."""
        if self._bounded:
            self.sizes = {split: min(size, self.world.size(split)) for split, size in self.sizes.items()}
            self.demonstrations = self.sizes["train"]
            self._bounded = False

    def _solved(self, problem: Problem, response: str) -> bool:
        if not self.several_turns:
            return self.world.grade(problem, response).solved
        return replay(self.world.environment(), problem, response.split(TURN)).solved

    def _opened(self, item: Demonstration) -> Demonstration:
        """The prompt as a policy reads it: where turns are parted by more than a space, it ends like every other."""
        joint = getattr(self.world, "joint", " ")
        return item if joint == " " else item._replace(prompt=item.prompt + joint)

    def _following(self, shown: str) -> str:
        """An observation as a policy reads it between two actions."""
        return shown if self.world.joint == " " else f"{self.world.joint}{shown}{self.world.joint}"

    def _problem(self, identifier: str) -> Problem:
        if identifier not in self._problems:
            _, split, index = identifier.split("/")
            self._problems[identifier] = self.world.problem(split, int(index))
        return self._problems[identifier]


class _Lazy(Sequence[Demonstration]):
    """Items that are made when they are asked for."""

    def __init__(self, size: int, make: Callable[[int], Demonstration]) -> None:
        self._size = size
        self._make = make

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> Demonstration: ...

    @overload
    def __getitem__(self, index: slice) -> list[Demonstration]: ...

    def __getitem__(self, index: int | slice) -> Demonstration | list[Demonstration]:
        if isinstance(index, slice):
            return [self._make(place) for place in range(*index.indices(self._size))]
        if not 0 <= index < self._size:
            raise IndexError(f"there are {self._size} items, number {index} is none of them")
        return self._make(int(index))
