"""What a plan's cells share besides trainings, told from their configs alone: lists, sampled pairs, scores of them.

Nothing of it is looked up: these products are named by what they are made of, which is read only when they are built.
A plan says how many cells share each, and that the first of them builds it; its time is part of that cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sweeps.signatures.signature import hash_of

_ORDER = frozenset({"batch_size", "bucket", "seed", "cost"})
"""Keys of a data config that decide how it is gone through, and not what is in it."""


class Product(NamedTuple):
    """Something that is built once for all cells whose configs give the same ``key``."""

    kind: str
    key: str
    what: str


def products(config: Mapping[str, Any]) -> Iterator[Product]:
    """All that a cell's config tells of, in the order in which it is built."""
    data = config.get("data") or {}
    yield from _neighbours(data)
    yield from _passages(data, config.get("evaluation") or {})
    yield from _pairs(config, data)


def _neighbours(data: Mapping[str, Any]) -> Iterator[Product]:
    """Of sentences, for prompts that show some."""
    retriever = data.get("retriever")
    if not retriever or (data.get("prompt") or {}).get("neighbours", "none") == "none":
        return
    corpus = {name: value for name, value in data.items() if name not in _ORDER | {"prompt"}}
    view = retriever.get("view", "sentence")
    by = _named(retriever) + ("" if view == "sentence" else f" ({view})")
    yield Product(
        "neighbours", hash_of({"retriever": retriever, "corpus": corpus}), f"neighbours by {by} on {_name(data)}"
    )


def _passages(data: Mapping[str, Any], evaluation: Mapping[str, Any]) -> Iterator[Product]:
    """For test questions: index and lists. Those of training are part of the weights that cells share."""
    retriever = evaluation.get("retriever")
    if not isinstance(retriever, Mapping) or "_target_" not in retriever:
        return
    asked = {name: evaluation.get(name) for name in ("questions", "families", "split")}
    corpus = {name: value for name, value in data.items() if name not in _ORDER | {"train", "response", "retriever"}}
    key = hash_of({"retriever": retriever, "corpus": corpus, "asked": asked})
    yield Product("passages", key, f"passages by {_named(retriever)} on {_name(data)}")


def _pairs(config: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[Product]:
    """Responses that trained models write to prompts, and what source models make of the pairs chosen from them."""
    sources, method = config.get("sources") or {}, config.get("method") or {}
    if "writers" not in data or not sources:
        return
    writers = [*data["writers"], data.get("pivot", "pivot")]
    written = {name: value for name, value in data.items() if name not in _ORDER | {"test_size"}}
    key = hash_of({"data": written, "by": {name: sources.get(name) for name in writers}})
    half = "SFT" if data.get("half") == "sft" else "preferences"
    yield Product("preference_candidates", key, f"responses of {len(writers)} models, for {half}")
    texts = _scored(method.get("objective") or {})
    for name in method.get("sources") or () if texts else ():
        scored = hash_of({"pairs": key, "texts": texts, "by": sources.get(name)})
        yield Product("source_logps", scored, f"log-probabilities of the {texts} under {name}")


def _scored(objective: Mapping[str, Any]) -> str:
    """What sources score for an objective, as ``conf/objective`` says; "" where it reads none of them."""
    if not objective.get("reads_sources"):
        return ""
    return "blended pairs" if objective.get("blended") else "pairs"


def _named(retriever: Mapping[str, Any]) -> str:
    """By its module; a dense one by that of its encoder."""
    encoder = retriever.get("encoder")
    return str((encoder if isinstance(encoder, Mapping) else retriever)["_target_"]).split(".")[-2]


def _name(data: Mapping[str, Any]) -> str:
    return str(data.get("name", "the data"))
