"""Preference pairs in the world of skills, written by trained models and judged by the world's exact checks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from data.artifacts import Stages
from data.preferences import Candidate, Choice, author_counts, choose
from data.records.texts import Completion, Demonstration, PreferencePair
from data.simulated_reward import SimulatedReward
from data.sources import digest_of
from data.worlds.skill_data import SkillData
from data.worlds.skills import SKILLS

CANDIDATES_FILE = "candidates.jsonl"


class Author(Protocol):
    """A trained model that writes.

    Attributes:
        identity: digests of weights and tokenizer.
    """

    identity: Mapping[str, str]

    def write(
        self, items: Sequence[Any], *, copies: int, temperature: float, max_tokens: int, seed: int
    ) -> list[Completion]:
        """``copies`` responses to every prompt."""
        ...


class SkillPairs(SkillData):
    """Pairs of responses to prompts of the split ``preference``: one half for SFT, the other for preferences.

    Args:
        half: "sft" gives the chosen responses of the first half as demonstrations, "preference" the pairs of the
            second.
        writers: names of the sources that write candidates, besides the pivot.
        pivot: name of the pivot among the authors.
        copies: responses of each source to a prompt; 4 in the paper.
        pivot_copies: responses of the pivot; 8 in the paper.
        sampling_temperature: 0.8 in the paper.
        sampling_tokens: most tokens of a candidate; an unfinished one is dropped.
        sampling_seed: of candidates and choices.
        skills: skills that prompts ask for, in turn; ``None``: all.
        judge: pays the candidates; ``None``: the world's exact checks. What is tested is always checked exactly.

    All else is as in ``SkillData``; ``train_size`` counts prompts of both halves.

    Attributes:
        authors: trained models by name; set by ``take_authors`` before ``prepare``.
        dropped: how many candidates and prompts were left out, by reason.
    """

    def __init__(
        self,
        *,
        half: Literal["sft", "preference"],
        writers: Sequence[str],
        pivot: str = "pivot",
        copies: int = 4,
        pivot_copies: int = 8,
        sampling_temperature: float = 0.8,
        sampling_tokens: int = 32,
        sampling_seed: int = 0,
        skills: Sequence[str] | None = None,
        judge: SimulatedReward | None = None,
        **world: Any,
    ) -> None:
        super().__init__(**world)
        if half not in ("sft", "preference"):
            raise ValueError(f"data.half must be sft or preference, got {half!r}")
        for key, value in (("copies", copies), ("pivot_copies", pivot_copies), ("sampling_tokens", sampling_tokens)):
            if value < 1:
                raise ValueError(f"data.{key} must be at least 1, got {value}")
        self.skills = SKILLS if skills is None else tuple(skills)
        if not self.skills or set(self.skills) - set(SKILLS):
            raise ValueError(f"data.skills must name some of {', '.join(SKILLS)}, got {list(self.skills)}")
        self.judge = judge or SimulatedReward()
        if not sampling_temperature > 0:
            raise ValueError(f"data.sampling_temperature must be above 0, got {sampling_temperature}")
        self.half = half
        self.writers = tuple(writers)
        self.pivot = pivot
        self.copies = {**dict.fromkeys(self.writers, int(copies)), pivot: int(pivot_copies)}
        self.sampling = {
            "temperature": float(sampling_temperature),
            "max_tokens": int(sampling_tokens),
            "seed": int(sampling_seed),
        }
        self.authors: Mapping[str, Any] = {}
        self.dropped: dict[str, int] = {}
        self._choices: dict[str, Choice] | None = None

    def take_authors(self, authors: Mapping[str, Author]) -> None:
        """Remember the trained models. ``ValueError`` where one that should write is missing."""
        missing = sorted(set(self.copies) - set(authors))
        if missing:
            raise ValueError(f"data.writers names {missing}, which are no sources: there are {', '.join(authors)}")
        self.authors = dict(authors)

    def prepare(self, stages: Stages, progress: Callable[[int, int], None] | None = None) -> None:
        """Have every author write (a stage), judge the candidates and choose the pairs of this half."""
        if not self.authors:
            raise ValueError(f"data {self.name} needs trained sources: choose a base that has them, base=skills_sft")
        prompts = [
            self.world.problem("preference", index, skill=self.skills[index % len(self.skills)])
            for index in range(self.train_size)
        ]
        prompts = prompts[: len(prompts) // 2] if self.half == "sft" else prompts[len(prompts) // 2 :]
        key = {
            "authors": {name: dict(self.authors[name].identity) for name in self.copies},
            "copies": self.copies,
            "sampling": self.sampling,
            "prompts": digest_of([[one.id, one.prompt] for one in prompts]),
        }

        def build(folder: Path) -> None:
            lines = []
            for done, (name, copies) in enumerate(self.copies.items()):
                for one in self.authors[name].write(prompts, copies=copies, **self.sampling):
                    lines.append(json.dumps({"author": name, **one._asdict()}))
                if progress is not None:
                    progress(done + 1, len(self.copies))
            (folder / CANDIDATES_FILE).write_text("\n".join(lines), encoding="utf-8")

        written = (stages.get("preference_candidates", key, build) / CANDIDATES_FILE).read_text(encoding="utf-8")
        self._choices = self._chosen(prompts, [json.loads(line) for line in written.splitlines()])

    def _chosen(self, prompts: Sequence[Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Choice]:
        known, letters = {one.id: one for one in prompts}, set(self.world.vocabulary())
        usable: list[tuple[str, str, str]] = []
        unusable = {"empty": 0, "unfinished": 0, "other characters": 0}
        for row in rows:
            text = row["response"]
            fault = "empty" if not text else "unfinished" if not row["finished"] else ""
            fault = fault or ("other characters" if set(text) - letters else "")
            if fault:
                unusable[fault] += 1
                continue
            usable.append((row["example_id"], row["author"], text))
        paid = [self.world.grade(known[identifier], text).reward for identifier, _, text in usable]
        rewards = self.judge.rewards([(known[identifier].prompt, text) for identifier, _, text in usable], paid)
        candidates: dict[str, list[Candidate]] = {one.id: [] for one in prompts}
        for (identifier, author, text), reward in zip(usable, rewards, strict=True):
            candidates[identifier].append(Candidate(author, text, reward))
        choices = {
            one.id: choose(one.id, one.prompt, candidates[one.id], pivot=self.pivot, seed=int(self.sampling["seed"]))
            for one in prompts
        }
        found = {identifier: choice for identifier, choice in choices.items() if choice is not None}
        self.dropped = {**unusable, "prompts without a pair": len(prompts) - len(found)}
        if not found:
            raise ValueError(
                f"none of {len(prompts)} prompts has responses of different reward: train the sources longer, or ask "
                "more prompts (data.train_size)"
            )
        return found

    def items(self, split: str, limit: int | None = None) -> Sequence[Any]:
        """See ``SkillData``; in train what ``half`` says."""
        if split != "train":
            return super().items(split, limit)
        pairs = [choice.pair for choice in self._prepared().values()][:limit]
        if self.half == "preference":
            return pairs
        return [Demonstration(pair.id, pair.prompt, pair.chosen) for pair in pairs]

    def blend(self, pair: PreferencePair) -> tuple[PreferencePair, PreferencePair]:
        """WRPO's two pairs of a prompt: its best response by a source, and its best by the pivot, over the rejected.

        Where either side wrote nothing usable, the chosen response stands in.
        """
        choice = self._prepared()[pair.id]
        sides = (choice.by_source, choice.by_pivot)
        by_source, by_pivot = (
            pair if one is None else pair._replace(chosen=one.response, chosen_author=one.author) for one in sides
        )
        return by_source, by_pivot

    def leave_out(self, identifiers: Sequence[str], reason: str) -> None:
        """Drop the pairs of some prompts, and count them."""
        choices = self._prepared()
        for identifier in identifiers:
            del choices[identifier]
        self.dropped[reason] = self.dropped.get(reason, 0) + len(identifiers)
        if not choices:
            raise ValueError(f"no pair is left ({reason}): use shorter texts or models that read longer ones")

    def report(self) -> dict[str, Any]:
        """Who wrote the pairs, and what was dropped."""
        pairs = [choice.pair for choice in self._prepared().values()]
        return {"pairs": len(pairs), "authors": author_counts(pairs), "dropped": self.dropped}

    def _prepared(self) -> dict[str, Choice]:
        if self._choices is None:
            raise ValueError("the pairs are not there yet: call data.prepare(stages) after take_authors")
        return self._choices
