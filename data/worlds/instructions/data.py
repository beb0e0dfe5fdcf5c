"""The two-dialect instruction world as a data object: base training, demonstrations or preference pairs.

All parts share one world; the seed of a cell chooses which demonstrations and pairs are drawn, and their order. Test
examples are the same for every seed. Pairs are off policy (answers of mixed quality, written by the world) or on
policy: sampled from the weights that preference training starts from, as a stage named by those weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from data.files.stages import Stages
from data.loading.item_data import ItemData
from data.records.builders import MadeBy
from data.records.episodes import Problem
from data.records.probes import PolicyReading, Probe
from data.records.texts import Completion, Demonstration, PreferencePair
from data.worlds.instructions.world import Instructions
from data.worlds.vocabulary import SPECIAL, Vocabulary

Part = Literal["pretraining", "demonstrations", "off_policy", "on_policy"]
Write = Callable[[Sequence[Demonstration]], list[Completion]]
"""Several responses to each prompt, those to one prompt one after the other."""

PARTS = ("pretraining", "demonstrations", "off_policy", "on_policy")
PAIRS_FILE = "pairs.jsonl"
_SPLITS = {"dev": "validation", "test": "test"}
_HELD_OUT = 10_000_000
"""First index of the knowledge that is asked when a policy is tested; base training uses those below."""


class InstructionData(ItemData):
    """See the module's text.

    Args:
        world: generates and judges everything.
        part: what the training items are.
        items: training items; of on-policy pairs, prompts that are sampled from (equal responses make no pair).
        batch_size: items per training step.
        seed: which items are drawn, and their order.
        test_items: examples of dev and of test.
        copies: responses sampled to each prompt for on-policy pairs.
        temperature: of that sampling.
        max_tokens: of a sampled response.
        name: what the data are called in tables.

    Attributes:
        vocabulary: of the world.
        collate, count_tokens, start_step: see ``ItemData``.
    """

    scored_by: tuple[str, ...] = ("data.scoring.columns", "data.scoring.probes", "data.scoring.tabular")

    def __init__(
        self,
        *,
        world: Instructions,
        part: Part,
        items: int,
        batch_size: int,
        seed: int,
        test_items: int = 200,
        copies: int = 4,
        temperature: float = 1.0,
        max_tokens: int = 24,
        name: str = "instructions",
    ) -> None:
        if part not in PARTS:
            raise ValueError(f"data.part must be one of {', '.join(PARTS)}, got {part!r}")
        for key, value, least in (
            ("items", items, 1),
            ("batch_size", batch_size, 1),
            ("test_items", test_items, 2),
            ("copies", copies, 2),
            ("max_tokens", max_tokens, 1),
        ):
            if value < least:
                raise ValueError(f"data.{key} must be at least {least}, got {value}")
        if part == "pretraining" and items > _HELD_OUT:
            raise ValueError(f"data.items must be at most {_HELD_OUT} for base training, got {items}")
        if not temperature > 0:
            raise ValueError(f"data.temperature must be above 0, got {temperature}: greedy responses are all the same")
        self.world, self.part, self.name = world, part, name
        self.count, self.batch_size, self.seed = int(items), int(batch_size), int(seed)
        self.test_items, self.copies = int(test_items), int(copies)
        self.temperature, self.max_tokens = float(temperature), int(max_tokens)
        self.vocabulary = Vocabulary(world.vocabulary())
        self._train: list[Any] | None = None

    @property
    def samples_pairs(self) -> bool:
        """Whether the training pairs are to be written by the policy: ``draw_pairs`` comes before ``items``."""
        return self.part == "on_policy"

    def prepare(self, stages: Stages, progress: Callable[[int, int], None] | None = None) -> None:
        """Nothing: the world is generated as it is read."""

    def items(self, split: str, limit: int | None = None) -> list[Any]:
        """Training items by ``part``; of dev and test, demonstrations whose response is the right and polite one."""
        if split == "train":
            if self._train is None:
                self._train = self._made()
            return self._train[:limit]
        return [Demonstration(one.id, one.prompt, one.answer) for one in self._problems(split, limit)]

    def _made(self) -> list[Any]:
        if self.samples_pairs:
            raise ValueError("pairs on policy are not written yet: a preference method calls draw_pairs first")
        make: Callable[[int], Any] = {
            "pretraining": self.world.pretraining,
            "demonstrations": self.world.training,
            "off_policy": self.world.preference,
        }[self.part]
        return [make(index) for index in self._indices()]

    def _indices(self) -> range:
        """Every seed has a stretch of its own of the world's endless list."""
        return range(self.seed * self.count, (self.seed + 1) * self.count)

    def _problems(self, split: str, limit: int | None = None) -> list[Problem]:
        if split not in _SPLITS:
            raise ValueError(f"{self.name} has no split {split!r}: it has train, {', '.join(_SPLITS)}")
        count = self.test_items if limit is None else min(limit, self.test_items)
        return [self.world.problem(_SPLITS[split], index) for index in range(count)]

    def draw_pairs(self, stages: Stages, *, weights: str, write: Write) -> None:
        """Samples the on-policy pairs, or takes them from the stage that did.

        Two different responses to a prompt are taken, the first that differ; the world prefers one with Bradley-Terry
        noise. A prompt whose responses are all the same makes no pair, and neither does a response without an end or
        with a token that is no word.

        Args:
            stages: where they are kept.
            weights: digest of what writes.
            write: ``copies`` responses to each prompt.

        Raises:
            ValueError: no prompt got two different responses.
        """
        problems = [self.world.problem("preference", index) for index in self._indices()]
        key = {
            "weights": weights,
            "prompts": [problem.prompt for problem in problems],
            "temperature": self.temperature,
            "copies": self.copies,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
            "noise": [self.world.seed, self.world.temperature, self.world.style_weight, self.world.length_cost],
        }

        def build(folder: Path) -> None:
            written = write([Demonstration(one.id, one.prompt, "") for one in problems])
            lines = []
            for at, problem in enumerate(problems):
                texts = self._whole(written[at * self.copies : (at + 1) * self.copies])
                other = next((text for text in texts if text != texts[0]), None)
                if other is not None:
                    lines.append(json.dumps(self.world.prefer(problem, texts[0], other, authors=("policy",) * 2)))
            (folder / PAIRS_FILE).write_text("".join(f"{line}\n" for line in lines))

        path = stages.get("preference_pairs", key, MadeBy(build, (write, self.world))) / PAIRS_FILE
        self._train = [PreferencePair(*json.loads(line)) for line in path.read_text().splitlines()]
        if not self._train:
            raise ValueError(
                f"none of {len(problems)} prompts got two different responses: raise data.temperature or data.copies"
            )

    def _whole(self, written: Sequence[Completion]) -> list[str]:
        """Responses that ended by themselves and are made of words alone."""
        return [one.response for one in written if one.finished and not any(name in one.response for name in SPECIAL)]

    def probes(self, split: str, limit: int | None = None) -> list[Probe]:
        """What is asked of a policy under test: a prompt, a demonstration of it, and a piece of knowledge."""
        return [
            Probe(
                problem.id,
                problem.prompt,
                self.world.demonstrations(problem)[0].response,
                self.world.knowledge(_HELD_OUT + index),
            )
            for index, problem in enumerate(self._problems(split, limit))
        ]

    def frame(self, readings: Sequence[PolicyReading]) -> pd.DataFrame:
        """Readings as a frame, one row per example; columns of a reading, and by gold reward:

        reward, win_rate (share of responses with a higher reward than the demonstration; half for an equal one),
        success (right digits), style, finished, response_tokens; all means over the responses to a prompt. ``response``
        is the first of them.
        """
        known = {problem.id: problem for split in _SPLITS for problem in self._problems(split)}
        rows = []
        for reading in readings:
            problem = known[reading.example_id]
            gold = [self.world.gold_reward(problem, one.response) for one in reading.completions]
            against = self.world.gold_reward(problem, self.world.demonstrations(problem)[0].response).total
            rewards = np.array([one.total for one in gold])
            rows.append(
                {
                    "example_id": reading.example_id,
                    "reward": rewards.mean(),
                    "win_rate": ((rewards > against) + 0.5 * (rewards == against)).mean(),
                    "success": np.mean([one.correct for one in gold]),
                    "style": np.mean([one.style for one in gold]),
                    "finished": np.mean([one.finished for one in reading.completions]),
                    "response_tokens": np.mean([one.tokens for one in reading.completions]),
                    "kl_to_base": reading.kl_to_base,
                    "entropy": reading.entropy,
                    "demonstration_nll": reading.demonstration_nll,
                    "demonstration_log_ratio": reading.demonstration_log_ratio,
                    "knowledge_nll": reading.knowledge_nll,
                    "prompt": problem.prompt,
                    "response": reading.completions[0].response,
                }
            )
        return pd.DataFrame(rows)
