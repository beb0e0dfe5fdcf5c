"""Real question sets with passages, for readers: what is asked of which set, what is shown, and how answers are judged.

The counterpart of ``data.rag.fact_rag`` for questions people asked. The set of the test, its retriever, number and
order of passages belong to the evaluation: changing them trains nothing anew.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import pandas as pd

from data.endpoints.teacher import ChatTeacher, citation_scores, read_reasoning
from data.files.jsonl import lines_for, read_lines
from data.files.sources import digest_of
from data.files.stages import Stages, TemporaryStages
from data.loading.item_data import ItemData
from data.rag.corpus import Corpus
from data.rag.order import Order
from data.rag.passage_lists import PassageLists, without_hidden_answers
from data.rag.showing import Context, Render, Showing
from data.records.builders import MadeBy
from data.records.passages import Passage, RagExample
from data.records.readings import ReadingItem
from data.records.texts import Completion
from data.relations.formats import subset
from data.retrieval.base import Progress, Retriever
from data.scoring.answers import has_answer, measure

_LABELS = "replies.jsonl"


class Questions(Protocol):
    """``question_sets.QuestionSet`` or ``question_sets.QuestionMix``."""

    name: str

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        ...

    def examples(self, split: str) -> list[RagExample]:
        """Questions of a split in their order."""
        ...


class QuestionPlan:
    """Which questions are asked, and which passages they are shown with.

    Args:
        asked: the set.
        split: of the set; ``None``: the first of test, dev and train that it has.
        corpus: what is searched; ``None``: the passages that come with each question, in their source's order.
        retriever: ranks the corpus; goes with ``corpus``.
        gold_first: the gold passages rank first, for prompts of one gold passage and distractors.
        hidden_answers: passages that hold an accepted answer and are not gold, so no distractors: "keep" or "drop".
        questions: at most so many, chosen by a hash of the id; ``None``: all.
        depth: passages that are retrieved and kept as a stage: cells with another k share it. Above k.
        absent: training questions without gold in their context: "keep" teaches to guess, "drop" leaves them out.
        pairs: a set whose train split retrievers that are trained here learn from.
        gold: see ``showing.Showing``; also "unknown": which passages are gold is not looked at, for a corpus that has
            other passages than the questions' own. Scores by gold are missing then.
        order, k, k_least, budget, overflow, seed: see ``showing.Showing``.
    """

    def __init__(
        self,
        *,
        asked: Questions,
        order: Order,
        split: str | None = None,
        corpus: Corpus | None = None,
        retriever: Retriever | None = None,
        gold_first: bool = False,
        hidden_answers: Literal["keep", "drop"] = "keep",
        questions: int | None = None,
        k: int = 10,
        k_least: int | None = None,
        depth: int = 128,
        gold: Literal["kept", "removed", "unknown"] = "kept",
        budget: int | None = None,
        overflow: Literal["fail", "drop"] = "fail",
        absent: Literal["keep", "drop"] = "keep",
        pairs: Questions | None = None,
        seed: int = 0,
    ) -> None:
        if (corpus is None) != (retriever is None):
            raise ValueError(
                "a retriever searches a corpus: give corpus and retriever, or neither for a question's own passages"
            )
        if corpus is not None and k >= depth:
            raise ValueError(f"depth must exceed k, got depth={depth} and k={k}: raise depth")
        if questions is not None and questions < 1:
            raise ValueError(f"questions must be at least 1 or null for all, got {questions}")
        for name, given in (("hidden_answers", hidden_answers), ("absent", absent)):
            if given not in ("keep", "drop"):
                raise ValueError(f"{name} must be keep or drop, got {given!r}")
        if gold not in ("kept", "removed", "unknown"):
            raise ValueError(f"gold must be kept, removed or unknown, got {gold!r}")
        if gold == "unknown" and (gold_first or absent == "drop"):
            raise ValueError("gold=unknown goes neither with gold_first nor with absent=drop, which look at it")
        self.asked, self.split, self.corpus, self.retriever = asked, split, corpus, retriever
        self.gold_first, self.hidden_answers, self.questions = bool(gold_first), hidden_answers, questions
        self.depth, self.absent, self.pairs = int(depth), absent, pairs
        self.gold_known = gold != "unknown"
        self._showing = Showing(
            order=order,
            k=k,
            k_least=k_least,
            gold="removed" if gold == "removed" else "kept",
            budget=budget,
            overflow=overflow,
            seed=seed,
        )

    def contexts(
        self,
        stages: Stages,
        render: Render,
        *,
        tokens: Callable[[str], int] | None = None,
        progress: Progress | None = None,
    ) -> list[Context]:
        """Contexts of all questions, in their order; see ``Showing.show`` for what is refused.

        Raises:
            ValueError: a split that the set lacks, k passages wanted where the questions bring none, or a corpus with
                none of the gold passages.
        """
        split = self.split or next((name for name in ("test", "dev", "train") if name in self.asked.splits), "test")
        examples = subset(self.asked.examples(split), self.questions)
        if not self.gold_known:
            examples = [example._replace(gold=()) for example in examples]
        examples, ranked = self._ranked(examples, stages, progress)
        if self._showing.k and not any(ranked):
            raise ValueError(f"questions {self.asked.name} bring no passages: give a corpus and a retriever, or k=0")
        paired = zip(examples, ranked, strict=True)
        return [self._showing.show(one, self._sorted(one, found), render, tokens) for one, found in paired]

    def _ranked(
        self, examples: list[RagExample], stages: Stages, progress: Progress | None
    ) -> tuple[list[RagExample], list[Sequence[Passage]]]:
        """The questions, with the corpus's ids where one is searched, and their passages, best first."""
        if self._showing.k == 0:
            return examples, [() for _ in examples]
        if self.corpus is None or self.retriever is None:
            return examples, [example.passages for example in examples]
        corpus = self.corpus.passages(stages, progress)
        pairs = [] if self.pairs is None else self.pairs.examples("train")
        lists = PassageLists(self.retriever, corpus, stages, training=pairs)
        examples = lists.located(examples, name=f"questions {self.asked.name} over corpus {self.corpus.name}")
        found = lists.of(examples, self.depth, progress=progress)
        places = corpus.positions({hit.id for hits in found for hit in hits})
        return examples, [[corpus[places[hit.id]] for hit in hits] for hits in found]

    def _sorted(self, example: RagExample, ranked: Sequence[Passage]) -> Sequence[Passage]:
        if self.hidden_answers == "drop":
            ranked = without_hidden_answers(ranked, example)
        if self.gold_first:
            ranked = sorted(ranked, key=lambda passage: passage.id not in example.gold)
        return ranked


class QuestionPrompt:
    """How a question and its passages are spelt.

    Args:
        instruction: stands first, on a line of its own; "" for none.
        passage: a passage, with ``{number}`` (its place in the prompt, from 1), ``{title}`` and ``{text}``.
        untitled: a passage without a title.
        question: with ``{question}``; what follows it is for the reader to write.
    """

    def __init__(self, *, instruction: str, passage: str, untitled: str, question: str) -> None:
        if "{text}" not in passage or "{text}" not in untitled or "{question}" not in question:
            raise ValueError("data.prompt wants {text} in passage and untitled, and {question} in question")
        self.instruction, self.passage, self.untitled, self.question = instruction, passage, untitled, question

    def __call__(self, question: str, passages: Sequence[Passage]) -> str:
        """The prompt; numbers follow the passages' places."""
        told = [
            (self.passage if passage.title else self.untitled).format(
                number=number, title=passage.title, text=passage.text
            )
            for number, passage in enumerate(passages, start=1)
        ]
        return "\n".join([*filter(None, [self.instruction]), *told, self.question.format(question=question)])


class QuestionRag(ItemData):
    """Question sets with passages. Nothing is read or retrieved before it is asked for.

    Args:
        name: of the data in tables.
        train: what a method trains on; the first accepted answer is the response.
        test: what is judged, whatever its set calls the split.
        prompt: how all of it is spelt.
        batch_size: rows of a training step.
        seed: order of the training rows.
        teacher: writes the reasoning that training responses begin with, and that responses are expected to have;
            ``None``: responses are answers alone.

    Attributes:
        rejected: training questions whose label was rejected, by reason; known once the items have been asked for.
        collate, start_step: see ``ItemData``; ``count_tokens`` is for budgets.
    """

    scored_by: tuple[str, ...] = ("data.scoring.columns", "data.scoring.rag")

    def __init__(
        self,
        *,
        name: str,
        train: QuestionPlan,
        test: QuestionPlan,
        prompt: QuestionPrompt,
        batch_size: int,
        seed: int,
        teacher: ChatTeacher | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"data.batch_size must be at least 1, got {batch_size}")
        self.name = name
        self.plans = {"train": train, "test": test}
        self.prompt, self.teacher = prompt, teacher
        self.rejected: dict[str, int] = {}
        self.batch_size, self.seed = int(batch_size), int(seed)
        self._stages: Stages | None = None
        self._progress: Progress | None = None
        self._contexts: dict[str, list[Context]] = {}

    def prepare(self, stages: Stages, progress: Progress | None = None) -> None:
        """Remember where shared products live; labels of a teacher are one: none is paid for twice."""
        self._stages, self._progress = stages, progress

    def contexts(self, split: str) -> list[Context]:
        """Contexts of "train" or "test"; ``ValueError`` for another split."""
        if split not in self.plans:
            raise ValueError(f"{self.name} has no contexts for the split {split!r}: use test")
        if split not in self._contexts:
            self._stages = self._stages or TemporaryStages()
            made = self.plans[split].contexts(self._stages, self.prompt, tokens=self.count_tokens)
            self._contexts[split] = made
        return self._contexts[split]

    def items(self, split: str, limit: int | None = None) -> Sequence[ReadingItem]:
        """Rows of a split in their order; with ``limit`` a fixed choice of so many."""
        found = self.contexts(split)
        if split == "train" and self.plans["train"].absent == "drop":
            found = [one for one in found if _gold_shown(one.example)]
        if not found:
            raise ValueError(f"no {split} question has its gold passages in its context: raise k, or set absent=keep")
        chosen = {example.id for example in subset([one.example for one in found], limit)}
        examples = [context.example for context in found if context.example.id in chosen]
        if split == "train" and self.teacher is not None:
            return self._reasoned(self.teacher, examples)
        return [ReadingItem(one.id, self.prompt(one.question, one.passages), one.answers[0]) for one in examples]

    def _reasoned(self, teacher: ChatTeacher, examples: Sequence[RagExample]) -> list[ReadingItem]:
        """Training rows with the teacher's labels; those that were rejected are left out and counted."""
        prompts = [self.prompt(one.question, one.passages) for one in examples]
        key = {
            "teacher": teacher.identity,
            "texts": digest_of([[prompt, one.answers[0]] for prompt, one in zip(prompts, examples, strict=True)]),
        }

        def ask(number: int) -> str:
            return teacher.reply(prompts[number], examples[number].answers[0])

        build = lines_for(_LABELS, len(examples), ask, self._progress)
        self._stages = self._stages or TemporaryStages()
        replies = read_lines(self._stages.get("teacher_labels", key, MadeBy(build, (teacher,))) / _LABELS)
        made, rejected = [], Counter[str]()
        for reply, prompt, example in zip(replies, prompts, examples, strict=True):
            label, fault = teacher.label(str(reply), example)
            if fault:
                rejected[fault] += 1
            else:
                made.append(ReadingItem(example.id, prompt, label))
        self.rejected = dict(rejected)
        if not made:
            told = ", ".join(f"{fault}: {count}" for fault, count in rejected.items())
            raise ValueError(f"the teacher {teacher.model} wrote no label that can be used ({told}): take another one")
        return made

    def item_length(self) -> Callable[[ReadingItem], int]:
        """Rows of like length share a batch."""
        return lambda item: len(item.prompt)

    def frame(self, completions: Sequence[Completion]) -> pd.DataFrame:
        """Judged responses, one row per question; see ``judged_text``."""
        contexts = {one.example.id: one for one in self.contexts("test")}
        rows = []
        for completion in completions:
            row = judged_text(completion.response, contexts[completion.example_id], reasoned=self.teacher is not None)
            rows.append({**row, "response_tokens": completion.tokens, "finished": float(completion.finished)})
        return pd.DataFrame(rows)


def judged_text(response: str, context: Context, *, reasoned: bool = False) -> dict[str, Any]:
    """One row of an examples frame.

    Only the first line with text counts as the answer: readers that nobody taught to stop go on with questions of
    their own, and containment would reward them for it. "Right" is ``answer_contained`` of ``data.scoring.answers``.
    What is wrong stands in a shown passage (``error_other_passage``) or in none (``error_not_in_context``), or nothing
    was said (``error_malformed``).

    Of a reasoned response the answer is what follows its last ``Answer:``, the first line where that is missing;
    ``citation_precision`` and ``citation_recall`` compare the cited passages with the gold ones that were shown.
    """
    example = context.example
    said = next((line.strip() for line in response.splitlines() if line.strip()), "")
    reasoning = read_reasoning(response) if reasoned else None
    if reasoning is not None and reasoning.answer is not None:
        said = reasoning.answer
    scores = measure(said, example.answers)
    right = scores["answer_contained"]
    shown = {passage.id for passage in example.passages}
    gold_shown = _gold_shown(example)
    copied = bool(said) and any(has_answer(passage.text, (said,)) for passage in example.passages)
    row: dict[str, Any] = {"example_id": example.id, "answer": example.answers[0], "response": response, **scores}
    # Without gold ids nobody knows whether gold was there: neither way counted.
    row["gold_in_context"] = float(gold_shown) if example.gold else math.nan
    row["precision_at_k"] = len(shown & set(example.gold)) / len(shown) if shown and example.gold else math.nan
    row["right_given_gold"] = right if gold_shown else math.nan
    row["right_given_no_gold"] = right if example.gold and not gold_shown else math.nan
    row["error_other_passage"] = float(not right and copied)
    row["error_not_in_context"] = float(not right and bool(said) and not copied)
    row["error_malformed"] = float(not right and not said)
    row["passages"] = len(shown)
    row["dropped_passages"], row["gold_dropped"] = context.dropped, float(context.gold_dropped)
    if reasoning is not None:
        row["citation_precision"], row["citation_recall"] = citation_scores(reasoning.cited, example)
    return row


def _gold_shown(example: RagExample) -> bool:
    return bool(example.gold) and set(example.gold) <= {passage.id for passage in example.passages}
