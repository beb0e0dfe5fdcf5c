"""What a finished run is scored by: the lists of scores that its data name, and no others. numpy and pandas only.

A class of data names them as ``scored_by``, modules each of which has ``SCORES``. They count for the evaluations of
that data alone: a line more in one list evaluates nothing anew that is scored by another. Data of a class that names
none are scored by all lists. A module of scores may also have

* ``completed(frame, data, split)``: the frame with columns that its scores need;
* ``tables(frame, data)``: tables to report beside the scores, by name.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from data.scoring.score import Score


_LIST = re.compile(r"^SCORES\b", re.MULTILINE)


def lists_beside() -> tuple[str, ...]:
    """Modules of all lists beside this file, sorted: those that have SCORES. None is imported for it."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return tuple(f"{__package__}.{path.stem}" for path in files if _LIST.search(path.read_text(encoding="utf-8")))


def lists_of(data: Any) -> list[ModuleType]:
    """Modules of the scores that a data object names; of all, where it names none."""
    names = getattr(data, "scored_by", None) or lists_beside()
    return [importlib.import_module(name) for name in ([names] if isinstance(names, str) else names)]


def by_name(lists: Iterable[ModuleType]) -> dict[str, Score]:
    """Scores of several lists by name; ``ValueError`` where two lists mean different things by one name."""
    found: dict[str, Score] = {}
    where: dict[str, str] = {}
    for one in lists:
        for score in one.SCORES:
            if found.setdefault(score.name, score) is not score:
                raise ValueError(f"{where[score.name]} and {one.__name__} both define {score.name}: rename one of them")
            where.setdefault(score.name, one.__name__)
    return found


def all_scores(names: Iterable[str] = ()) -> dict[str, Score]:
    """Scores of every list beside this file, and of further modules, by name: what the column of a table may be."""
    return by_name(importlib.import_module(name) for name in dict.fromkeys([*lists_beside(), *names]))


def scores_of(frame: pd.DataFrame, scores: Mapping[str, Score] | None = None) -> dict[str, float]:
    """Those of the scores (``None``: all) that apply to a frame of examples, in table units (percent or their own)."""
    return {
        name: (100.0 if score.percent else 1.0) * score.of(frame)
        for name, score in (all_scores() if scores is None else scores).items()
        if score.applies(frame)
    }


def completed(frame: pd.DataFrame, data: Any, split: str) -> pd.DataFrame:
    """The frame of a split with the columns that the scores of its data need."""
    for one in lists_of(data):
        if hasattr(one, "completed"):
            frame = one.completed(frame, data, split)
    return frame


def summarise(frame: pd.DataFrame, data: Any) -> dict[str, Any]:
    """What a finished run reports of its examples.

    Args:
        frame: one row per example.
        data: the data object.

    Returns:
        ``scores``: as ``scores_of``; ``tables``: frames by name; ``labels``: the inventory for a confusion matrix, or
        None.
    """
    lists = lists_of(data)
    told = [one.tables(frame, data) for one in lists if hasattr(one, "tables")]
    return {
        "scores": scores_of(frame, by_name(lists)),
        "tables": {name: table for tables in told for name, table in tables.items()},
        "labels": list(getattr(data, "labels", ())) or None,
    }
