"""From examples as read to the splits that are used: carved, checked, without sentences that recur, limited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from data.records.relations import RelationExample
from data.relations.formats import carve, check, drop_recurring, subset


class Splits(NamedTuple):
    """Examples by split, and by split the ids of the train examples that were left out because they recur there."""

    examples: dict[str, list[RelationExample]]
    dropped: dict[str, list[str]]


def settle(
    loaded: Mapping[str, Sequence[RelationExample]],
    *,
    name: str,
    labels: Sequence[str],
    shares: Mapping[str, float],
    drop_train_in_test: bool,
    train_limit: int | None,
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Splits:
    """The rules of ``relation_data.RelationData`` for corpora that are read elsewhere; its docstring has the arguments.

    ``rows`` are what each split was read from, for errors.

    Raises:
        ValueError: labels outside the inventory, ids that recur, or no training example left.
    """
    splits = {split: list(examples) for split, examples in loaded.items()}
    for split, share in shares.items():
        splits["train"], splits[split] = carve(splits["train"], share, name=split)
    for split, examples in splits.items():
        # What was carved from train stands in train's rows.
        check(examples, labels, where=f"{name}, split {split!r}", rows=rows.get(split, rows.get("train", ())))
    dropped = {}
    for split in ("dev", "test"):
        if split in splits and (split == "dev" or drop_train_in_test):
            splits["train"], dropped[split] = drop_recurring(splits["train"], splits[split])
    splits["train"] = subset(splits["train"], train_limit)
    if not splits["train"]:
        raise ValueError(f"{name} has no training example left: give a larger file or a smaller data.carve")
    return Splits(splits, dropped)
