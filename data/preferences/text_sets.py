"""Published sets of demonstrations and of human preferences as data objects, from files or from a hub."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from data.files.rows import placed
from data.files.sources import read_hub, read_rows
from data.files.stages import Stages
from data.loading.item_data import ItemData
from data.preferences.text_rows import DEMONSTRATIONS, PAIRS
from data.records.pairs import JudgedPair, PairReading
from data.records.texts import Demonstration, PreferencePair

_SHARES = 1 << 32


class TextSet(ItemData):
    """What sets of texts share: where rows come from, how long a text may be, which prompts are held out.

    Args:
        name: what the set is called in messages.
        reader: row format, a key of ``readers``.
        files: data file by split; one of the name "all" is divided by ``held_out``. ``None`` with ``hub``.
        hub: as {split: {id, split, revision}}; needs a network, or the hub's local cache.
        held_out: share of the prompts of "all" that are test; the rest is train. A prompt is on one side only.
        longest: most UTF-8 bytes of a prompt with its longer response; ``None``: any. What is longer is left out.
        limit: train on at most so many, the same for every seed; ``None``: all.
        test_items: at most so many test items, spread over the set; ``None``: all.
        batch_size: items per training step.
        seed: order of the training batches.

    Attributes:
        dropped: by reason, how many were left out, once items were read.
    """

    readers: Mapping[str, Callable[[Mapping[str, Any]], list[Any]]]

    def __init__(
        self,
        *,
        name: str,
        reader: str,
        batch_size: int,
        seed: int,
        files: Mapping[str, str] | None = None,
        hub: Mapping[str, Mapping[str, Any]] | None = None,
        held_out: float = 1.0,
        longest: int | None = None,
        limit: int | None = None,
        test_items: int | None = None,
    ) -> None:
        if reader not in self.readers:
            raise ValueError(f"data.reader must be one of {', '.join(self.readers)}, got {reader!r}")
        if (files is None) == (hub is None):
            raise ValueError(f"{name} needs either data.files or data.hub, and not both")
        if not 0 <= held_out <= 1:
            raise ValueError(f"data.held_out is a share, at least 0 and at most 1, got {held_out}")
        for key, value in (("batch_size", batch_size), ("longest", longest), ("limit", limit),
                           ("test_items", test_items)):  # fmt: skip
            if value is not None and value < 1:
                raise ValueError(f"data.{key} must be at least 1, got {value}")
        self.name, self.batch_size, self.seed = name, int(batch_size), int(seed)
        self.files, self.hub = files, hub
        self.held_out, self.longest, self.limit, self.test_items = float(held_out), longest, limit, test_items
        self.dropped: Counter[str] = Counter()
        self._read_row = self.readers[reader]
        self._items: dict[str, list[Any]] = {}

    def prepare(self, stages: Stages, progress: Callable[[int, int], None] | None = None) -> None:
        """Nothing: rows are read when they are asked for."""

    def items(self, split: str, limit: int | None = None) -> Sequence[Any]:
        """Records of a split. ``ValueError`` for a split that the set has not, or that is empty."""
        if split not in self._items:
            made = [item for number, row in enumerate(self._rows(split)) for item in self._made(number, row)]
            made = self._thinned(made)
            most = self.limit if split == "train" else self.test_items
            if most is not None and len(made) > most:
                made = [made[place] for place in np.linspace(0, len(made) - 1, most).round().astype(int)]
            if not made:
                raise ValueError(f"{self.name} has no item in {split}: {dict(self.dropped)} were left out")
            self._items[split] = made
        return self._items[split][:limit]

    def _rows(self, split: str) -> list[Mapping[str, Any]]:
        sources: Mapping[str, Any] = self.files or self.hub or {}
        whole = split if split in sources else "all"
        if whole not in sources:
            raise ValueError(
                f"{self.name} has no split {split!r}: it has {', '.join(sources)}; add it to data.files, or call one "
                "file 'all' and hold out a part of it by data.held_out"
            )
        rows: Sequence[Mapping[str, Any]]
        if self.files is not None:
            rows = read_rows(self.files[whole])
        else:
            source = sources[whole]
            found = read_hub(source["id"], split=source["split"], revision=source.get("revision"))
            rows = placed(found, f"{source['id']} ({source['split']})")
        if whole != "all":
            return list(rows)
        return [row for row in rows if (self._share(self._prompt(row)) < self.held_out) == (split != "train")]

    def _prompt(self, row: Mapping[str, Any]) -> str:
        found = self._read_row(row)
        return found[0][0] if found else ""

    @staticmethod
    def _share(text: str) -> float:
        """A number from 0 to 1 that depends on the text alone."""
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / _SHARES

    def _fits(self, prompt: str, *responses: str) -> bool:
        size = len(prompt.encode()) + max(len(text.encode()) for text in responses)
        return self.longest is None or size <= self.longest

    def _made(self, number: int, row: Mapping[str, Any]) -> list[Any]:
        """Records of a row; counts in ``dropped`` what gives none."""
        raise NotImplementedError

    def _thinned(self, items: list[Any]) -> list[Any]:
        return items


class DemonstrationSet(TextSet):
    """Prompts with one response each."""

    readers = DEMONSTRATIONS

    def _made(self, number: int, row: Mapping[str, Any]) -> list[Demonstration]:
        found = self._read_row(row)
        kept = [(prompt, response.strip()) for prompt, response in found if self._fits(prompt, response)]
        self.dropped += Counter({"unreadable": not found, "too long": len(found) - len(kept)})
        return [Demonstration(f"{number}-{place}", *one) for place, one in enumerate(kept)]


class PreferenceSet(TextSet):
    """Pairs of responses that people judged; undecided ones, and equal responses, are left out.

    Args:
        per_prompt: at most so many pairs of one prompt, chosen by their texts alone; pairs of one prompt are not
            independent, and intervals treat them as if they were. ``None``: all.
        **options: see ``TextSet``.
    """

    scored_by: tuple[str, ...] = ("data.scoring.labels",)

    readers = PAIRS

    def __init__(
        self,
        *,
        name: str,
        reader: str,
        batch_size: int,
        seed: int,
        files: Mapping[str, str] | None = None,
        hub: Mapping[str, Mapping[str, Any]] | None = None,
        held_out: float = 1.0,
        longest: int | None = None,
        limit: int | None = None,
        test_items: int | None = None,
        per_prompt: int | None = None,
    ) -> None:
        super().__init__(
            name=name, reader=reader, batch_size=batch_size, seed=seed, files=files, hub=hub, held_out=held_out,
            longest=longest, limit=limit, test_items=test_items,
        )  # fmt: skip
        if per_prompt is not None and per_prompt < 1:
            raise ValueError(f"data.per_prompt must be at least 1, got {per_prompt}")
        self.per_prompt = per_prompt
        self._subsets: dict[str, str] = {}

    def _made(self, number: int, row: Mapping[str, Any]) -> list[PreferencePair]:
        made = []
        found: list[JudgedPair] = self._read_row(row)
        self.dropped["unreadable"] += not found
        for place, pair in enumerate(found):
            texts = pair.first.strip(), pair.second.strip()
            if pair.preferred not in (1, 2) or texts[0] == texts[1]:
                self.dropped["undecided"] += 1
            elif not self._fits(pair.prompt, *texts):
                self.dropped["too long"] += 1
            else:
                chosen, rejected = texts if pair.preferred == 1 else texts[::-1]
                made.append(PreferencePair(f"{number}-{place}", pair.prompt, chosen, rejected))
                self._subsets[made[-1].id] = pair.subset
        return made

    def _thinned(self, items: list[PreferencePair]) -> list[PreferencePair]:
        if self.per_prompt is None:
            return items
        # Which text was preferred has no say in the order, so that thinning cannot favour either.
        order = sorted(items, key=lambda pair: self._share("\n".join(sorted((pair.chosen, pair.rejected)))))
        seen: Counter[str] = Counter()
        kept = set()
        for pair in order:
            seen[pair.prompt] += 1
            if seen[pair.prompt] <= self.per_prompt:
                kept.add(pair.id)
        self.dropped["further pairs of a prompt"] += len(items) - len(kept)
        return [pair for pair in items if pair.id in kept]

    def frame(self, readings: Sequence[PairReading]) -> pd.DataFrame:
        """Readings as a frame, one row per pair.

        Columns: example_id, gold ("chosen"), prediction ("chosen" or "rejected", whichever has the higher estimate; of
        equal ones the texts' digest chooses), margin (chosen less rejected), subset.
        """
        pairs = {pair.id: pair for split in self._items for pair in self._items[split]}
        rows = []
        for one in readings:
            pair = pairs[one.example_id]
            coin = self._share(f"{pair.prompt}\n{pair.chosen}\n{pair.rejected}") < 0.5
            agrees = coin if one.chosen == one.rejected else one.chosen > one.rejected
            rows.append(
                {
                    "example_id": one.example_id,
                    "gold": "chosen",
                    "prediction": "chosen" if agrees else "rejected",
                    "margin": one.chosen - one.rejected,
                    "subset": self._subsets[one.example_id],
                }
            )
        return pd.DataFrame(rows)
