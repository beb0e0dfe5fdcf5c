"""Preference pairs at paper scale: prompts from outside, responses that models write to them, a judge that pays.

As in InfiFPO (arXiv 2505.13878): Infinity-Instruct, NuminaMath-1.5 and KodCode give the prompts, five sources write
four responses to each and the pivot eight, a reward model pays them, best and worst are the pair. The paper names no
rule for ties, duplicates, unfinished responses and long ones; here they are left out and counted.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import pandas as pd

from data.files.stages import Stages
from data.preferences.authored_pairs import AuthoredPairs, candidates
from data.preferences.pair_files import place, reading_frame
from data.preferences.pair_selection import Choice, distinct
from data.preferences.prompt_sets import Prompt, PromptSets
from data.records.texts import Demonstration, PreferencePair


class Judge(Protocol):
    """Whoever pays responses, such as ``data.endpoints.reward_model.RewardModel``."""

    def rewards(
        self,
        stages: Stages,
        texts: Sequence[tuple[str, str]],
        progress: Callable[[int, int], None] | None = None,
    ) -> Sequence[float]:
        """Rewards of (prompt, response) texts, each of them different; NaN for what it cannot read."""
        ...


class SampledPairs(AuthoredPairs):
    """Pairs of what authors wrote to prompts of files and of the hub. Those to a part of the prompts are held out.

    Held-out pairs measure whether the policy prefers what the judge preferred; what it writes after their prompts is
    kept, and nobody grades it.

    Args:
        seed: order of the training batches.
        batch_size: items per training step.
        judge: pays the candidates.
        half, writers, pivot, copies, pivot_copies, sampling_temperature, sampling_tokens, sampling_seed: see
            ``AuthoredPairs``. Halves and held-out part go by the prompt, so that a prompt is on one side only.
        sampling_shard: prompts that an author gets at a time: what an interruption loses at most.
        sampling_batch: rows that are written together, which changes no response; ``None``: the sampler's own.
        files, hub, column, rows, bad_rows: see ``PromptSets``.
        name: what the data are called in tables.
        held_out: share of the prompts whose pairs are test.
        train_size, test_size: so many prompts at most; ``None``: all.
        max_bytes: leave out responses that have, with their prompt, more UTF-8 bytes; ``None``: none.
    """

    scored_by: tuple[str, ...] = ("data.scoring.columns",)

    def __init__(
        self,
        *,
        seed: int,
        batch_size: int,
        judge: Judge,
        half: Literal["sft", "preference"],
        writers: Sequence[str],
        pivot: str = "pivot",
        copies: int = 4,
        pivot_copies: int = 8,
        sampling_temperature: float = 0.8,
        sampling_tokens: int = 1024,
        sampling_seed: int = 0,
        sampling_shard: int = 256,
        sampling_batch: int | None = None,
        files: Mapping[str, str | None] | None = None,
        hub: Mapping[str, Mapping[str, Any] | None] | None = None,
        column: str = "prompt",
        rows: int | None = None,
        bad_rows: Literal["fail", "drop"] = "fail",
        name: str = "sampled_pairs",
        held_out: float = 0.1,
        train_size: int | None = None,
        test_size: int | None = None,
        max_bytes: int | None = None,
    ) -> None:
        super().__init__(
            half=half,
            writers=writers,
            pivot=pivot,
            copies=copies,
            pivot_copies=pivot_copies,
            sampling_temperature=sampling_temperature,
            sampling_tokens=sampling_tokens,
            sampling_seed=sampling_seed,
        )
        for key, value in (("batch_size", batch_size), ("train_size", train_size), ("test_size", test_size),
                           ("sampling_shard", sampling_shard), ("sampling_batch", sampling_batch)):  # fmt: skip
            if value is not None and value < 1:
                raise ValueError(f"data.{key} must be at least 1, got {value}")
        if not 0 <= held_out < 1:
            raise ValueError(f"data.held_out is a share, at least 0 and below 1, got {held_out}")
        self.prompts = PromptSets(
            files=files, hub=hub, column=column, rows=rows, max_bytes=max_bytes, bad_rows=bad_rows
        )
        self.seed = int(seed)
        self.batch_size = int(batch_size)
        self.judge = judge
        self.name = name
        self.shard = int(sampling_shard)
        self.batch = sampling_batch
        self.held_out_share = float(held_out)
        self.sizes = {"train": train_size, "test": test_size}
        self.max_bytes = max_bytes

    def prepare(self, stages: Stages, progress: Callable[[int, int], None] | None = None) -> None:
        """Read the prompts, have every author write (a stage for each), judge (a stage) and choose.

        Raises:
            DataNotFoundError: prompts, or the judge's weights, that cannot be found.
            ValueError: a bad row, by its number; no author; no pair to train on.
        """
        if not self.authors:
            raise ValueError(f"data {self.name} needs models that write: choose experiment=preferences_sampled")
        prompts, dropped = self.prompts.read(stages)
        self.dropped = dict(dropped)
        first = self.half == "sft"
        sides: dict[str, list[Prompt]] = {"train": [], "test": []}
        for one in prompts:
            if place(one.prompt) < self.held_out_share:
                sides["test"].append(one)
            elif (place(one.prompt, "half") < 0.5) is first:
                sides["train"].append(one)
        self._choices = {
            split: self._judged(stages, self._readable(found[: self.sizes[split]]), progress)
            for split, found in sides.items()
        }
        if not self._choices["train"]:
            raise ValueError(f"{self.name} has no pair to train on; left out: {self.dropped or 'nothing'}")

    def _readable(self, prompts: list[Prompt]) -> list[Prompt]:
        """Prompts that all authors can read: one that only some of them answer would favour those."""
        texts, room = [one.prompt for one in prompts], int(self.sampling["max_tokens"])
        read = [self.authors[name].reads(texts, room=room) for name in self.copies]
        kept = [one for one, *able in zip(prompts, *read, strict=True) if all(able)]
        if len(kept) < len(prompts):
            self.count("prompts that an author cannot read", len(prompts) - len(kept))
        return kept

    def _judged(
        self, stages: Stages, prompts: list[Prompt], progress: Callable[[int, int], None] | None
    ) -> dict[str, Choice]:
        if not prompts:
            return {}
        placement = {} if self.batch is None else {"batch": self.batch}
        # A stage for each author: with one source more, the others need not write again.
        rows = [
            row
            for name, copies in self.copies.items()
            for row in candidates(
                stages,
                self.authors,
                prompts,
                copies={name: copies},
                sampling=self.sampling,
                shard=self.shard,
                progress=progress,
                **placement,
            )
        ]
        known = {one.id: one.prompt for one in prompts}
        usable = self.usable(rows, lambda identifier, text: self._fault(known[identifier], text))
        texts = sorted({(known[identifier], text) for identifier, _, text in usable})
        if len(usable) > len(texts):
            self.count("the same response again", len(usable) - len(texts))
        paid = dict(zip(texts, self.judge.rewards(stages, texts, progress) if texts else (), strict=True))
        rewards = [paid[known[identifier], text] for identifier, _, text in usable]
        read = [not math.isnan(reward) for reward in rewards]
        if not all(read):
            self.count("longer than the judge reads", read.count(False))
        found, without = self.chosen(
            prompts,
            [one for one, kept in zip(usable, read, strict=True) if kept],
            [one for one, kept in zip(rewards, read, strict=True) if kept],
        )
        for left in without.values():
            alike = len(distinct(left)) > 1
            self.count(
                "prompts whose responses are all paid alike" if alike else "prompts with fewer than two responses"
            )
        return found

    def _fault(self, prompt: str, text: str) -> str:
        if not text.strip():
            return "empty"
        if not unicodedata.is_normalized("NFC", text):
            return "not in NFC"  # tokenizers that normalise do not spell it
        size = len(prompt.encode()) + len(text.encode())
        return "longer than max_bytes" if self.max_bytes is not None and size > self.max_bytes else ""

    def items(self, split: str, limit: int | None = None) -> Sequence[Any]:
        """In train what ``half`` says, in test questions with their chosen response."""
        if split == "train":
            return super().items(split, limit)
        return [Demonstration(pair.id, pair.prompt, pair.chosen) for pair in self.held_out_pairs(split, limit)]

    def held_out_pairs(self, split: str, limit: int | None = None) -> list[PreferencePair]:
        """Pairs of test. ``ValueError`` for another split, or where nothing was held out."""
        if split != "test":
            raise ValueError(f"{self.name} has the splits train and test, got evaluation.split={split}")
        pairs = [choice.pair for choice in self._prepared()["test"].values()][:limit]
        if not pairs:
            raise ValueError(f"{self.name} holds nothing out: raise data.held_out, or have more prompts")
        return pairs

    def item_length(self) -> Callable[[Any], int]:
        """Characters of prompt and responses."""
        return lambda item: sum(map(len, item[1:4]))

    def examples(self, split: str, limit: int | None = None) -> tuple[str, ...]:
        """Ids of a split."""
        return tuple(item.id for item in self.items(split, limit))

    def report(self) -> dict[str, Any]:
        """See ``AuthoredPairs``; also how many pairs are held out."""
        return {**super().report(), "held_out": len(self._prepared()["test"])}

    def frame(self, readings: Sequence[Any]) -> pd.DataFrame:
        """See ``preference_files.reading_frame``."""
        return reading_frame(readings)
