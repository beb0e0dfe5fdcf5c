"""Slices of a test set by whether a lexical cue of the relation stands between the two entities.

RAG4RE's thesis (arXiv 2404.13397) is that retrieval helps most where the relation is implicit. The rule, frozen:

    The words strictly between the two entities, lower case, are searched for the cues of ``data.scoring.cues``: of the
    gold relation where the example has one, of any relation of the inventory where it has none. An example with a cue
    is "cued", one without is "implicit".

Examples without a relation (Other, no_relation) are cut by the same rule so that false alarms count in the slice in
whose form they stand. A gold relation without a list of cues puts an example in no slice (""). Direction plays no part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from data.scoring.cues import CUES
from data.scoring.score import Score

if TYPE_CHECKING:
    import pandas as pd

COLUMN = "slice"
"""Column of an examples frame that holds the slice."""

CUED, IMPLICIT, UNCUT = "cued", "implicit", ""
SLICES = (CUED, IMPLICIT)

_BETWEEN = re.compile(r"</e[12]>(.*)<e[12]>", re.DOTALL)
_WORD = re.compile(r"\w+")


def between_words(text: str) -> list[str]:
    """Words strictly between the two tagged entities, lower case. ``ValueError`` for a text without two."""
    found = _BETWEEN.search(text)
    if found is None:
        raise ValueError(f"a slice needs a sentence with two tagged entities, got {text[:80]!r}")
    return _WORD.findall(found[1].lower())


def cue_between(text: str, relations: Iterable[str]) -> str | None:
    """The first cue, in the relations' order, that stands between the entities; ``None`` where there is none."""
    words = " ".join(between_words(text))
    for relation in relations:
        for cue in CUES.get(relation, ()):
            if _pattern(cue).search(words):
                return cue
    return None


def slice_of(text: str, label: str, labels: Sequence[str], none_label: str | None) -> str:
    """The slice of one example.

    Args:
        text: sentence with its two entities tagged.
        label: gold label.
        labels: the inventory.
        none_label: the label without a relation.
    """
    relations = [_relation(one) for one in labels if one != none_label] if label == none_label else [_relation(label)]
    if not any(relation in CUES for relation in relations):
        return UNCUT
    return CUED if cue_between(text, relations) is not None else IMPLICIT


def with_slices(frame: pd.DataFrame, data: Any, split: str) -> pd.DataFrame:
    """The frame with a column ``slice``, where the data object is a relation extraction corpus; else unchanged."""
    if "gold" not in frame.columns or not all(hasattr(data, name) for name in ("examples", "labels", "none_label")):
        return frame
    texts = {example.id: example.text for example in data.examples(split)}
    if not all(_BETWEEN.search(texts[name]) for name in frame["example_id"]):
        return frame  # label counts have no text to look into
    cut = [
        slice_of(texts[name], gold, data.labels, data.none_label)
        for name, gold in zip(frame["example_id"], frame["gold"], strict=True)
    ]
    return frame.assign(**{COLUMN: np.array(cut, dtype=object)}).astype({COLUMN: "str"})


def on_slice(score: Score, name: str) -> Score:
    """A ``Score`` over one slice: every example outside it counts for nothing, in any sum.

    The score keeps one row per example, so that rows of a table stay paired whatever their slice.
    """
    if name not in SLICES:
        raise ValueError(f"a slice is one of {', '.join(SLICES)}, got {name!r}")

    def contributions(frame: pd.DataFrame) -> np.ndarray:
        if COLUMN not in frame.columns:
            raise ValueError(
                f"{score.name}_{name} needs the column {COLUMN!r}, which these runs were written without: run the "
                "evaluation again (its trained weights are kept)"
            )
        inside = (frame[COLUMN] == name).to_numpy(dtype=bool)
        return score.contributions(frame) * inside[:, None]

    def applies(frame: pd.DataFrame) -> bool:
        return COLUMN in frame.columns and bool((frame[COLUMN] == name).any()) and score.applies(frame)

    return score._replace(name=f"{score.name}_{name}", contributions=contributions, applies=applies)


def _relation(label: str) -> str:
    return label.partition("(")[0]


@cache
def _pattern(cue: str) -> re.Pattern[str]:
    words = (re.escape(word).replace(r"\*", r"\w*") for word in cue.split())
    return re.compile(r"(?<!\S)" + " ".join(words) + r"(?!\S)")
