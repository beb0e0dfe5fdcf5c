"""Which settings of a config anything reads: a setting that nothing reads is refused, not taken in silence.

A cell is built from a few sections (``ROOTS``); what else stands in a config counts only where an interpolation leads
to it, as ``method.model: ${..model}`` leads to the model. So it takes no list of methods to see what a method ignores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.errors import UserError, nearest
from sweeps.planning.overridden import key_of

ROOTS = ("data", "method", "trainer", "base", "sources", "seed", "threads")
"""What a cell, a base or a source is built from (``sweeps.run``)."""

TOP_ROOTS = ("engine", "logger", "paths", "scale", "hydra", "evaluation.split", "evaluation.limit")
"""What counts for a cell beside them, and not for its bases and sources."""

_REFERENCE = re.compile(r"\$\{(\.*)([\w.]+)\}")

Path = tuple[str, ...]


class Reach:
    """What is read of a composed config whose interpolations are unresolved."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._seen: set[Path] = set()
        self._beyond = False
        self._cell(())
        for path in TOP_ROOTS:
            self._visit(tuple(path.split(".")))

    def reads(self, path: Path) -> bool:
        """Whether anything reads what stands at ``path``, or a part of it."""
        return self._beyond or any(seen[: len(path)] == path for seen in self._seen)

    def _cell(self, at: Path) -> None:
        """Visits the sections of a cell, a base or a source, which stands at ``at``."""
        node = self._value(at)
        if not isinstance(node, Mapping):
            self._visit(at)
            return
        for name in ROOTS:
            if name not in node:
                continue
            if name == "base" or (name == "sources" and not isinstance(node[name], Mapping)):
                self._seen.add((*at, name))
                self._cell((*at, name))
            elif name == "sources":
                self._seen.add((*at, name))
                for source in node[name]:
                    self._cell((*at, name, str(source)))
            else:
                self._visit((*at, name))

    def _value(self, path: Path) -> Any:
        node: Any = self._config
        for part in path:
            node = node.get(part) if isinstance(node, Mapping) else None
        return node

    def _visit(self, path: Path) -> None:
        """Marks a value and all that it refers to."""
        if path in self._seen:
            return
        self._seen.add(path)
        node: Any = self._config
        for depth, part in enumerate(path):
            if isinstance(node, str) and "${" in node:  # the way leads through a reference, as base.model to model
                self._follow(node, path[:depth], path[depth:])
                return
            if isinstance(node, Mapping) and part in node:
                node = node[part]
            elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
                node = node[int(part)]
            else:
                return
        if isinstance(node, Mapping):
            for key in node:
                self._visit((*path, str(key)))
        elif isinstance(node, list):
            for index in range(len(node)):
                self._visit((*path, str(index)))
        elif isinstance(node, str) and "${" in node:
            self._follow(node, path, ())

    def _follow(self, text: str, path: Path, rest: Path) -> None:
        """Visits what the interpolations of ``text``, which stands at ``path``, lead to."""
        found = list(_REFERENCE.finditer(text))
        if text.count("${") != len(found):  # a resolver, or one interpolation inside another: only OmegaConf knows
            self._beyond = True
        for each in found:
            dots, keys = each.groups()
            start = path[: len(path) - len(dots)] if dots else ()
            self._visit((*start, *keys.split("."), *rest))


def refuse_unread(configs: Sequence[Mapping[str, Any]], overrides: Sequence[str], groups: Mapping[str, Any]) -> None:
    """Refuses an override that none of the cells it is meant for reads.

    Args:
        configs: their composed configs, interpolations unresolved.
        overrides: as they were typed.
        groups: config groups.

    Raises:
        UserError: the first such override, and where the setting that it may have meant stands.
    """
    reaches = [Reach(config) for config in configs]
    for text in overrides:
        key, _, package = key_of(text).partition("@")
        if key in ("experiment", "scale") or text.startswith("~"):  # they reach the whole config
            continue
        path = tuple((package or key.replace("/", ".")).split("."))
        if key in groups and not package:
            path = path[:1]  # where a file of a group below another is put is the file's business
        stand_ins = [_stand_in(config, path) for config in configs if (config.get("method") or {}).get("tune", True)]
        if stand_ins and all(stand_ins):
            raise UserError(f"{text} does not reach the training: {stand_ins[0]}")
        if not any(reach.reads(path) for reach in reaches):
            raise UserError(f"nothing reads {text} here: {_instead(configs[0], path)}")


def _stand_in(config: Mapping[str, Any], path: Path) -> str:
    """Why a setting of the model's optimiser does not count for a method that has one of its own; "" where it does."""
    method = config.get("method")
    own = method.get("optimiser") if isinstance(method, Mapping) else None
    if path[:2] != ("model", "optimiser") or not isinstance(own, Mapping):
        return ""
    rest = ".".join(("method", *path[1:]))
    last = path[-1]
    wanted = f"write {rest}=..." if len(path) < 3 or last in own else f"method.optimiser has no {last!r}"
    return f"method={method.get('label')} has an optimiser of its own; {wanted}"  # type: ignore[union-attr]


def _instead(config: Mapping[str, Any], path: Path) -> str:
    """Where a setting of the same name is read, or which sections are."""
    reach, last = Reach(config), path[-1]
    alike = sorted({".".join(seen) for seen in reach._seen if len(path) > 1 and seen[-1] == last and reach.reads(seen)})
    method, data = (config.get(name) for name in ("method", "data"))
    who = f"neither method={_label(method)} nor data={_label(data)} refers to {path[0]!r}"
    return f"{who}; {nearest('.'.join(path), alike)}" if alike else who


def _label(section: Any) -> str:
    named = section if isinstance(section, Mapping) else {}
    return str(named.get("label") or named.get("name") or named.get("_target_", "none"))
