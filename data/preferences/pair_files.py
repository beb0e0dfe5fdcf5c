"""Preference pairs from files and from the hub, with the scores that may have come with them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from data.files.rows import BadRowError, Row, placed
from data.files.sources import digest_of, read_hub, read_rows
from data.files.stages import Stages
from data.loading.item_data import ItemData
from data.preferences.pair_rows import TURN, preference_row
from data.records.preferences import PreferenceReading, PreferenceRow, RecordedScore
from data.records.texts import Demonstration, PreferencePair

Text = tuple[str, str]
"""Prompt and response."""


class Scores(NamedTuple):
    """Scores of N texts, as ``source_scores.SourceScores``: sums (N,) in nats, tokens (N,), UTF-8 bytes (N,)."""

    sums: np.ndarray
    tokens: np.ndarray
    bytes: np.ndarray


class RecordedAuthor:
    """A source that is known by its scores alone.

    Args:
        name: what tables and alarms call it.
        scores: of every text.

    Attributes:
        identity: digest of the scores, in place of weights and tokenizer.
    """

    def __init__(self, name: str, scores: Mapping[Text, RecordedScore]) -> None:
        self.name = name
        self._scores = scores
        self.identity: Mapping[str, str] = {
            "scores": digest_of([[*text, *score] for text, score in sorted(scores.items())])
        }

    def scores(
        self, stages: Any, texts: Sequence[Text], policy: Any, *, progress: Callable[[int, int], None] | None = None
    ) -> Scores:
        """What was recorded of the texts; nothing is computed, and what the policy asks is not known of them."""
        missing = [text for text in texts if text not in self._scores]
        if missing:
            raise ValueError(f"source {self.name} has no recorded score of {missing[0][1][:60]!r}: score it anew")
        found = [self._scores[text] for text in texts]
        return Scores(
            np.array([one.sum for one in found]),
            np.array([one.tokens for one in found], dtype=np.int64),
            np.array([len(response.encode()) for _, response in texts], dtype=np.int64),
        )


class PreferenceFiles(ItemData):
    """Preference pairs, a part of them held out.

    Held-out pairs measure whether the policy prefers what people, or a judge, preferred; what it writes after their
    prompts is kept, and nobody grades it.

    Args:
        seed: order of the training batches.
        batch_size: pairs per training step.
        files: ``{train: ..., test: ...}`` below the data root (``sources.locate``); formats: ``preference_rows``.
        hub: ``{train: {id, split, revision}, test: ...}``, in place of a file.
        name: what the data are called in tables.
        held_out: share of train that is test where there is no test file; by the prompt, so that a prompt is on one
            side only.
        half: "sft" gives the chosen responses of one half of train as demonstrations, "preference" the pairs of the
            other, as in InfiFPO; ``None`` all pairs.
        train_size, test_size: take so many rows at most; ``None``: all.
        max_bytes: drop pairs whose prompt with its longer response has more UTF-8 bytes; ``None``: none. Bytes, because
            a token is another length to every model.
        bad_rows: "fail" refuses a file with a row that cannot be read, "drop" leaves such rows out and counts them.
        turn: see ``preference_rows.preference_row``.
        sources: names of the recorded sources in the order of the file; empty: the columns are not read.
        reference: "recorded" takes the initial pivot's scores from the file, and then the model must be that pivot: a
            run checks before its first step. "computed" computes them.

    Attributes:
        authors: sources by name, recorded ones and models that score.
        dropped: rows left out, by reason.
    """

    scored_by: tuple[str, ...] = ("data.scoring.columns",)

    def __init__(
        self,
        *,
        seed: int,
        batch_size: int,
        files: Mapping[str, str | None] | None = None,
        hub: Mapping[str, Mapping[str, Any] | None] | None = None,
        name: str = "preferences",
        held_out: float = 0.1,
        half: Literal["sft", "preference"] | None = None,
        train_size: int | None = None,
        test_size: int | None = None,
        max_bytes: int | None = None,
        bad_rows: Literal["fail", "drop"] = "fail",
        turn: str = TURN,
        sources: Sequence[str] = (),
        reference: Literal["computed", "recorded"] = "computed",
    ) -> None:
        self.files = {key: value for key, value in (files or {}).items() if value}
        self.hub = {key: dict(value) for key, value in (hub or {}).items() if value}
        for key, value in (("batch_size", batch_size), ("train_size", train_size), ("test_size", test_size),
                           ("max_bytes", max_bytes)):  # fmt: skip
            if value is not None and value < 1:
                raise ValueError(f"data.{key} must be at least 1, got {value}")
        given = [*self.files, *self.hub]
        if "train" not in given or len(given) != len(set(given)) or set(given) - {"train", "test"}:
            raise ValueError(
                f"data.files has {list(self.files)} and data.hub {list(self.hub)}: train is wanted, and test if any"
            )
        if not 0 <= held_out < 1:
            raise ValueError(f"data.held_out is a share, at least 0 and below 1, got {held_out}")
        choices: tuple[tuple[str, Any, tuple[Any, ...]], ...] = (
            ("half", half, (None, "sft", "preference")),
            ("bad_rows", bad_rows, ("fail", "drop")),
            ("reference", reference, ("computed", "recorded")),
        )
        for key, choice, offered in choices:
            if choice not in offered:
                raise ValueError(f"data.{key} must be one of {', '.join(map(str, offered))}, got {choice!r}")
        if turn.count("{role}") != 1 or turn.count("{content}") != 1 or turn.index("{role}") > turn.index("{content}"):
            raise ValueError(f"data.turn must hold {{role}} and then {{content}}, each once, got {turn!r}")
        if len(set(sources)) != len(sources):
            raise ValueError(f"data.sources names a source twice: {', '.join(sources)}")
        self.seed = int(seed)
        self.batch_size = int(batch_size)
        self.name = name
        self.held_out_share = float(held_out)
        self.half = half
        self.sizes = {"train": train_size, "test": test_size}
        self.max_bytes = max_bytes
        self.bad_rows = bad_rows
        self.turn = turn
        self.sources = tuple(sources)
        self.reference = reference
        self.authors: dict[str, Any] = {}
        self.dropped: Counter[str] = Counter()
        self._rows: dict[str, list[PreferenceRow]] | None = None

    def prepare(self, stages: Stages, progress: Callable[[int, int], None] | None = None) -> None:
        """Read the rows, drop what is no preference, deal them out.

        Raises:
            DataNotFoundError: a file or a hub that cannot be read.
            ValueError: a bad row, by its number from 1; no pair left; scores that are asked for and missing.
        """
        self.dropped = Counter()
        rows: dict[str, list[PreferenceRow]] = {
            split: self._read(split) for split in ("train", "test") if split in {**self.files, **self.hub}
        }
        if "test" not in rows:
            sides: dict[bool, list[PreferenceRow]] = {False: [], True: []}
            for row in rows["train"]:
                sides[place(row.pair.prompt) < self.held_out_share].append(row)
            rows = {"train": sides[False], "test": sides[True]}
        if self.half:
            first = self.half == "sft"
            rows["train"] = [row for row in rows["train"] if (place(row.pair.prompt, "half") < 0.5) is first]
        rows = {split: found[: self.sizes[split]] for split, found in rows.items()}
        if not rows["train"]:
            raise ValueError(f"{self.name} has no pair to train on; left out: {dict(self.dropped) or 'none'}")
        self._rows = rows
        self._take_scores()

    def take_authors(self, authors: Mapping[str, Any]) -> None:
        """Remember models that score; a recorded source of the same name goes before."""
        self.authors = dict(authors)

    def _read(self, split: str) -> list[PreferenceRow]:
        raw: list[Row]
        if split in self.files:
            raw = read_rows(self.files[split])
        else:
            options = self.hub[split]
            rows = read_hub(options["id"], split=options["split"], revision=options.get("revision"))
            raw = placed(rows, f"{options['id']} ({options['split']})")
        found, faults = [], []
        for number, row in enumerate(raw, start=1):
            try:
                found.append(preference_row(row, f"{split}/{number}", turn=self.turn))
            except BadRowError as error:
                faults.append(str(error))
        if faults and self.bad_rows == "fail":
            more = f" (and {len(faults) - 1} more bad rows of {len(raw)}; data.bad_rows=drop leaves them out)"
            raise BadRowError(faults[0] + (more if len(faults) > 1 else ""))
        self.dropped["bad rows"] += len(faults)
        return [row for row in found if self._kept(row)]

    def _kept(self, row: PreferenceRow) -> bool:
        pair = row.pair
        longest = len(pair.prompt.encode()) + max(len(pair.chosen.encode()), len(pair.rejected.encode()))
        reason = (
            "an empty response" if not pair.chosen or not pair.rejected
            else "the same response twice" if pair.chosen == pair.rejected
            else "ties" if row.tied
            else "longer than max_bytes" if self.max_bytes is not None and longest > self.max_bytes
            else ""
        )  # fmt: skip
        self.dropped[reason] += bool(reason)
        return not reason

    def _take_scores(self) -> None:
        rows = [row for found in self._prepared().values() for row in found]
        if self.sources:
            for row in rows:
                if len(row.sources) != len(self.sources):
                    raise ValueError(
                        f"{self.name}, row {row.pair.id}: it has scores of {len(row.sources)} sources, data.sources "
                        f"names {len(self.sources)}: {', '.join(self.sources)}"
                    )
        lacking = next((row.pair.id for row in rows if row.reference is None), None)
        if self.reference == "recorded" and lacking:
            raise ValueError(
                f"{self.name}, row {lacking}: ref_chosen_logps is missing; data.reference=computed needs none"
            )
        for column, name in enumerate(self.sources):
            scores: dict[Text, RecordedScore] = {}
            for row in rows:
                for text, score in zip(_texts(row.pair), row.sources[column], strict=True):
                    if scores.setdefault(text, score) != score:
                        self.dropped["scores of a text that has others already"] += 1
            self.authors[name] = RecordedAuthor(name, scores)

    def items(self, split: str, limit: int | None = None) -> Sequence[Any]:
        """Pairs in train (demonstrations for ``half`` "sft"), questions with their chosen response in test."""
        if split == "train" and self.half != "sft":
            return [row.pair for row in self._prepared()["train"]][:limit]
        pairs = (
            [row.pair for row in self._prepared()["train"]][:limit]
            if split == "train"
            else self.held_out_pairs(split, limit)
        )
        return [Demonstration(pair.id, pair.prompt, pair.chosen) for pair in pairs]

    def held_out_pairs(self, split: str, limit: int | None = None) -> list[PreferencePair]:
        """Pairs of test. ``ValueError`` for another split, or where nothing was held out."""
        if split != "test":
            raise ValueError(f"{self.name} has the splits train and test, got evaluation.split={split}")
        pairs = [row.pair for row in self._prepared()["test"]][:limit]
        if not pairs:
            raise ValueError(f"{self.name} holds nothing out: raise data.held_out or give data.files.test")
        return pairs

    def item_length(self) -> Callable[[Any], int]:
        """Characters of prompt and responses."""
        return lambda item: sum(map(len, item[1:4]))

    def examples(self, split: str, limit: int | None = None) -> tuple[str, ...]:
        """Ids of a split."""
        return tuple(item.id for item in self.items(split, limit))

    def recorded_reference(self) -> dict[PreferencePair, tuple[RecordedScore, RecordedScore]] | None:
        """Scores of all pairs under the initial pivot, or ``None`` where they are to be computed."""
        if self.reference == "computed":
            return None
        rows = [row for found in self._prepared().values() for row in found]
        return {row.pair: row.reference for row in rows if row.reference is not None}

    def leave_out(self, identifiers: Sequence[str], reason: str) -> None:
        """Drop the pairs of some ids, and count them."""
        for split, rows in self._prepared().items():
            self._prepared()[split] = [row for row in rows if row.pair.id not in set(identifiers)]
        self.dropped[reason] += len(identifiers)

    def blend(self, pair: PreferencePair) -> tuple[PreferencePair, PreferencePair]:
        """Refused: a file does not tell the best response by a source from the best by the pivot."""
        raise ValueError(f"{self.name} does not tell who wrote a response: choose an objective that does not blend")

    def report(self) -> dict[str, Any]:
        """How many pairs there are, and what was left out."""
        counts = {split: len(rows) for split, rows in self._prepared().items()}
        return {"pairs": counts, "dropped": {reason: count for reason, count in self.dropped.items() if count}}

    def frame(self, readings: Sequence[Any]) -> pd.DataFrame:
        """See ``reading_frame``."""
        return reading_frame(readings)

    def _prepared(self) -> dict[str, list[PreferenceRow]]:
        if self._rows is None:
            raise ValueError("the rows are not read yet: call data.prepare(stages) first")
        return self._rows


def _texts(pair: PreferencePair) -> tuple[Text, Text]:
    return (pair.prompt, pair.chosen), (pair.prompt, pair.rejected)


def place(prompt: str, purpose: str = "held out") -> float:
    """A number in [0, 1) that looks random and depends on the prompt alone."""
    return int.from_bytes(hashlib.sha256(f"{purpose} {prompt}".encode()).digest()[:7], "big") / 2**56


def reading_frame(readings: Sequence[Any]) -> pd.DataFrame:
    """One row for each held-out pair.

    Columns: example_id, response (the first one), response_tokens, finished (means over the responses); of a method
    that reads pairs also success (the policy has the preference right) and reward (its margin, in nats per the
    method's unit of length).
    """
    rows: list[dict[str, Any]] = []
    grouped: dict[str, list[Any]] = {}
    margins: dict[str, float] = {}
    for one in readings:
        for completion in one.completions if isinstance(one, PreferenceReading) else (one,):
            grouped.setdefault(completion.example_id, []).append(completion)
        if isinstance(one, PreferenceReading):
            margins[one.completions[0].example_id] = one.margin
    for identifier, written in grouped.items():
        row = {
            "example_id": identifier,
            "response": written[0].response,
            "response_tokens": float(np.mean([one.tokens for one in written])),
            "finished": float(np.mean([one.finished for one in written])),
        }
        if identifier in margins:
            row |= {"success": float(margins[identifier] > 0), "reward": margins[identifier]}
        rows.append(row)
    return pd.DataFrame(rows)
