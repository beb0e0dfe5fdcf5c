"""Composes ``conf/`` on plain values, for Hydra's everyday features only; whatever else is found is left to Hydra.

Hydra takes about a tenth of a second for one composition, most of it in loading and merging OmegaConf nodes; a grid
over four config groups has a thousand of them. Here the defaults lists are walked in Hydra's order (the rules of 1.2
and later, https://hydra.cc/docs/advanced/defaults_list) and merged as dicts, each file read once. Covered: groups,
absolute and relative, ``@package``, ``@_here_``, ``_self_``, ``override``, null options, package headers. Not covered,
and refused with ``Beyond``: optional entries, lists of options, interpolated options, renamed packages, deletions and
additions, ``???`` or interpolations where sections merge. A test composes every option and a broad sample of
combinations both ways.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_HEADER = re.compile(r"^\s*#\s*@package\s+(\S+)\s*$", re.MULTILINE)
_NAME = re.compile(r"\w+(/\w+)*")
_PACKAGE = re.compile(r"_here_|_global_|\w+(\.\w+)*")
# OmegaConf reads 1e-3 as a number, as YAML 1.2 does, and dates as text.
_FLOAT = re.compile(
    r"""^(?:[-+]?[0-9]+(?:_[0-9]+)*\.[0-9_]*(?:[eE][-+]?[0-9]+)?
        |[-+]?[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+)
        |\.[0-9]+(?:_[0-9]+)*(?:[eE][-+][0-9]+)?
        |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


class Beyond(Exception):  # noqa: N818 - not an error: Hydra composes it
    """Something that only Hydra can compose, or can explain."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [key.value for key, _ in node.value]
        if len(names) != len(set(names)) or any(key.tag.endswith(":merge") for key, _ in node.value):
            raise Beyond("a key that comes twice, or a merge key")
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [entry for entry in entries if not entry[0].endswith((":timestamp", ":float"))]
    for first, entries in _Loader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


@dataclass(frozen=True)
class _Entry:
    """One line of a defaults list: ``path`` of a config (``group`` is False) or of a group with its ``option``."""

    path: str
    option: str | None
    group: bool
    package: str | None
    override: bool


@dataclass(frozen=True)
class _File:
    """A config file: the package that its header names, its defaults list, its content."""

    header: str | None
    defaults: tuple[_Entry, ...]
    content: Mapping[str, Any]


class PlainComposer:
    """Composes ``config.yaml`` below ``conf`` with a choice of groups; every file is read once."""

    def __init__(self, conf: Path) -> None:
        self._conf = conf
        self._files: dict[str, _File] = {}

    def compose(self, choices: Mapping[str, str]) -> dict[str, Any]:
        """The config with its interpolations unresolved, without Hydra's own section.

        Args:
            choices: options by Hydra's override key: ``group``, or ``group@package``.

        Raises:
            Beyond: Hydra has to do it.
        """
        walk = _Walk(self, choices)
        found = walk.expand("config", "", "", None)
        walk.check_all_used()
        config: dict[str, Any] = {}
        for path, package in found:
            node = config
            for name in package.split(".") if package else ():
                below = node.setdefault(name, {})
                if below is None:
                    below = node[name] = {}
                if not isinstance(below, dict):
                    raise Beyond(f"{path} is merged into {package}, which is no section")
                node = below
            _merge(node, self.file(path).content)
        config.pop("hydra", None)
        return config

    def file(self, path: str) -> _File:
        """The config file of a path such as ``data/samples``."""
        if path not in self._files:
            self._files[path] = self._read(path)
        return self._files[path]

    def _read(self, path: str) -> _File:
        try:
            text = (self._conf / f"{path}.yaml").read_text(encoding="utf-8")
            content = yaml.load(text, _Loader) or {}
        except (OSError, yaml.YAMLError) as error:
            raise Beyond(f"{path} cannot be read") from error
        if not isinstance(content, dict):
            raise Beyond(f"{path} is no mapping")
        defaults = content.pop("defaults", None) or []
        if not isinstance(defaults, list):
            raise Beyond(f"{path} has a defaults list that is none")
        # Hydra looks for the header in the first 512 characters, and takes the last one there.
        headers = _HEADER.findall(text[:512])
        if headers and not re.fullmatch(r"_global_|\w+(\.\w+)*", headers[-1]):
            raise Beyond(f"{path} has the package header {headers[-1]}")
        return _File(headers[-1] if headers else None, tuple(map(_entry, defaults)), content)


def _entry(raw: Any) -> _Entry:
    option: Any = None
    if isinstance(raw, dict) and len(raw) == 1:
        ((key, option),) = raw.items()
    elif isinstance(raw, str):
        key = raw
    else:
        raise Beyond(f"defaults entry {raw!r}")
    words = str(key).split(" ")
    name, at, package = words[-1].partition("@")
    if (
        words[:-1] not in ([], ["override"])
        or not _NAME.fullmatch(name.removeprefix("/"))
        or (at and not _PACKAGE.fullmatch(package))
        or "_group_" in package
        or "_name_" in package
        or not (option is None or (isinstance(option, str) and re.fullmatch(r"[\w-]+(/[\w-]+)*", option)))
        or (isinstance(raw, str) and len(words) > 1)
    ):
        raise Beyond(f"defaults entry {raw!r}")
    return _Entry(name, option, isinstance(raw, dict), package if at else None, len(words) > 1)


class _Walk:
    """One composition's walk through the defaults lists."""

    def __init__(self, composer: PlainComposer, choices: Mapping[str, str]) -> None:
        self._composer = composer
        self._choices: dict[str, str | None] = dict(choices)
        self._used: set[str] = set()
        self._seen: set[str] = set()

    def check_all_used(self) -> None:
        """Refuses choices that met no entry."""
        if set(self._choices) != self._used:
            raise Beyond(f"nothing takes {', '.join(sorted(set(self._choices) - self._used))}")

    def expand(self, path: str, base: str, package: str, key: str | None) -> list[tuple[str, str]]:
        """The files that a config stands for, each with the package that it is merged into, in merging order.

        Args:
            path: of the config; ``base``: its folder, which its relative entries start from.
            package: where it goes.
            key: its override key, where it is a group's option.
        """
        if key is not None:
            if key in self._seen:
                raise Beyond(f"{key} is chosen twice")
            self._seen.add(key)
        defaults = self._composer.file(path).defaults
        own = _Entry("_self_", None, False, None, False)
        if own not in defaults:
            defaults = (*defaults, own)
        for entry in defaults:
            if entry.override:
                group, at = _group(entry, base), _place(entry, package, None)
                self._choices.setdefault(_key(group, at), entry.option)
        found: list[tuple[str, str]] = []
        # From the last entry to the first, as Hydra does: an `override` in a later entry reaches the earlier ones.
        for entry in reversed(defaults):
            if entry == own:
                found.append((path, package))
            elif not entry.override:
                found += reversed(self._entry(entry, base, package))
        return found[::-1]

    def _entry(self, entry: _Entry, base: str, package: str) -> list[tuple[str, str]]:
        group = _group(entry, base)
        if not entry.group:
            path = group
            header = self._composer.file(path).header
            folder = path.rpartition("/")[0]
            return self.expand(path, folder, _place(entry, package, header), None)
        key, option = _key(group, _place(entry, package, None)), entry.option
        if key in self._choices:
            option = self._choices[key]
            self._used.add(key)
        if option is None:
            return []
        path = f"{group}/{option}"
        return self.expand(path, group, _place(entry, package, self._composer.file(path).header), key)


def _group(entry: _Entry, base: str) -> str:
    """Path of an entry from the conf folder."""
    if entry.path.startswith("/"):
        return entry.path[1:]
    return f"{base}/{entry.path}" if base else entry.path


def _place(entry: _Entry, parent: str, header: str | None) -> str:
    """Package of an entry: its own, else its file's header (absolute), else its path."""
    if entry.package is not None:
        package = "" if entry.package == "_here_" else entry.package
    elif header is not None:
        return header.removeprefix("_global_").removeprefix(".")
    else:
        path = entry.path.removeprefix("/")
        package = (path if entry.group else path.rpartition("/")[0]).replace("/", ".")
    if package == "_global_" or package.startswith("_global_."):
        return package.removeprefix("_global_").removeprefix(".")
    return ".".join(filter(None, (parent, package)))


def _key(group: str, package: str) -> str:
    """Hydra's override key: the group, and its package where that is not the usual one."""
    return group if package == group.replace("/", ".") else f"{group}@{package or '_global_'}"


def _merge(into: dict[str, Any], content: Mapping[str, Any]) -> None:
    """Merges as OmegaConf does: sections recursively, anything else replaces."""
    for key, value in content.items():
        old = into.get(key)
        if isinstance(value, dict):
            if isinstance(old, dict):
                _merge(old, value)
                continue
            if isinstance(old, list) or (isinstance(old, str) and "${" in old):
                raise Beyond(f"{key} merges a section into a list or an interpolation")
            into[key] = copied(value)
        elif key in into and (
            value == "???"
            or (isinstance(old, dict) and (isinstance(value, list) or (isinstance(value, str) and "${" in value)))
        ):
            raise Beyond(f"{key} merges {value!r} over something")
        else:
            into[key] = copied(value)


def copied(value: Any) -> Any:
    """Deep copy of plain values, several times faster than ``copy.deepcopy``."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value
