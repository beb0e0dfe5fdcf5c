"""Preference pairs that models write: what data objects of them share, whatever the prompts are and whoever judges.

InfiFPO (arXiv 2505.13878): every source writes some responses to a prompt, the pivot more; the best and the worst are
the pair; half of the prompts are for SFT on the chosen responses, half for preferences.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from data.files.sources import digest_of
from data.files.stages import Stages
from data.loading.item_data import ItemData
from data.preferences.pair_selection import Candidate, Choice, author_counts, choose
from data.records.builders import MadeBy
from data.records.texts import Completion, Demonstration, PreferencePair

CANDIDATES_FILE = "candidates.jsonl"


class Author(Protocol):
    """A model that writes.

    Attributes:
        identity: digests of weights and tokenizer.
    """

    identity: Mapping[str, str]

    def write(
        self, items: Sequence[Any], *, copies: int, temperature: float, max_tokens: int, seed: int
    ) -> list[Completion]:
        """``copies`` responses to every prompt."""
        ...


def candidates(
    stages: Stages,
    authors: Mapping[str, Any],
    prompts: Sequence[Any],
    *,
    copies: Mapping[str, int],
    sampling: Mapping[str, Any],
    shard: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    **placement: Any,
) -> list[dict[str, Any]]:
    """What authors write to prompts, as a stage. Interrupted writing goes on from its last whole shard.

    Args:
        stages: where it is kept.
        authors: ``Author`` objects by name.
        prompts: records with ``id`` and ``prompt``.
        copies: responses to a prompt by author.
        sampling: temperature, max_tokens, seed.
        shard: prompts that an author is given at a time, each time with another seed; ``None``: all at once.
        progress: called with (shards done, shards in all).
        placement: further arguments of ``write`` that change no response.

    Returns:
        The fields of every ``Completion``, and its ``author``.
    """
    key = {
        "authors": {name: dict(authors[name].identity) for name in copies},
        "copies": dict(copies),
        "sampling": dict(sampling),
        "prompts": digest_of([[one.id, one.prompt] for one in prompts]),
        **({} if shard is None else {"shard": shard}),
    }
    size = shard or max(1, len(prompts))
    starts = range(0, len(prompts), size)
    steps = [(number, name, begin) for number, name in enumerate(copies) for begin in starts]

    def part(folder: Path, number: int, begin: int) -> Path:
        return folder / f"part-{number:03d}-{begin:09d}.jsonl"

    def build(folder: Path) -> None:
        whole = folder / CANDIDATES_FILE
        if not whole.is_file():
            for done, (number, name, begin) in enumerate(steps, start=1):
                if not (path := part(folder, number, begin)).is_file():
                    seed = sampling["seed"] if begin == 0 else _seed(sampling["seed"], begin)
                    options = {**sampling, "seed": seed, **placement}
                    found = authors[name].write(prompts[begin : begin + size], copies=copies[name], **options)
                    _write(path, (json.dumps({"author": name, **one._asdict()}) + "\n" for one in found))
                if progress is not None:
                    progress(done, len(steps))
            parts = (part(folder, number, begin) for number, _, begin in steps)
            _write(whole, (path.read_text(encoding="utf-8") for path in parts))
        for left in (*folder.glob("part-*.jsonl"), *folder.glob("*.writing")):
            left.unlink()

    made = MadeBy(build, tuple(authors[name] for name in copies))
    path = stages.get("preference_candidates", key, made) / CANDIDATES_FILE
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _seed(seed: int, begin: int) -> int:
    """Another seed for every shard: the same one would draw the same numbers again."""
    return int(digest_of([seed, begin])[:12], 16)


def _write(path: Path, lines: Iterable[str]) -> None:
    """A file that is there whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.writing")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.writelines(lines)
    os.replace(temporary, path)


class AuthoredPairs(ItemData):
    """Pairs of responses that sources and a pivot write. Goes before the class of the prompts among the bases.

    Subclasses give ``prepare``, which sets ``_choices`` by split (train at least) and then by the id of the prompt.

    Args:
        half: "sft" gives the chosen responses of one half of the prompts as demonstrations, "preference" the pairs of
            the other.
        writers: names of the sources that write candidates, besides the pivot.
        pivot: name of the pivot among the authors.
        copies: responses of each source to a prompt; 4 in the paper.
        pivot_copies: responses of the pivot; 8 in the paper.
        sampling_temperature: 0.8 in the paper.
        sampling_tokens: most tokens of a candidate; an unfinished one is dropped.
        sampling_seed: of candidates and choices.

    Attributes:
        authors: models by name; set by ``take_authors`` before ``prepare``.
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
        **prompts: Any,
    ) -> None:
        super().__init__(**prompts)
        if half not in ("sft", "preference"):
            raise ValueError(f"data.half must be sft or preference, got {half!r}")
        for key, value in (("copies", copies), ("pivot_copies", pivot_copies), ("sampling_tokens", sampling_tokens)):
            if value < 1:
                raise ValueError(f"data.{key} must be at least 1, got {value}")
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
        self._choices: dict[str, dict[str, Choice]] | None = None

    def take_authors(self, authors: Mapping[str, Author]) -> None:
        """Remember the models. ``ValueError`` where one that should write is missing."""
        missing = sorted(set(self.copies) - set(authors))
        if missing:
            raise ValueError(f"data.writers names {missing}, which are no sources: there are {', '.join(authors)}")
        self.authors = dict(authors)

    def count(self, reason: str, number: int = 1) -> None:
        """Note that something was left out."""
        self.dropped[reason] = self.dropped.get(reason, 0) + number

    def usable(self, rows: Sequence[Mapping[str, Any]], fault: Callable[[str, str], str]) -> list[tuple[str, str, str]]:
        """Id of the prompt, author and text of what authors wrote; what is unusable is dropped and counted.

        Args:
            rows: see ``candidates``.
            fault: of an id and a text that is neither empty nor unfinished: what is wrong with it, or "".
        """
        found = []
        for row in rows:
            identifier, text = row["example_id"], row["response"]
            reason = "empty" if not text else "unfinished" if not row["finished"] else fault(identifier, text)
            if reason:
                self.count(reason)
            else:
                found.append((identifier, row["author"], text))
        return found

    def chosen(
        self, prompts: Sequence[Any], usable: Sequence[tuple[str, str, str]], rewards: Sequence[float]
    ) -> tuple[dict[str, Choice], dict[str, list[Candidate]]]:
        """By the id of the prompt: the choices, and the candidates of prompts that give no pair."""
        paid: dict[str, list[Candidate]] = {one.id: [] for one in prompts}
        for (identifier, author, text), reward in zip(usable, rewards, strict=True):
            paid[identifier].append(Candidate(author, text, reward))
        found, without = {}, {}
        for one in prompts:
            choice = choose(one.id, one.prompt, paid[one.id], pivot=self.pivot, seed=int(self.sampling["seed"]))
            if choice is None:
                without[one.id] = paid[one.id]
            else:
                found[one.id] = choice
        return found, without

    def items(self, split: str, limit: int | None = None) -> Sequence[Any]:
        """In train what ``half`` says; of another split what the class of the prompts gives."""
        if split != "train":
            return super().items(split, limit)
        pairs = [choice.pair for choice in self._prepared()["train"].values()][:limit]
        if self.half == "preference":
            return pairs
        return [Demonstration(pair.id, pair.prompt, pair.chosen) for pair in pairs]

    def blend(self, pair: PreferencePair) -> tuple[PreferencePair, PreferencePair]:
        """WRPO's two pairs of a prompt: its best response by a source, and its best by the pivot, over the rejected.

        Where either side wrote nothing usable, the chosen response stands in.
        """
        choice = self._prepared()["train"][pair.id]
        sides = (choice.by_source, choice.by_pivot)
        by_source, by_pivot = (
            pair if one is None else pair._replace(chosen=one.response, chosen_author=one.author) for one in sides
        )
        return by_source, by_pivot

    def leave_out(self, identifiers: Sequence[str], reason: str) -> None:
        """Drop the pairs of some prompts, and count them."""
        for identifier in identifiers:
            for choices in self._prepared().values():
                choices.pop(identifier, None)
        self.count(reason, len(identifiers))
        if not self._prepared()["train"]:
            raise ValueError(f"no pair is left ({reason}): use shorter texts or models that read longer ones")

    def report(self) -> dict[str, Any]:
        """Who wrote the training pairs, and what was dropped."""
        pairs = [choice.pair for choice in self._prepared()["train"].values()]
        return {"pairs": len(pairs), "authors": author_counts(pairs), "dropped": self.dropped}

    def _prepared(self) -> dict[str, dict[str, Choice]]:
        if self._choices is None:
            raise ValueError("the pairs are not there yet: call data.prepare(stages) after take_authors")
        return self._choices
