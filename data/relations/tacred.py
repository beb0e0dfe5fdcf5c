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

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from data.files.rows import BadRowError, columns, listed, placed, spelt, text, whole
from data.files.sources import read_hub, read_rows
from data.records.relations import RelationExample
from data.relations.token_spans import tag_spans

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
            return _unique(placed(rows, f"{source['id']} ({source['split']})"), source["id"])
        return None


class TacredRows:
    """Reads TACRED's rows; ids are TACRED's own.

    Args:
        patches: corrected labels; ``None``: TACRED as it is.
    """

    def __init__(self, *, patches: Patches | None = None) -> None:
        self.patches = patches

    def examples(self, rows: Sequence[Mapping[str, Any]], split: str) -> list[RelationExample]:
        """See ``corpus_data.RowReader``. ``ValueError`` for corrections of examples that are not in the split."""
        made = [_example(row) for row in rows]
        corrected = self.patches.labels(split) if self.patches else None
        if corrected is None:
            return made
        assert self.patches is not None
        strangers = sorted(set(corrected) - {example.id for example in made})
        if strangers:
            raise ValueError(
                f"the patches of {split!r} correct {len(strangers)} ids that TACRED's {split} lacks ({strangers[:3]}): "
                "give patches and data of the same split and release"
            )
        kept = made if self.patches.others == "keep" else [example for example in made if example.id in corrected]
        return [example._replace(label=corrected.get(example.id, example.label)) for example in kept]


@columns(id=spelt, token=listed(spelt), subj_start=whole, subj_end=whole, obj_start=whole, obj_end=whole, relation=text)
def _example(row: dict[str, Any]) -> RelationExample:
    head, tail = (row["subj_start"], row["subj_end"] + 1), (row["obj_start"], row["obj_end"] + 1)
    sentence, head_words, tail_words = tag_spans(row["token"], head, tail, where=f"example {row[_ID]}")
    return RelationExample(row[_ID], sentence, head_words, tail_words, row[_LABEL])


def _labels(file: str) -> dict[str, str]:
    rows = read_rows(file)
    if len(rows) == 1 and not {_ID, _LABEL} & set(rows[0]):
        wrong = next((name for name, label in rows[0].items() if not isinstance(label, str)), None)
        if wrong is not None:
            raise BadRowError(f"{file}: the label of {wrong!r} must be text, got {rows[0][wrong]!r}")
        return dict(rows[0])
    return _unique(rows, file)


@columns(id=spelt, relation=text)
def _patch(row: dict[str, Any]) -> tuple[str, str]:
    return row[_ID], row[_LABEL]


def _unique(rows: Sequence[Mapping[str, Any]], where: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    for name, label in map(_patch, rows):
        if labels.setdefault(name, label) != label:
            raise ValueError(f"{where}: the id {name!r} has two labels; keep one")
    return labels
