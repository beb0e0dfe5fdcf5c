"""What a config names that a cell reads: data files, weights, hub data, and any other file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from data.files.sources import PROJECT, roots


class Input(NamedTuple):
    """One input.

    Attributes:
        kind: "file" (see ``sources.locate``), "weights", "hub" (a data set), "folder" or "path" (anything else).
        name: as the config has it; of a folder or path, where it lies.
        revision: of weights or hub data.
        label: its name in keys and receipts, the config's own.
    """

    kind: str
    name: str
    revision: str | None = None
    label: str = ""


def nodes(config: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping inside ``config``, itself first."""
    if isinstance(config, Mapping):
        yield config
        for value in config.values():
            yield from nodes(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from nodes(value)


def named_inputs(config: Mapping[str, Any]) -> Iterator[Input]:
    """All inputs that a config names, some of them twice.

    These are, wherever they stand: files below ``files``; ``weights``, and a ``tokenizer`` with a ``revision``; hub
    data, a section with ``id`` (perhaps a folder) and ``split``; the folder ``include``; every text that is the path of
    a file.
    """
    for node in nodes(config):
        files = node.get("files")
        for name in _texts(files):
            yield Input("file", name, label=name)
        for key in ("weights", "tokenizer"):
            found, revision = node.get(key), node.get("revision")
            if isinstance(found, str) and (key == "weights" or ("revision" in node and found != "words")):
                yield Input("weights", found, revision, f"{found}@{revision}" if revision else found)
        if isinstance(node.get("id"), str) and isinstance(node.get("split"), str):
            revision, own = node.get("revision"), Path(node["id"]).expanduser().absolute()
            if own.is_dir():  # the ``datasets`` library takes a folder before it asks the hub
                yield Input("folder", str(own), label=node["id"])
            else:
                yield Input("hub", node["id"], revision, f"hub:{node['id']}@{revision or 'main'}")
        if isinstance(node.get("include"), str):
            yield Input("folder", str(_at(node["include"])), label=node["include"])
        for key, value in node.items():
            if key not in ("files", "weights", "include", "_target_"):
                yield from _paths(value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            if isinstance(item, str):
                yield item


def _paths(value: Any) -> Iterator[Input]:
    """Texts, or lists of them, that name a file: absolute, below the project's root or below the data root."""
    for text in (value,) if isinstance(value, str) else value if isinstance(value, (list, tuple)) else ():
        if not isinstance(text, str) or not ("/" in text or "." in text) or "\n" in text or len(text) > 1000:
            continue
        places = [_at(text), *(root / text for root in roots() if "/" in text)]
        found = next((place for place in places if place.is_file()), None)
        if found is not None:
            yield Input("path", str(found), label=text)


def _at(text: str) -> Path:
    return PROJECT / Path(text).expanduser()
