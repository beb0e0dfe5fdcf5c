"""Which passages a question is shown with, in which order, and what did not fit: whole passages, never cut texts.

The order of work is fixed: rank, remove gold if asked to, cut to k, drop from the end of the ranking what exceeds the
budget, arrange. Arranging before dropping would drop good passages (trap 5 of the long-context RAG sheet).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from data.artifacts import Stages
from data.corpora import PassageFile, RawRow, write_passages
from data.order import Order
from data.passage_lists import PassageLists
from data.records.passages import Passage, RagExample
from data.retrieval.base import Progress, Retriever
from data.sources import digest_of
from data.worlds.facts import FAMILIES, GOLD, KINDS, FactWorld
from data.worlds.seeding import generator

RETRIEVER_PAIRS = ("lookup", "dialogue")


class Context(NamedTuple):
    """A question with the passages that it is shown with.

    Attributes:
        example: the question; ``passages`` in the order of the prompt.
        dropped: passages of the ranking's first k that the budget left out.
        gold_dropped: whether one of them was gold.
    """

    example: RagExample
    dropped: int
    gold_dropped: bool


class ContextPlan:
    """How contexts are made.

    Args:
        order: arranges them.
        retriever: ranks the passages of the question's split; ``None`` with ``negatives``.
        negatives: in place of a retriever: the gold passage ranks first, then distractors of these kinds of the fact
            world (shares that add up to 1). Compare kinds at equal k.
        k: most passages; 0 shows none.
        k_least: each question draws its own k between this and ``k``; ``None``: all have ``k``.
        depth: passages that are retrieved and kept as a stage: cells with another k share it. Above k.
        gold: "kept" as ranked, or "removed": there are still k passages.
        families: of questions, in turn; see ``data.worlds.facts.FAMILIES``.
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
        if negatives is not None and (set(negatives) - set(KINDS) or abs(sum(negatives.values()) - 1) > 1e-9):
            raise ValueError(f"negatives must be shares of {', '.join(KINDS)} that add up to 1, got {dict(negatives)}")
        if k < 0 or (k_least is not None and not 0 <= k_least <= k):
            raise ValueError(f"k must be at least 0 and k_least lie in 0..k, got {k} and {k_least}")
        if retriever is not None and k >= depth:
            raise ValueError(f"depth must exceed k, got depth={depth} and k={k}: raise depth")
        unknown = sorted(set(families) - set(FAMILIES))
        if unknown or not families:
            raise ValueError(f"families must be some of {', '.join(FAMILIES)}, got {list(families)}")
        if questions < 1 or (budget is not None and budget < 1):
            raise ValueError(f"questions and budget must be at least 1, got {questions} and {budget}")
        for name, given, offered in (
            ("gold", gold, ("kept", "removed")),
            ("overflow", overflow, ("fail", "drop")),
            ("absent", absent, ("keep", "drop")),
        ):
            if given not in offered:
                raise ValueError(f"{name} must be {' or '.join(offered)}, got {given!r}")
        self.order, self.retriever = order, retriever
        self.negatives = None if negatives is None else dict(negatives)
        self.k, self.k_least, self.depth = int(k), k_least, int(depth)
        self.gold, self.absent, self.overflow = gold, absent, overflow
        self.families, self.questions, self.budget = tuple(families), int(questions), budget
        self.pairs, self.seed = int(pairs), int(seed)

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
        if self.budget is not None and tokens is None:
            raise ValueError("a budget of tokens needs a reader that counts them: attach the method first")
        asked = [
            world.question(split, self.families[index % len(self.families)], index) for index in range(self.questions)
        ]
        ranked = self._ranked(world, split, asked, stages, progress)
        return [self._context(example, found, tokens) for example, found in zip(asked, ranked, strict=True)]

    def _ranked(
        self,
        world: FactWorld,
        split: str,
        asked: Sequence[RagExample],
        stages: Stages,
        progress: Progress | None,
    ) -> list[list[Passage]]:
        """Best first; enough of them for k."""
        if self.k == 0:
            return [[] for _ in asked]
        if self.negatives is not None:
            return [self._graded(world, split, index) for index in range(len(asked))]
        assert self.retriever is not None
        corpus = world_corpus(world, split, stages)
        pairs = [world.question("base", family, index) for family in RETRIEVER_PAIRS for index in range(self.pairs)]
        lists = PassageLists(self.retriever, corpus, stages, training=pairs)
        places = {passage.id: place for place, passage in enumerate(corpus)}
        return [[corpus[places[hit.id]] for hit in hits] for hits in lists.of(asked, self.depth, progress=progress)]

    def _graded(self, world: FactWorld, split: str, index: int) -> list[Passage]:
        """Gold first, then distractors of the wanted kinds."""
        assert self.negatives is not None
        room = self.k + (2 if self.gold == "removed" else 0)
        family = self.families[index % len(self.families)]
        read = world.reading(split, family, index, k=max(room, 2), negatives=self.negatives, gold_position=0)
        marked = list(zip(read.kinds, read.example.passages, strict=True))
        return [one for kind, one in marked if kind == GOLD] + [one for kind, one in marked if kind != GOLD]

    def _context(self, example: RagExample, ranked: Sequence[Passage], tokens: Callable[[str], int] | None) -> Context:
        if self.gold == "removed":
            ranked = [passage for passage in ranked if passage.id not in example.gold]
        k = self.k
        if self.k_least is not None:
            k = generator(self.seed, "rag", "k", example.id).randint(self.k_least, self.k)
        chosen = list(ranked[:k])
        kept = len(chosen) if self.budget is None or tokens is None else self._fitting(example, chosen, tokens)
        lost = [passage.id for passage in chosen[kept:]]
        if lost and self.overflow == "fail":
            raise ValueError(
                f"{len(lost)} of {len(chosen)} passages of {example.id} exceed the budget of {self.budget} tokens: the "
                "cell would measure the budget, not k; raise budget, lower k, or allow overflow=drop"
            )
        shown = self.order.arrange(chosen[:kept], example_id=example.id, gold=example.gold)
        return Context(example._replace(passages=tuple(shown)), len(lost), any(one in example.gold for one in lost))

    def _fitting(self, example: RagExample, chosen: Sequence[Passage], tokens: Callable[[str], int]) -> int:
        """How many of the first passages fit with the question."""
        assert self.budget is not None
        if tokens(example.question) > self.budget:
            raise ValueError(
                f"the question {example.id} alone exceeds the budget of {self.budget} tokens: raise budget, no "
                "question is ever cut"
            )
        for count in range(len(chosen), 0, -1):
            if tokens(prompt_of(example.question, chosen[:count])) <= self.budget:
                return count
        return 0


def prompt_of(question: str, passages: Sequence[Passage]) -> str:
    """Passages in their order, then the question."""
    return " ".join([*(passage.text for passage in passages), question])


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
