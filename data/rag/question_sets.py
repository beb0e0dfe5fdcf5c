"""Sets of questions as ``RagExample``: row formats, splits, and mixtures of sets. Torch-free.

Natural Questions with gold passages and key-value retrieval (Liu et al. 2023, arXiv 2307.03172), HotpotQA (arXiv
1809.09600), MuSiQue (2108.00573), PubMedQA (1909.06146), COVID-QA (Moeller et al. 2020), XQuAD (1910.11856), QED
(2009.06354), RetrievalQA (2402.16457), and FlashRAG's collection (2405.13576) for what only a hub has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from data.files.rows import BadRowError, columns, flag, listed, maybe, placed, record, spelt, text, whole
from data.files.sources import read_hub, read_rows
from data.rag.chunking import Chunker, Span
from data.rag.corpus import passage_id
from data.records.passages import Passage, RagExample
from data.relations.formats import subset

Reader = Callable[[Mapping[str, Any], int, Chunker], list[RagExample]]
"""Row, its position in the file, and how long documents are cut -> the questions that the row holds."""

_CHOICES = "ABCDEFGHIJ"


def _passage(title: Any, text: str) -> Passage:
    return Passage(passage_id(text), str(title or ""), " ".join(text.split()))


_answers = listed(spelt)
_ASKED = {"id": spelt, "question": text, "answers": _answers}


@columns(**_ASKED, gold=record(title=maybe(spelt), text=text))
def gold_row(row: dict[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """Question with one ``gold`` passage (title, text) and no distractor."""
    passage = _passage(row["gold"]["title"], row["gold"]["text"])
    return [RagExample(row["id"], row["question"], tuple(row["answers"]), (passage.id,), (passage,))]


def _one_or_more(value: Any, path: str) -> list[str]:
    return _answers(value, path) if isinstance(value, list) else [spelt(value, path)]


_OPEN = ("answers", "golden_answers", "answer")


@columns(*_OPEN, question=text, id=maybe(spelt), **dict.fromkeys(_OPEN, maybe(_one_or_more)))
def open_row(row: dict[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """Question with ``answers``, ``answer`` or ``golden_answers`` and no passage."""
    answers: list[str] = next((row[name] for name in _OPEN if row[name]), [])
    return [RagExample(row["id"] or f"q{index}", row["question"], tuple(answers))]


@columns(**_ASKED, paragraphs=listed(record(title=maybe(spelt), text=text, is_supporting=flag), least=1))
def paragraphs_row(row: dict[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """Question with ``paragraphs``, of which those that are ``is_supporting`` are gold (HotpotQA, MuSiQue)."""
    passages = [_passage(paragraph["title"], paragraph["text"]) for paragraph in row["paragraphs"]]
    marked = zip(passages, row["paragraphs"], strict=True)
    gold = dict.fromkeys(passage.id for passage, paragraph in marked if paragraph["is_supporting"])
    shown = tuple({passage.id: passage for passage in passages}.values())
    return [RagExample(row["id"], row["question"], tuple(row["answers"]), tuple(gold), shown)]


@columns(id=spelt, question=text, answer=spelt, labels=listed(spelt), contexts=listed(text, least=1))
def abstract_row(row: dict[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """PubMedQA: yes, no or maybe, from the sections of one abstract, all of which are gold."""
    if len(row["labels"]) != len(row["contexts"]):
        raise BadRowError(f"there are {len(row['labels'])} labels for {len(row['contexts'])} contexts: give one each")
    sections = zip(row["labels"], row["contexts"], strict=True)
    passages = tuple({made.id: made for made in (_passage(label, text) for label, text in sections)}.values())
    gold = tuple(passage.id for passage in passages)
    return [RagExample(row["id"], row["question"], (row["answer"],), gold, passages)]


@columns(
    doc_id=spelt,
    context=text,
    qas=listed(record(id=spelt, question=text, answers=listed(record(answer_start=whole, text=text)))),
)
def document_row(row: dict[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """COVID-QA: questions on one long paper, cut into passages; gold are those that the span of an answer touches."""
    context, document = row["context"], row["doc_id"]
    pieces = chunk.cut(context)
    passages = tuple(
        Passage(f"{document}#{number}", "", context[piece.start : piece.end]) for number, piece in enumerate(pieces)
    )
    made = []
    for asked in row["qas"]:
        marked = [(answer["answer_start"], answer["text"]) for answer in asked["answers"]]
        found = [Span(start, start + len(words)) for start, words in marked]
        outside = next((span for span in found if not 0 <= span.start <= span.end <= len(context)), None)
        if outside is not None:
            told = f"an answer spans the characters {outside.start}..{outside.end}"
            raise BadRowError(f"question {asked['id']}: {told}, the context has {len(context)}")
        gold = tuple(
            passage.id
            for passage, piece in zip(passages, pieces, strict=True)
            if any(span.start < piece.end and piece.start < span.end for span in found)
        )
        answers = tuple(words for _, words in marked)
        made.append(RagExample(f"{document}-{asked['id']}", asked["question"], answers, gold, passages))
    return made


@columns(id=spelt, question=text, title=maybe(spelt), context=text, answers=listed(record(text=text)))
def squad_row(row: dict[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """SQuAD and XQuAD: one ``context``, answers as spans of it."""
    passage = _passage((row["title"] or "").replace("_", " "), row["context"])
    answers = tuple(answer["text"] for answer in row["answers"])
    return [RagExample(row["id"], row["question"], answers, (passage.id,), (passage,))]


@columns(id=spelt, question=text, title=maybe(spelt), paragraph=text, answers=listed(_one_or_more))
def qed_row(row: dict[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """QED: a Natural Question with its paragraph; each answer may consist of several spans."""
    passage = _passage(row["title"], row["paragraph"])
    answers = tuple(", ".join(parts) for parts in row["answers"])
    return [RagExample(row["id"], row["question"], answers, (passage.id,), (passage,))]


@columns(key=spelt, value=spelt, ordered_kv_records=listed(listed(spelt, exactly=2), least=1))
def key_value_row(row: dict[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """Key-value retrieval: each pair is a passage, the key is the question, its value the answer."""
    passages = tuple(Passage(key, "", f'"{key}": "{value}"') for key, value in row["ordered_kv_records"])
    if row["key"] not in {passage.id for passage in passages}:
        raise BadRowError(f"key is {row['key']!r}, which no pair of ordered_kv_records has")
    return [RagExample(f"kv{index}", row["key"], (row["value"],), (row["key"],), passages)]


def _snippet(value: Any, path: str) -> dict[str, Any]:
    """A title and a text, or a text alone."""
    found: dict[str, Any] = record(title=maybe(spelt), text=maybe(text))(
        {"text": value} if isinstance(value, str) else value, path
    )
    return found


@columns(question_id=spelt, question=text, ground_truth=_answers, context=listed(_snippet))
def snippets_row(row: dict[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """RetrievalQA: question with web snippets in ``context``; which of them hold the answer is not marked.

    A snippet is a title and a text, or a text alone; a title without a text is left out.
    """
    passages = [_passage(found["title"], found["text"]) for found in row["context"] if (found["text"] or "").strip()]
    shown = tuple({passage.id: passage for passage in passages}.values())
    return [RagExample(row["question_id"], row["question"], tuple(row["ground_truth"]), (), shown)]


def _choice(value: Any, path: str) -> int:
    """The number of a choice, from 0, or its letter, as the hub's class labels come."""
    if isinstance(value, str) and len(value) == 1 and value in _CHOICES:
        return _CHOICES.index(value)
    return whole(value, path)


@columns(question=text, choices=listed(spelt, least=1), answer=_choice, id=maybe(spelt), subject=maybe(text))
def choices_row(row: dict[str, Any], index: int, chunk: Chunker) -> list[RagExample]:
    """MMLU: ``question``, ``choices`` and the number of the right one; the options stand below the question.

    Letter and text of the right choice are both accepted.
    """
    choices, right = row["choices"], row["answer"]
    if not 0 <= right < len(choices) or len(choices) > len(_CHOICES):
        raise BadRowError(f"answer is {right}, wanted: 0..{len(choices) - 1}, and at most {len(_CHOICES)} choices")
    options = "\n".join(f"{letter}. {choice}" for letter, choice in zip(_CHOICES, choices, strict=False))
    name = row["id"] or f"{row['subject'] or 'mmlu'}-{index}"
    return [RagExample(name, f"{row['question']}\n{options}", (_CHOICES[right], choices[right]))]


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
        rows: Sequence[Mapping[str, Any]]
        if split in self.files:
            rows = read_rows(self.files[split])
        else:
            source = self.hub[split]
            found = read_hub(source["id"], config=source["config"], split=source["split"], revision=source["revision"])
            rows = placed(found, f"{source['id']} ({source['split']})")
        for field in self.only:
            if rows and not any(field in row for row in rows):
                raise ValueError(
                    f"questions {self.name}: only asks for {field}, which no row of {split} has; found "
                    f"{', '.join(sorted(rows[0]))}"
                )
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
            raise ValueError(
                f"questions {self.name}, split {split!r}: no question is left of {len(rows)} rows: "
                f"{len(rows) - len(kept)} have other values than only asks for, {len(made)} lack question or answer"
            )
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
