"""Relation extraction corpora as ``RelationExample``: row formats, checks, splits that share no sentence.

SemEval-2010 Task 8 (Hendrickx et al. 2010, https://aclanthology.org/S10-1006) and FewRel (Han et al. 2018,
https://aclanthology.org/D18-1514). Torch-free.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from data.files.rows import BadRowError, Row, columns, listed, maybe, shown, spelt, text, unfit, whole
from data.records.relations import RelationExample, without_tags

SEMEVAL_RELATIONS = (
    "Cause-Effect",
    "Component-Whole",
    "Content-Container",
    "Entity-Destination",
    "Entity-Origin",
    "Instrument-Agency",
    "Member-Collection",
    "Message-Topic",
    "Product-Producer",
)
"""The nine relations that the official score averages over, in the order of the task description."""

SEMEVAL_LABELS = (
    *(f"{relation}({direction})" for relation in SEMEVAL_RELATIONS for direction in ("e1,e2", "e2,e1")),
    "Other",
)
"""The nineteen directed labels. Frozen: an inventory read from test gold would leak which labels occur there."""

_PAIR = {tag: re.compile(rf"<{tag}>(.*?)</{tag}>") for tag in ("e1", "e2")}


@columns(sentence=text, relation=text, id=maybe(spelt), e1=maybe(spelt), e2=maybe(spelt))
def tagged_row(row: dict[str, Any], index: int) -> RelationExample:
    """Row with a ready tagged ``sentence`` and its ``relation`` (SemEval); ``id``, ``e1``, ``e2`` are checked if there.

    Args:
        row: fields as loaded.
        index: position in the file, counted from 0: the id (plus one) where the row has none.

    Raises:
        BadRowError: tags missing, doubled, nested or empty, or ``e1``/``e2`` that differ from the marked words.
    """
    head, tail = marked(row["sentence"], where="sentence")
    for field, words in (("e1", head), ("e2", tail)):
        if row[field] not in (None, words):
            raise BadRowError(f"{field} is {row[field]!r} but the tags mark {words!r}; correct one of them")
    return RelationExample(row["id"] or str(index + 1), row["sentence"], head, tail, row["relation"])


def _mention(value: Any, path: str) -> list[int]:
    """Positions of the first mention of an entity: [name, number, [positions, ...]]."""
    try:
        positions = value[2][0]
    except (TypeError, LookupError):
        raise unfit(value, path, "[name, number, [positions, ...]]") from None
    found: list[int] = listed(whole)(positions, f"{path}[2][0]")
    return found


@columns(tokens=listed(spelt), h=_mention, t=_mention, relation=text, name=text)
def token_row(row: dict[str, Any], index: int) -> RelationExample:
    """Row with ``tokens`` and the positions of head ``h`` and tail ``t`` (FewRel); its ``name`` is the label.

    The first mention of each entity is marked; either may stand first. The id is relation and position in the split.

    Raises:
        BadRowError: positions that are not one unbroken run inside the sentence, or that overlap.
    """
    tokens = row["tokens"]
    spans = {}
    for tag, field in (("e1", "h"), ("e2", "t")):
        positions = row[field]
        run = list(range(positions[0], positions[0] + len(positions))) if positions else []
        if not run or positions != run or run[0] < 0 or run[-1] >= len(tokens):
            raise BadRowError(
                f"{field} has the positions {positions}; wanted: one unbroken run in 0..{len(tokens) - 1}"
            )
        spans[tag] = (run[0], run[-1] + 1)
    if max(start for start, _ in spans.values()) < min(end for _, end in spans.values()):
        raise BadRowError(f"head and tail overlap ({spans}); marked pairs must be disjoint")
    words = list(tokens)
    for tag, (start, end) in spans.items():
        words[start] = f"<{tag}>{words[start]}"
        words[end - 1] = f"{words[end - 1]}</{tag}>"
    sentence = " ".join(words)
    head, tail = marked(sentence, where="tokens")
    return RelationExample(f"{row['relation']}-{index}", sentence, head, tail, row["name"])


READERS: dict[str, Callable[[Mapping[str, Any], int], RelationExample]] = {"tagged": tagged_row, "tokens": token_row}
"""Row formats by the name that ``conf/data`` uses (``reader``)."""


def marked(text: str, *, where: str = "text") -> tuple[str, str]:
    """Words between <e1>..</e1> and between <e2>..</e2>.

    Raises:
        BadRowError: not exactly one of each of the four tags, nested pairs, or an empty entity.
    """
    words = []
    spans = []
    for tag, pattern in _PAIR.items():
        found = list(pattern.finditer(text))
        if len(found) != 1 or text.count(f"<{tag}>") != 1 or text.count(f"</{tag}>") != 1:
            raise BadRowError(f"{where}: exactly one <{tag}>..</{tag}> is wanted, got {text[:80]!r}")
        spans.append(found[0].span())
        words.append(found[0].group(1))
    if spans[0][0] < spans[1][1] and spans[1][0] < spans[0][1]:
        raise BadRowError(f"{where}: <e1> and <e2> must not be nested, got {text[:80]!r}")
    if not all(word.strip() for word in words):
        raise BadRowError(f"{where}: an entity is empty, got {text[:80]!r}")
    return words[0], words[1]


def check(
    examples: Sequence[RelationExample], labels: Sequence[str], *, where: str, rows: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Ids unique, labels in the inventory.

    Args:
        examples: of one split.
        labels: the inventory.
        where: what the errors call the split.
        rows: that the examples were read from; an error tells the place of an unknown label by them.

    Raises:
        ValueError: naming the offending ids or labels.
    """
    doubled = [name for name, count in Counter(example.id for example in examples).items() if count > 1]
    if doubled:
        raise ValueError(f"{where}: ids must be unique, {doubled[:5]} recur")
    unknown = sorted({example.label for example in examples} - set(labels))
    if unknown:
        first = next(example for example in examples if example.label in unknown)
        places = (row.place for row in rows if isinstance(row, Row) and first.label in row.values())
        near = difflib.get_close_matches(first.label, labels, n=1, cutoff=0.7)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(
            f"{where}: labels {unknown[:5]} are not in the inventory, the first of them, {shown(first.label)}{meant}, "
            f"at {next(places, f'example {first.id}')}; correct the rows or data.labels"
        )


def drop_recurring(
    examples: Sequence[RelationExample], others: Sequence[RelationExample]
) -> tuple[list[RelationExample], list[str]]:
    """Leave out the examples whose sentence (tags removed) also stands in ``others``: (kept, ids of the dropped)."""
    seen = {without_tags(other.text) for other in others}
    kept = [example for example in examples if without_tags(example.text) not in seen]
    return kept, [example.id for example in examples if without_tags(example.text) in seen]


def carve(
    examples: Sequence[RelationExample], share: float, *, name: str
) -> tuple[list[RelationExample], list[RelationExample]]:
    """Set about ``share`` of the examples aside by a hash of the sentence: (rest, aside).

    A sentence that occurs with several pairs goes to one side whole; which side depends on its text and ``name`` alone.
    """
    if not 0.0 < share < 1.0:
        raise ValueError(f"the share carved for {name!r} must be between 0 and 1, got {share}")
    rest: list[RelationExample] = []
    aside: list[RelationExample] = []
    for example in examples:
        drawn = _draw(f"{name}:{without_tags(example.text)}")
        (aside if drawn < share else rest).append(example)
    return rest, aside


class _Named(Protocol):
    @property
    def id(self) -> str: ...


Example = TypeVar("Example", bound=_Named)


def subset(examples: Sequence[Example], limit: int | None) -> list[Example]:
    """At most ``limit`` examples, in their order: those with the smallest hash of the id.

    A smaller limit gives a subset of what a larger one gives, and a file sorted by label still yields a mixture.
    """
    if limit is None or limit >= len(examples):
        return list(examples)
    if limit < 1:
        raise ValueError(f"a limit must be at least 1 or null for all, got {limit}")
    chosen = sorted(range(len(examples)), key=lambda index: _draw(examples[index].id))[:limit]
    return [examples[index] for index in sorted(chosen)]


def _draw(text: str) -> float:
    """Uniform number in [0, 1) that only depends on ``text``."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
