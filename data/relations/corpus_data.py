"""Corpora whose format has a reader of its own: one file row may give many examples, or need labels from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from data.files.sources import read_rows
from data.records.relations import RelationExample
from data.relations.relation_data import RelationData
from data.relations.splits import settle


class RowReader(Protocol):
    """One corpus format. Its parameters (patches, limits) are its own; a new format touches no other file."""

    def examples(self, rows: Sequence[Mapping[str, Any]], split: str) -> list[RelationExample]:
        """Examples of one split from its file rows, in their order; ids must not recur in any other split."""
        ...


class CorpusData(RelationData):
    """A ``RelationData`` whose examples come from a reader object.

    Args:
        reader: turns file rows into examples.
        options: everything else that ``RelationData`` takes, ``hub`` excepted.
    """

    def __init__(self, *, reader: RowReader, **options: Any) -> None:
        # The parent's reader is for corpora with one example per row; it is never called here.
        super().__init__(reader="tagged", **options)
        if self._hub:
            raise ValueError(f"data.hub of {self.name} must be null: this corpus is read from files (data.files)")
        self._reader = reader

    def _load(self) -> dict[str, list[RelationExample]]:
        rows = {
            split: [row for part in parts for row in read_rows(self._files[part])]
            for split, parts in self._parts.items()
        }
        loaded = {split: self._reader.examples(found, split) for split, found in rows.items()}
        settled = settle(
            loaded,
            name=str(self.name),
            labels=self.labels,
            shares=self._carve,
            drop_train_in_test=self.drop_train_in_test,
            train_limit=self.train_limit,
            rows=rows,
        )
        self.dropped = settled.dropped
        return settled.examples
