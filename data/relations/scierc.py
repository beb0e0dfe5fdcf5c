"""SciERC relations (Luan et al. 2018, https://aclanthology.org/D18-1360) as the SciBERT release writes them.

A row has a ``text`` with [[ head ]] and << tail >> marked and a ``label``. Seven relations, every pair has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from data.files.rows import BadRowError, columns, text
from data.records.relations import RelationExample
from data.relations.formats import marked

_MARKS = (("[[ ", "<e1>"), (" ]]", "</e1>"), ("<< ", "<e2>"), (" >>", "</e2>"))


class BracketedRows:
    """Reads such rows; an id is split and position."""

    def examples(self, rows: Sequence[Mapping[str, Any]], split: str) -> list[RelationExample]:
        """See ``corpus_data.RowReader``. ``ValueError`` for a row without exactly one of each mark."""
        return [_example(row, f"{split}-{index}") for index, row in enumerate(rows)]


@columns(text=text, label=text)
def _example(row: dict[str, Any], name: str) -> RelationExample:
    sentence: str = row["text"]
    for mark, tag in _MARKS:
        if sentence.count(mark) != 1:
            raise BadRowError(f"text: exactly one {mark.strip()} is wanted, got {sentence[:80]!r}")
        sentence = sentence.replace(mark, tag)
    head, tail = marked(sentence, where="text")
    return RelationExample(name, sentence, head, tail, row["label"])
