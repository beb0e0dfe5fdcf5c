"""Which passages a question is shown with, in which order, and what did not fit: whole passages, never cut texts.

The order of work is fixed: rank, remove gold if asked to, cut to k, drop from the end of the ranking what exceeds the
budget, arrange. Arranging before dropping would drop good passages (trap 5 of the long-context RAG sheet).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from data.files.sources import digest_of
from data.files.stages import Stages
from data.rag.corpus import PassageFile, RawRow, write_passages
from data.rag.order import Order
from data.rag.passage_lists import PassageLists
from data.rag.showing import Context, Showing
from data.records.passages import Passage, RagExample
from data.retrieval.base import Progress, Retriever
from data.worlds.facts.world import FAMILIES, GOLD, KINDS, FactWorld

RETRIEVER_PAIRS = ("lookup", "dialogue")

QUESTION = "question"
"""Stands before every question, in lessons and tests: small readers otherwise cannot tell it from a passage."""


class ContextPlan:
    """How contexts are made.

    Args:
        order: arranges them.
        retriever: ranks the passages of the question's split; ``None`` with ``negatives``.
        negatives: in place of a retriever: the gold passage ranks first, then distractors of these kinds of the fact
            world (shares that add up to 1). Compare kinds at equal k.
        substitutes: distractors of these kinds stand where the retriever put passages that are not gold. Gold is
            there as often and at the same rank as without: what such a context lacks is the retriever's likeness alone.
        k: most passages; 0 shows none.
        k_least: each question draws its own k between this and ``k``; ``None``: all have ``k``.
        depth: passages that are retrieved and kept as a stage: cells with another k share it. Above k.
        gold: "kept" as ranked, or "removed": there are still k passages.
        families: of questions, in turn; see ``data.worlds.facts.world.FAMILIES``.
        questions: how many of the split.
        budget: tokens of a prompt, the question included; ``None``: no limit but the network's own.
        overflow: what to do with a ranking that exceeds the budget: "drop" whole passages from its end, or "fail", so
            that no sweep over k measures the budget instead.
        absent: training questions without gold in their context: "keep" teaches to guess, "drop" leaves them out.
        pairs: questions about base people, of each of two families, that retrievers trained here learn from.
        seed: draws each question's k.
    """

    def __init__(
        self,
        *,
        order: Order,
        retriever: Retriever | None = None,
        negatives: Mapping[str, float] | None = None,
        substitutes: Mapping[str, float] | None = None,
        k: int = 10,
        k_least: int | None = None,
        depth: int = 64,
        gold: Literal["kept", "removed"] = "kept",
        families: Sequence[str] = ("lookup",),
        questions: int = 300,
        budget: int | None = None,
        overflow: Literal["fail", "drop"] = "fail",
        absent: Literal["keep", "drop"] = "keep",
        pairs: int = 500,
        seed: int = 0,
    ) -> None:
        if (retriever is None) == (negatives is None):
            raise ValueError("contexts come from a retriever or from negatives: give exactly one, null the other")
        for name, shares in (("negatives", negatives), ("substitutes", substitutes)):
            if shares is not None and (set(shares) - set(KINDS) or abs(sum(shares.values()) - 1) > 1e-9):
                raise ValueError(f"{name} must be shares of {', '.join(KINDS)} that add up to 1, got {dict(shares)}")
        if substitutes is not None and retriever is None:
            raise ValueError("substitutes stand in for retrieved passages: give a retriever, or negatives alone")
        self._showing = Showing(
            order=order, k=k, k_least=k_least, gold=gold, budget=budget, overflow=overflow, seed=seed
        )
        if retriever is not None and k >= depth:
            raise ValueError(f"depth must exceed k, got depth={depth} and k={k}: raise depth")
        unknown = sorted(set(families) - set(FAMILIES))
        if unknown or not families:
            raise ValueError(f"families must be some of {', '.join(FAMILIES)}, got {list(families)}")
        if questions < 1:
            raise ValueError(f"questions must be at least 1, got {questions}")
        if absent not in ("keep", "drop"):
            raise ValueError(f"absent must be keep or drop, got {absent!r}")
        self.retriever = retriever
        self.negatives = None if negatives is None else dict(negatives)
        self.substitutes = None if substitutes is None else dict(substitutes)
        self.k, self.depth, self.gold, self.absent = int(k), int(depth), gold, absent
        self.families, self.questions, self.pairs = tuple(families), int(questions), int(pairs)

    def contexts(
        self,
        world: FactWorld,
        split: str,
        stages: Stages,
        *,
        tokens: Callable[[str], int] | None = None,
        progress: Progress | None = None,
    ) -> list[Context]:
        """Contexts of all questions of a split of the world, in their order.

        Args:
            world: whose questions and passages.
            split: "tune" or "test".
            stages: where rankings and indices live.
            tokens: of a text; wanted with a budget.
            progress: of the retrieval.

        Raises:
            ValueError: a budget without ``tokens``, or one that is exceeded with ``overflow`` "fail".
        """
        wanted = [
            world.question(split, self.families[index % len(self.families)], index) for index in range(self.questions)
        ]
        ranked = self._ranked(world, split, wanted, stages, progress)
        if self.substitutes is not None:
            ranked = [self._substituted(world, split, *each) for each in enumerate(ranked)]
        show = self._showing.show
        return [show(example, found, prompt_of, tokens) for example, found in zip(wanted, ranked, strict=True)]

    def _ranked(
        self,
        world: FactWorld,
        split: str,
        wanted: Sequence[RagExample],
        stages: Stages,
        progress: Progress | None,
    ) -> list[list[Passage]]:
        """Best first; enough of them for k."""
        if self.k == 0:
            return [[] for _ in wanted]
        if self.negatives is not None:
            return [self._graded(world, split, index) for index in range(len(wanted))]
        assert self.retriever is not None
        corpus = world_corpus(world, split, stages)
        pairs = [world.question("base", family, index) for family in RETRIEVER_PAIRS for index in range(self.pairs)]
        lists = PassageLists(self.retriever, corpus, stages, training=pairs)
        places = {passage.id: place for place, passage in enumerate(corpus)}
        return [[corpus[places[hit.id]] for hit in hits] for hits in lists.of(wanted, self.depth, progress=progress)]

    def _graded(self, world: FactWorld, split: str, index: int) -> list[Passage]:
        """Gold first, then distractors of the wanted kinds."""
        assert self.negatives is not None
        room = self.k + (2 if self.gold == "removed" else 0)
        family = self.families[index % len(self.families)]
        read = world.reading(split, family, index, k=max(room, 2), negatives=self.negatives, gold_position=0)
        marked = list(zip(read.kinds, read.example.passages, strict=True))
        return [one for kind, one in marked if kind == GOLD] + [one for kind, one in marked if kind != GOLD]

    def _substituted(self, world: FactWorld, split: str, index: int, ranked: Sequence[Passage]) -> list[Passage]:
        """The gold passages at their ranks, distractors of the wanted kinds at all others up to k."""
        assert self.substitutes is not None
        family = self.families[index % len(self.families)]
        gold = set(world.question(split, family, index).gold)
        # Two ranks more than k: gold that is removed later leaves them.
        kept = ranked[: self.k + 2] if self.gold == "removed" else ranked[: self.k]
        wanted = sum(passage.id not in gold for passage in kept)
        if not wanted:
            return list(kept)
        drawn = world.reading(
            split, family, index, k=wanted, negatives=self.substitutes, gold_present=False
        ).example.passages
        others = iter(drawn)
        return [passage if passage.id in gold else next(others) for passage in kept]


def asked(question: str) -> str:
    """A question with its mark."""
    return f"{QUESTION} {question}"


def prompt_of(question: str, passages: Sequence[Passage]) -> str:
    """Passages in their order, then the question with its mark."""
    return " ".join([*(passage.text for passage in passages), asked(question)])


def world_corpus(world: FactWorld, split: str, stages: Stages) -> PassageFile:
    """What is searched for the questions of a split: passages about its people and those of ``base``; a stage.

    Tune and test so share no passage that a question is about, and retrievers can be trained on base people.
    """
    rows: list[dict[str, Any]] = [
        {"id": one.id, "text": one.text} for part in (split, "base") for one in world.passages(part)
    ]
    key = {"facts": digest_of([(row["id"], row["text"]) for row in rows])}

    def build(into: Any) -> None:
        write_passages(map(RawRow, rows), into)

    return PassageFile(stages.get("corpus", key, build))
