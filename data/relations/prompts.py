"""Prompts of relation extraction, one factor at a time (RAG4RE, arXiv 2404.13397; the wording is ours).

Departures from the released prompts:
    1. The released retrieval arm changes two things at once, a definition line and an unlabelled sentence. Here each
       is its own factor (``definition``, ``neighbours``), and showing the neighbour's label is a third.
    2. Every arm of the same style lists the same inventory in the same frozen order. The release read it from the test
       gold, as an unordered set that missed a label in one arm.
    3. The inventory can never be cut off: only whole neighbours are dropped, the last one first, when ``budget`` is
       exceeded.
    4. The style ``compact`` leaves the inventory out, for a small model that learns the labels in training.

The texts themselves stand in ``conf/prompt/style``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from data.records.relations import Prompt, RelationExample

MAX_NEIGHBOURS = 10
"""Largest ``k``; neighbour lists are this long."""

PARTS = ("definition", "question", "sentence", "head", "tail", "inventory", "neighbours", "answer")
"""Parts that a style may order; each but ``neighbours`` is one template with the fields of ``_fields``."""

NEIGHBOURS = ("none", "unlabelled", "labelled")


class Rendered(NamedTuple):
    """A prompt, and how many neighbours did not fit into the budget."""

    prompt: Prompt
    dropped: int


class PromptTemplate:
    """Renders an example and its neighbours.

    Args:
        style: ``order`` (list of ``PARTS``), ``separator``, and one template per part; ``unlabelled`` and ``labelled``
            are the templates of a neighbour. Fields: {sentence}, {head}, {tail}, {labels}; of a neighbour {sentence},
            {head}, {tail}, {label}.
        definition: put the definition line in.
        neighbours: "none", "unlabelled" (what RAG4RE really does) or "labelled".
        k: neighbours asked for, 0 to 10; 0 unless neighbours are shown.
        budget: largest prompt in tokens of the method's tokenizer; ``None`` sets no limit.
    """

    def __init__(
        self,
        *,
        style: Mapping[str, object],
        definition: bool,
        neighbours: str,
        k: int,
        budget: int | None = None,
    ) -> None:
        if neighbours not in NEIGHBOURS:
            raise ValueError(f"prompt.neighbours must be one of {', '.join(NEIGHBOURS)}, got {neighbours!r}")
        if not 0 <= k <= MAX_NEIGHBOURS:
            raise ValueError(f"prompt.k must be 0 to {MAX_NEIGHBOURS}, got {k}")
        if neighbours == "none" and k:
            raise ValueError(f"prompt.k is {k} but this prompt shows no neighbours: set prompt.k=0 or prompt=labelled")
        if budget is not None and budget < 1:
            raise ValueError(f"prompt.budget must be at least 1 token or null, got {budget}")
        order = style.get("order")
        self.order = tuple(str(part) for part in order) if isinstance(order, Sequence) else ()
        unknown = sorted(set(self.order) - set(PARTS))
        if unknown or "sentence" not in self.order or len(set(self.order)) != len(self.order):
            raise ValueError(f"prompt.style.order must list parts of {', '.join(PARTS)} once, 'sentence' among them")
        needed = {"separator", *(set(self.order) - {"neighbours"})}
        if "neighbours" in self.order:
            needed |= {"unlabelled", "labelled"}
        missing = sorted(needed - set(style))
        if missing:
            raise ValueError(f"prompt.style lacks the texts of {', '.join(missing)}: add them to conf/prompt/style")
        if (definition and "definition" not in self.order) or (k and "neighbours" not in self.order):
            raise ValueError(f"prompt.style.order {self.order} lacks 'definition' or 'neighbours', which are asked for")
        self.texts = {name: str(text) for name, text in style.items() if name != "order"}
        self.definition = bool(definition)
        self.neighbours = neighbours
        self.k = int(k)
        self.budget = budget

    def render(
        self,
        example: RelationExample,
        labels: Sequence[str],
        neighbours: Sequence[RelationExample] = (),
        count_tokens: Callable[[str], int] | None = None,
    ) -> Rendered:
        """The prompt of one example with its first ``k`` neighbours, fewer where the budget asks for it.

        Args:
            example: what is asked about.
            labels: the inventory in its frozen order.
            neighbours: nearest first.
            count_tokens: tokens of a text as the method's tokenizer counts them; needed with ``budget``.

        Raises:
            ValueError: a budget without ``count_tokens``.
        """
        if self.budget is not None and count_tokens is None:
            raise ValueError(
                "prompt.budget needs a token counter: set data.count_tokens in the method, or prompt.budget=null"
            )
        shown = list(neighbours[: self.k]) if self.neighbours != "none" else []
        asked = len(shown)
        text = self._text(example, labels, shown)
        while shown and self.budget is not None and count_tokens is not None and count_tokens(text) > self.budget:
            shown.pop()
            text = self._text(example, labels, shown)
        prompt = Prompt(example.id, text, example.label, tuple(neighbour.id for neighbour in shown))
        return Rendered(prompt, asked - len(shown))

    def _text(self, example: RelationExample, labels: Sequence[str], shown: Sequence[RelationExample]) -> str:
        lines = []
        for part in self.order:
            if part == "neighbours":
                template = self.texts.get(self.neighbours, "")
                lines += [_filled(template, label=other.label, **_fields(other)) for other in shown]
            elif part != "definition" or self.definition:
                lines.append(_filled(self.texts[part], labels=", ".join(labels), **_fields(example)))
        return self.texts["separator"].join(lines)


def _fields(example: RelationExample) -> dict[str, str]:
    return {"sentence": example.text, "head": example.head, "tail": example.tail}


def _filled(template: str, **fields: str) -> str:
    try:
        return template.format(**fields)
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"prompt text {template!r} asks for {error}: it has the fields {', '.join(fields)}") from None
