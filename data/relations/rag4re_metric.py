"""The arithmetic of RAG4RE's TACRED figures: what its released evaluation computes, and what a constant scores on it.

The release (evaluation/results_analysis.py) deletes everything before the colon from gold labels and predictions, then
asks for the micro-F1 over the full, prefixed labels. No label with a prefix can be met any more, so that the only class
left is ``no_relation``.

    python -m data.relations.rag4re_metric        prints the comparison; numpy, pandas and torch are not needed
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Family(NamedTuple):
    """One test set of the TACRED family.

    Attributes:
        total: test examples.
        none: those whose gold label is ``no_relation``.
        best: best figure that RAG4RE's release reports on it, percent, and the model it belongs to.
        official: official micro-F1 of the same answers, percent, rescored from the released outputs.
    """

    name: str
    total: int
    none: int
    best: float
    model: str
    official: float


FAMILIES = (
    Family("TACRED", 15509, 12184, 86.59, "Flan-T5 XL with retrieval", 23.6),
    Family("TACREV", 15509, 12386, 88.29, "Flan-T5 XL with retrieval", 24.0),
    Family("Re-TACRED", 13418, 7770, 73.28, "Flan-T5 XL with retrieval", 20.5),
)
"""Counted in the gold labels; figures as the release prints them, TACREV's rescored on TACREV's own gold."""


def without_prefix(label: str) -> str:
    """What the release makes of a label: "per:title" -> "title"."""
    return label.rpartition(":")[2]


def released_micro_f1(gold: Sequence[str], predictions: Sequence[str], labels: Iterable[str]) -> float:
    """The number that the release calls micro-F1, a fraction: prefixes deleted from answers but not from ``labels``.

    Args:
        gold: gold labels, with prefixes.
        predictions: answers, with prefixes; "" for none.
        labels: the inventory, with prefixes.
    """
    asked = set(labels)
    bare = [(without_prefix(one), without_prefix(other)) for one, other in zip(gold, predictions, strict=True)]
    right = sum(one == other and one in asked for one, other in bare)
    predicted = sum(other in asked for _, other in bare)
    relevant = sum(one in asked for one, _ in bare)
    return 2 * right / (predicted + relevant) if predicted + relevant else 0.0


def constant_f1(total: int, none: int) -> float:
    """F1 of ``no_relation`` for who always answers it: precision none/total, recall 1, so 2 none / (total + none).

    Raises:
        ValueError: more examples without a relation than examples.
    """
    if not 0 < none <= total:
        raise ValueError(f"{none} of {total} examples cannot be without a relation: give 0 < none <= total")
    return 2 * none / (total + none)


def comparison() -> list[str]:
    """One line per test set: the best published figure against the constant, under the metric that the code has."""
    lines = []
    for one in FAMILIES:
        constant = 100 * constant_f1(one.total, one.none)
        lines.append(
            f"{one.name}: always no_relation scores 2 x {one.none} / ({one.total} + {one.none}) = {constant:.2f}; "
            f"best published {one.best:.2f} ({one.model}), {one.best - constant:+.2f}; official micro-F1 of the "
            f"constant 0.0, of the published answers {one.official:.1f}"
        )
    return lines


if __name__ == "__main__":
    print("\n".join(comparison()))
