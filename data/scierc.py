"""SciERC relations (Luan et al. 2018, https://aclanthology.org/D18-1360) as the SciBERT release writes them.

A row has a ``text`` with [[ head ]] and << tail >> marked and a ``label``. Seven relations, every pair has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from data.records.relations import RelationExample
from data.relations import marked

_MARKS = (("[[ ", "<e1>"), (" ]]", "</e1>"), ("<< ", "<e2>"), (" >>", "</e2>"))


class BracketedRows:
    """Reads such rows; an id is split and position."""

    def examples(self, rows: Sequence[Mapping[str, Any]], split: str) -> list[RelationExample]:
        """See ``relation_corpora.RowReader``. ``ValueError`` for a row without exactly one of each mark."""
        return [self._example(row, f"{split}-{index}") for index, row in enumerate(rows)]

    @staticmethod
    def _example(row: Mapping[str, Any], name: str) -> RelationExample:
        text = str(row["text"])
        for mark, tag in _MARKS:
            if text.count(mark) != 1:
                raise ValueError(f"row {name}: exactly one {mark.strip()} is wanted, got {text[:80]!r}")
            text = text.replace(mark, tag)
        head, tail = marked(text, where=f"row {name}")
        return RelationExample(name, text, head, tail, str(row["label"]))
