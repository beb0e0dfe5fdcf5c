"""Entity pairs of Re-DocRED's sentences (Tan et al. 2022, https://aclanthology.org/2022.emnlp-main.580).

A document has ``sents`` (token lists), ``vertexSet`` (one list of mentions per entity, each with ``sent_id`` and
``pos``) and ``labels`` (``h``, ``t``: entities, ``r``: Wikidata property). It becomes sentence-level relation
extraction in the form of TACRED: every ordered pair of entities that are mentioned in one sentence is an example, with
the document's relation between them, or ``no_relation``.

Departures:
    1. The relation is the document's: Re-DocRED's added labels carry no evidence sentence (12,887 of the 22,685 in our
       train and test documents), so that evidence cannot say which sentence states them.
    2. A pair with several relations is left out, because an example has one label: 2,177 of 57,962 pairs.
    3. An entity's first mention in the sentence is marked; pairs whose marked mentions overlap are left out.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from data.files.rows import BadRowError, columns, listed, record, spelt, text, whole
from data.records.relations import RelationExample
from data.relations.redocred_properties import PROPERTIES
from data.relations.token_spans import tag_spans


class DocumentPairs:
    """Reads documents as entity pairs; an id is split, document, sentence, head and tail.

    Args:
        none_label: label of pairs without a relation; ``None`` leaves those pairs out.
        sentences: by split, at most so many sentences (a fixed choice by a hash of their text); ``None``: all.
        relations: names of the relations to read (``none_label`` may stand among them); pairs with another one are
            left out, never called unrelated. ``None``: all.
        none_share: in every split, the largest share of pairs without a relation; a fixed choice among them by a hash
            of their ids. ``None``: all of them.
    """

    def __init__(
        self,
        *,
        none_label: str | None,
        sentences: Mapping[str, int] | None = None,
        relations: Sequence[str] | None = None,
        none_share: float | None = None,
    ) -> None:
        small = {split: count for split, count in (sentences or {}).items() if count < 1}
        if small:
            raise ValueError(f"data.reader.sentences must be at least 1 per split, got {small}; null takes all")
        unknown = sorted(set(relations or ()) - set(PROPERTIES.values()) - {none_label})
        if unknown or (relations is not None and not relations):
            raise ValueError(
                f"data.reader.relations must be names in data/relations/redocred_properties.py, got {unknown or 'none'}"
            )
        if none_share is not None and not (none_label is not None and 0.0 < none_share < 1.0):
            got = f"{none_share} with none_label {none_label!r}"
            raise ValueError(f"data.reader.none_share must lie between 0 and 1 and needs a none_label, got {got}")
        self.none_label = none_label
        self.sentences = dict(sentences or {})
        self.relations = None if relations is None else frozenset(relations)
        self.none_share = none_share

    def examples(self, rows: Sequence[Mapping[str, Any]], split: str) -> list[RelationExample]:
        """See ``corpus_data.RowReader``. ``BadRowError`` for a property without a name."""
        limit = self.sentences.get(split)
        documents = [_document(row) for row in rows]
        chosen = {(d, s) for d, document in enumerate(documents) for s in range(len(document["sents"]))}
        if limit is not None:
            chosen = set(sorted(chosen, key=lambda at: _draw(documents[at[0]]["sents"][at[1]]))[:limit])
        found = [
            example
            for number, document in enumerate(documents)
            for sentence in range(len(document["sents"]))
            if (number, sentence) in chosen
            for example in self._pairs(document, sentence, f"{split}-{number}-{sentence}")
            if self.relations is None or example.label == self.none_label or example.label in self.relations
        ]
        return found if self.none_share is None else self._thinned(found, self.none_share)

    def _thinned(self, examples: list[RelationExample], share: float) -> list[RelationExample]:
        """All pairs with a relation, and of the others so many that they make up at most ``share``; order is kept."""
        unrelated = [example.id for example in examples if example.label == self.none_label]
        count = round((len(examples) - len(unrelated)) * share / (1.0 - share))
        # A word before the id: limits elsewhere order examples by the digest of the id alone, and would otherwise take
        # first what was kept here.
        dropped = set(sorted(unrelated, key=lambda name: _draw(["unrelated", name]))[count:])
        return [example for example in examples if example.id not in dropped]

    def _pairs(self, row: Mapping[str, Any], sentence: int, name: str) -> Iterator[RelationExample]:
        tokens = row["sents"][sentence]
        relations: dict[tuple[int, int], set[str]] = defaultdict(set)
        for label in row["labels"]:
            relations[label["h"], label["t"]].add(label["r"])
        spans = {}
        for entity, mentions in enumerate(row["vertexSet"]):
            here = sorted(tuple(one["pos"]) for one in mentions if one["sent_id"] == sentence)
            if here:
                spans[entity] = (here[0][0], here[0][1])
        for head, head_span in spans.items():
            for tail, tail_span in spans.items():
                apart = head_span[1] <= tail_span[0] or tail_span[1] <= head_span[0]
                found = relations.get((head, tail), set())
                if head == tail or not apart or len(found) > 1 or (not found and self.none_label is None):
                    continue
                where = f"{name}-{head}-{tail}"
                text, head_words, tail_words = tag_spans(tokens, head_span, tail_span, where=where)
                label = PROPERTIES[next(iter(found))] if found else str(self.none_label)
                yield RelationExample(where, text, head_words, tail_words, label)


@columns(
    sents=listed(listed(spelt), least=1),
    vertexSet=listed(listed(record(pos=listed(whole, exactly=2), sent_id=whole))),
    labels=listed(record(h=whole, t=whole, r=text)),
)
def _document(row: dict[str, Any]) -> dict[str, Any]:
    """A document whose mentions lie in its sentences and whose labels are between its entities."""
    for entity, mentions in enumerate(row["vertexSet"]):
        for number, mention in enumerate(mentions):
            where, (start, end) = f"vertexSet[{entity}][{number}]", mention["pos"]
            if not 0 <= mention["sent_id"] < len(row["sents"]):
                raise BadRowError(f"{where}.sent_id is {mention['sent_id']}, there are {len(row['sents'])} sentences")
            length = len(row["sents"][mention["sent_id"]])
            if not 0 <= start < end <= length:
                raise BadRowError(f"{where}.pos is {start}..{end}, wanted: a run inside 0..{length} of its sentence")
    for number, label in enumerate(row["labels"]):
        for side in ("h", "t"):
            if not 0 <= label[side] < len(row["vertexSet"]):
                told = f"there are {len(row['vertexSet'])} entities"
                raise BadRowError(f"labels[{number}].{side} is {label[side]}, {told}")
        if label["r"] not in PROPERTIES:
            raise BadRowError(
                f"labels[{number}]: the property {label['r']!r} has no name: "
                "add it to data/relations/redocred_properties.py"
            )
    return row


def _draw(tokens: Sequence[str]) -> str:
    return hashlib.sha256(" ".join(tokens).encode()).hexdigest()
