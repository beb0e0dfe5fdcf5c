"""TACRED (Zhang et al. 2017, https://aclanthology.org/D17-1004) and the corrections of its labels.

TACRED is licensed by the Linguistic Data Consortium (LDC2018T24): its JSON files are the user's. A row has ``id``,
``token``, ``subj_start``, ``subj_end``, ``obj_start``, ``obj_end`` (positions, the end included) and ``relation``.
Subject is head, object is tail.

Corrections are labels by id: TACREV (Alt et al. 2020, https://aclanthology.org/2020.acl-main.142) as rows with ``id``
and ``relation`` for some of dev and test, Re-TACRED (Stoica et al. 2021, arXiv 2104.08398) as one {id: label} mapping
per split, which also says which examples there are.

Departure: RAG4RE's TACRED prompts mark no entities; here they are tagged, as in SemEval's.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from data.records.relations import RelationExample
from data.sources import locate, read_hub, read_rows
from data.token_spans import tag_spans

_ID, _LABEL = "id", "relation"


class Patches:
    """Corrected labels by id.

    Args:
        files: by split, JSON rows with ``id`` and ``relation`` or one JSON mapping {id: label}; see ``sources.locate``.
        hub: by split, {id, split, revision} of hub rows with ``id`` and ``relation``; needs a network.
        others: what becomes of an example without a correction in a split that has corrections: "keep" its label
            (TACREV) or "drop" it (Re-TACRED).
    """

    def __init__(
        self,
        *,
        files: Mapping[str, str],
        others: Literal["keep", "drop"],
        hub: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        if others not in ("keep", "drop"):
            raise ValueError(f"patches.others must be keep or drop, got {others!r}")
        doubled = sorted(set(files) & set(hub or {}))
        if doubled:
            raise ValueError(f"the patches of {doubled} come from both patches.files and patches.hub: keep one")
        self.files = dict(files)
        self.hub = {split: dict(source) for split, source in (hub or {}).items()}
        self.others = others

    def labels(self, split: str) -> dict[str, str] | None:
        """Corrected labels of a split by id; ``None`` where it has no corrections.

        Raises:
            ValueError: rows without ``id`` and ``relation``, or an id with two labels.
        """
        if split in self.files:
            return _labels(self.files[split])
        if split in self.hub:
            source = self.hub[split]
            rows = read_hub(source["id"], split=source["split"], revision=source["revision"])
            return _unique(rows, source["id"])
        return None


class TacredRows:
    """Reads TACRED's rows; ids are TACRED's own.

    Args:
        patches: corrected labels; ``None``: TACRED as it is.
    """

    def __init__(self, *, patches: Patches | None = None) -> None:
        self.patches = patches

    def examples(self, rows: Sequence[Mapping[str, Any]], split: str) -> list[RelationExample]:
        """See ``relation_corpora.RowReader``. ``ValueError`` for corrections of examples that are not in the split."""
        corrected = self.patches.labels(split) if self.patches else None
        if corrected is None:
            return [_example(row, str(row[_LABEL])) for row in rows]
        assert self.patches is not None
        strangers = sorted(set(corrected) - {str(row[_ID]) for row in rows})
        if strangers:
            raise ValueError(
                f"the patches of {split!r} correct {len(strangers)} ids that TACRED's {split} lacks ({strangers[:3]}): "
                "give patches and data of the same split and release"
            )
        kept = rows if self.patches.others == "keep" else [row for row in rows if str(row[_ID]) in corrected]
        return [_example(row, corrected.get(str(row[_ID]), str(row[_LABEL]))) for row in kept]


def _example(row: Mapping[str, Any], label: str) -> RelationExample:
    name = str(row[_ID])
    head = (int(row["subj_start"]), int(row["subj_end"]) + 1)
    tail = (int(row["obj_start"]), int(row["obj_end"]) + 1)
    text, head_words, tail_words = tag_spans([str(token) for token in row["token"]], head, tail, where=f"row {name}")
    return RelationExample(name, text, head_words, tail_words, label)


def _labels(file: str) -> dict[str, str]:
    path = locate(file)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as stream:
        text = stream.read()
    try:
        whole = json.loads(text)
    except ValueError:  # several JSON values, one per line
        whole = read_rows(file)
    if isinstance(whole, Mapping) and not {_ID, _LABEL} <= set(whole):
        return {str(name): str(label) for name, label in whole.items()}
    return _unique([whole] if isinstance(whole, Mapping) else whole, file)


def _unique(rows: Sequence[Mapping[str, Any]], where: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    for row in rows:
        if _ID not in row or _LABEL not in row:
            raise ValueError(f"{where}: a patch needs the fields id and relation, got {sorted(row)}")
        if labels.setdefault(str(row[_ID]), str(row[_LABEL])) != str(row[_LABEL]):
            raise ValueError(f"{where}: the id {row[_ID]!r} has two labels; keep one")
    return labels
