"""Sets of questions as ``RagExample``: row formats, splits, and mixtures of sets. Torch-free.

Natural Questions with gold passages and key-value retrieval (Liu et al. 2023, arXiv 2307.03172), HotpotQA (arXiv
1809.09600), MuSiQue (2108.00573), PubMedQA (1909.06146), COVID-QA (Moeller et al. 2020), XQuAD (1910.11856), QED
(2009.06354), RetrievalQA (2402.16457), and FlashRAG's collection (2405.13576) for what only a hub has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from data.chunking import Chunker, Span
from data.corpora import passage_id
from data.records.passages import Passage, RagExample
from data.relations import subset
from data.sources import read_hub, read_rows

Reader = Callable[[Mapping[str, Any], int, Chunker], list[RagExample]]
"""Row, its position in the file, and how long documents are cut -> the questions that the row holds."""

_CHOICES = "ABCDEFGHIJ"


def _passage(title: Any, text: str) -> Passage:
    return Passage(passage_id(text), str(title or ""), " ".join(text.split()))


def gold_row(row: Mapping[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """Question with one ``gold`` passage (title, text) and no distractor."""
    passage = _passage(row["gold"]["title"], row["gold"]["text"])
    return [RagExample(str(row["id"]), row["question"], tuple(row["answers"]), (passage.id,), (passage,))]


def open_row(row: Mapping[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """Question with ``answers``, ``answer`` or ``golden_answers`` and no passage."""
    found: Any = next((row[name] for name in ("answers", "golden_answers", "answer") if row.get(name)), [])
    answers = [found] if isinstance(found, str) else found
    return [RagExample(str(row.get("id") or f"q{index}"), row["question"], tuple(map(str, answers)))]


def paragraphs_row(row: Mapping[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """Question with ``paragraphs``, of which those that are ``is_supporting`` are gold (HotpotQA, MuSiQue)."""
    passages = [_passage(paragraph["title"], paragraph["text"]) for paragraph in row["paragraphs"]]
    marked = zip(passages, row["paragraphs"], strict=True)
    gold = dict.fromkeys(passage.id for passage, paragraph in marked if paragraph["is_supporting"])
    shown = tuple({passage.id: passage for passage in passages}.values())
    return [RagExample(str(row["id"]), row["question"], tuple(row["answers"]), tuple(gold), shown)]


def abstract_row(row: Mapping[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """PubMedQA: yes, no or maybe, from the sections of one abstract, all of which are gold."""
    sections = zip(row["labels"], row["contexts"], strict=True)
    passages = tuple({made.id: made for made in (_passage(label, text) for label, text in sections)}.values())
    gold = tuple(passage.id for passage in passages)
    return [RagExample(str(row["id"]), row["question"], (row["answer"],), gold, passages)]


def document_row(row: Mapping[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """COVID-QA: questions on one long paper, cut into passages; gold are those that the span of an answer touches."""
    text, document = row["context"], str(row["doc_id"])
    pieces = chunk.cut(text)
    passages = tuple(
        Passage(f"{document}#{number}", "", text[piece.start : piece.end]) for number, piece in enumerate(pieces)
    )
    made = []
    for asked in row["qas"]:
        marked = [(answer["answer_start"], answer["text"]) for answer in asked["answers"]]
        found = [Span(start, start + len(words)) for start, words in marked]
        gold = tuple(
            passage.id
            for passage, piece in zip(passages, pieces, strict=True)
            if any(span.start < piece.end and piece.start < span.end for span in found)
        )
        answers = tuple(words for _, words in marked)
        made.append(RagExample(f"{document}-{asked['id']}", asked["question"], answers, gold, passages))
    return made


def squad_row(row: Mapping[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """SQuAD and XQuAD: one ``context``, answers as spans of it."""
    passage = _passage(str(row["title"]).replace("_", " "), row["context"])
    answers = tuple(answer["text"] for answer in row["answers"])
    return [RagExample(str(row["id"]), row["question"], answers, (passage.id,), (passage,))]


def qed_row(row: Mapping[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """QED: a Natural Question with its paragraph; each answer may consist of several spans."""
    passage = _passage(row["title"], row["paragraph"])
    answers = tuple(", ".join(parts) if not isinstance(parts, str) else parts for parts in row["answers"])
    return [RagExample(str(row["id"]), row["question"], answers, (passage.id,), (passage,))]


def key_value_row(row: Mapping[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """Key-value retrieval: each pair is a passage, the key is the question, its value the answer."""
    passages = tuple(Passage(key, "", f'"{key}": "{value}"') for key, value in row["ordered_kv_records"])
    return [RagExample(f"kv{index}", row["key"], (row["value"],), (row["key"],), passages)]


def snippets_row(row: Mapping[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """RetrievalQA: question with web snippets in ``context``; which of them hold the answer is not marked.

    A snippet is a title and a text, or a text alone; a title without a text is left out.
    """
    snippets = [{"text": found} if isinstance(found, str) else found for found in row["context"]]
    passages = [_passage(found.get("title"), found["text"]) for found in snippets if (found.get("text") or "").strip()]
    shown = tuple({passage.id: passage for passage in passages}.values())
    return [RagExample(str(row["question_id"]), row["question"], tuple(row["ground_truth"]), (), shown)]


def choices_row(row: Mapping[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """MMLU: ``question``, ``choices`` and the number of the right one; the options stand below the question.

    Letter and text of the right choice are both accepted.
    """
    choices, right = list(row["choices"]), int(row["answer"])
    options = "\n".join(f"{letter}. {choice}" for letter, choice in zip(_CHOICES, choices, strict=False))
    name = str(row.get("id") or f"{row.get('subject') or 'mmlu'}-{index}")
    return [RagExample(name, f"{row['question']}\n{options}", (_CHOICES[right], str(choices[right])))]


READERS: dict[str, Reader] = {
    "gold": gold_row,
    "open": open_row,
    "paragraphs": paragraphs_row,
    "abstract": abstract_row,
    "document": document_row,
    "squad": squad_row,
    "qed": qed_row,
    "key_value": key_value_row,
    "snippets": snippets_row,
    "choices": choices_row,
}
"""Row formats by the name that ``conf/data/questions`` uses (``reader``)."""

_HUB_FIELDS = {"id", "config", "split", "revision"}


class QuestionSet:
    """Questions of one source, in named splits. Nothing is read before it is asked for.

    Args:
        name: what the set is called in messages.
        files: JSON-lines file by split; see ``sources.locate``.
        hub: ``{id, config, split, revision}`` of a hub data set by split.
        reader: row format, a key of ``READERS``.
        only: field values that a row must have, such as ``{source: [musique-train]}``; ``None`` for all rows.
        chunk: how long documents are cut; only the reader "document" looks at it.
        limit: at most so many questions of a split, chosen by a hash of the id; ``None`` for all.

    Attributes:
        left_out: by split, ids of the questions without text or without an answer.
    """

    def __init__(
        self,
        *,
        name: str,
        reader: str,
        files: Mapping[str, str] | None = None,
        hub: Mapping[str, Any] | None = None,
        only: Mapping[str, Sequence[str]] | None = None,
        chunk: Chunker | None = None,
        limit: int | None = None,
    ) -> None:
        if reader not in READERS:
            raise ValueError(f"questions {name}: reader must be one of {', '.join(READERS)}, got {reader!r}")
        if not files and not hub:
            raise ValueError(f"questions {name}: give files or hub with at least one split")
        for split, source in (hub or {}).items():
            if set(source) != _HUB_FIELDS:
                raise ValueError(f"questions {name}: hub.{split} must give exactly {', '.join(sorted(_HUB_FIELDS))}")
        doubled = sorted(set(files or {}) & set(hub or {}))
        if doubled:
            raise ValueError(f"questions {name}: the splits {doubled} come from files and from hub")
        if limit is not None and limit < 1:
            raise ValueError(f"questions {name}: limit must be at least 1 or null for all, got {limit}")
        self.name = name
        self.files = dict(files or {})
        self.hub = {split: dict(source) for split, source in (hub or {}).items()}
        self.reader = reader
        self.only = {field: list(values) for field, values in (only or {}).items()}
        self.chunk = chunk or Chunker()
        self.limit = limit
        self.left_out: dict[str, list[str]] = {}
        self._examples: dict[str, list[RagExample]] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return (*self.files, *self.hub)

    def examples(self, split: str) -> list[RagExample]:
        """Questions of a split in their order; ``ValueError`` for an unknown split, or one without a question."""
        if split not in self.splits:
            raise ValueError(f"questions {self.name}: no split {split!r}, it has {', '.join(self.splits)}")
        if split not in self._examples:
            self._examples[split] = self._load(split)
        return self._examples[split]

    def _load(self, split: str) -> list[RagExample]:
        if split in self.files:
            rows = read_rows(self.files[split])
        else:
            source = self.hub[split]
            rows = read_hub(source["id"], config=source["config"], split=source["split"], revision=source["revision"])
        kept = [row for row in rows if all(row.get(field) in values for field, values in self.only.items())]
        read = READERS[self.reader]
        made = [example for index, row in enumerate(kept) for example in read(row, index, self.chunk)]
        made = [example._replace(answers=_spoken(example.answers)) for example in made]
        usable = [example for example in made if example.question.strip() and example.answers]
        self.left_out[split] = [example.id for example in made if not (example.question.strip() and example.answers)]
        doubled = [name for name, count in Counter(example.id for example in usable).items() if count > 1]
        if doubled:
            raise ValueError(f"questions {self.name}, split {split!r}: ids must be unique, {doubled[:5]} recur")
        if not usable:
            raise ValueError(f"questions {self.name}, split {split!r}: no question is left of {len(rows)} rows")
        return subset(usable, self.limit)


class QuestionMix:
    """Several sets as one: the paper's training mixture. Ids get the set's name in front.

    Args:
        name: what the mixture is called in messages.
        parts: the sets by name.
        per_part: questions of each set, chosen by a hash of the id; ``None`` for all.
    """

    def __init__(self, *, name: str, parts: Mapping[str, Any], per_part: int | None = None) -> None:
        if not parts:
            raise ValueError(f"questions {name}: a mixture needs at least one part")
        if per_part is not None and per_part < 1:
            raise ValueError(f"questions {name}: per_part must be at least 1 or null for all, got {per_part}")
        self.name = name
        self.parts = dict(parts)
        self.per_part = per_part

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that every part has."""
        first, *others = self.parts.values()
        return tuple(split for split in first.splits if all(split in other.splits for other in others))

    def examples(self, split: str) -> list[RagExample]:
        """Questions of every part, part by part."""
        mixed = []
        for name, part in self.parts.items():
            found = part.examples(split)
            if self.per_part is not None and len(found) < self.per_part:
                raise ValueError(f"questions {self.name}: {name} has {len(found)} of the {self.per_part} wanted")
            mixed += [example._replace(id=f"{name}:{example.id}") for example in subset(found, self.per_part)]
        return mixed


def _spoken(answers: Iterable[str]) -> tuple[str, ...]:
    """Answers without empty ones and repetitions, in their order."""
    return tuple(dict.fromkeys(answer.strip() for answer in answers if answer and answer.strip()))
