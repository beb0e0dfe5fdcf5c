"""Finds the modules that are a person's own, by name and without importing any of them.

Own is whatever lies outside the standard library and the installed packages: this repository, a package beside it, on
``PYTHONPATH`` or installed editable. An import would run code and may load torch, which planning must not; so the
search path is read as Python would read it.
"""

from __future__ import annotations

import os
import pkgutil
import re
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[__name__.count(".")]
"""The project's root: the folder that holds ``data``, ``lightning_modules`` and ``sweeps``."""

OURS = frozenset({"data", "lightning_modules", "sweeps", "hydra_plugins"})
"""Top-level packages of this repository: own wherever they lie, an installed copy included."""

_SUFFIXES = (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *BYTECODE_SUFFIXES)
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_STANDARD = tuple(
    {os.path.realpath(path) + os.sep for key in ("stdlib", "platstdlib") if (path := sysconfig.get_paths().get(key))}
)
DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")
_BUILT_IN = frozenset({"BuiltinImporter", "FrozenImporter", "PathFinder"})


class Place(NamedTuple):
    """Where an own module lies: its file (None: a package without ``__init__``) and, of a package, its folders."""

    file: str | None
    folders: tuple[str, ...]


class Modules:
    """Looks every name up once; make a new one to see what has been added since.

    Args:
        root: searched before ``sys.path``, as it is in every process that runs a cell.
    """

    def __init__(self, root: Path = ROOT) -> None:
        entries = [str(root), *(os.path.abspath(entry or os.getcwd()) for entry in sys.path)]
        self._path = tuple(dict.fromkeys(entries))
        self._places: dict[str, Place | None] = {}
        self._listings: dict[str, frozenset[str]] = {}
        self._recorded: dict[str, frozenset[str]] = {}
        self._references: dict[str, tuple[str, str] | None] = {}

    def place(self, name: str) -> Place | None:
        """Where the own module ``name`` lies; None for one that is not own or not there."""
        if name not in self._places:
            self._places[name] = self._find(name)
        return self._places[name]

    def reference(self, text: str) -> tuple[str, str] | None:
        """The own module that a dotted text names and what it names inside, such as ("data.x", "Class"), or None.

        What stands behind the module must occur in its file: "data.json" names nothing of a package ``data``.
        """
        if text not in self._references:
            self._references[text] = self._reference(text)
        return self._references[text]

    def _reference(self, text: str) -> tuple[str, str] | None:
        if not DOTTED.fullmatch(text) or self.place(text.partition(".")[0]) is None:
            return None
        module, rest = text, ""
        while module:
            place = self.place(module)
            if place is not None:
                named = rest.partition(".")[0]
                return (module, rest) if not named or self._mentions(place, named) else None
            module, _, last = module.rpartition(".")
            rest = f"{last}.{rest}" if rest else last
        return None

    def _mentions(self, place: Place, name: str) -> bool:
        if place.file is None:
            return False
        try:
            text = Path(place.file).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        return re.search(rf"\b{re.escape(name)}\b", text) is not None

    def children(self, package: str) -> tuple[str, ...]:
        """Last names of the modules directly inside an own package, sorted; packages among them included."""
        place = self.place(package)
        names = {file.split(".")[0] for folder in (place.folders if place else ()) for file in self._listing(folder)}
        return tuple(sorted(name for name in names if name.isidentifier() and self.place(f"{package}.{name}")))

    def below(self, package: str) -> Iterator[str]:
        """Full names of all modules inside an own package, at any depth."""
        for name in self.children(package):
            if name != "__init__":
                yield f"{package}.{name}"
                yield from self.below(f"{package}.{name}")

    def _find(self, name: str) -> Place | None:
        parent, _, last = name.rpartition(".")
        if not last.isidentifier():
            return None
        if parent:
            holder = self.place(parent)
            return self._search(holder.folders, name, last) if holder else None
        if name in sys.builtin_module_names:
            return None
        return self._search(self._path, name, last) or self._by_finders(name)

    def _search(self, entries: tuple[str, ...], name: str, last: str) -> Place | None:
        """As Python's path finder: the first module or regular package; else all folders of the name together."""
        portions: list[str] = []
        for entry in entries:
            listing = self._listing(entry)
            if not listing and not os.path.isdir(entry):
                found = self._imported_from(entry, name)
                if found is not None:
                    return found
                continue
            folder = os.path.join(entry, last)
            inside = self._listing(folder) if last in listing else frozenset()
            for suffix in _SUFFIXES:
                if f"__init__{suffix}" in inside:
                    return self._own(entry, name, Place(os.path.join(folder, f"__init__{suffix}"), (folder,)))
            for suffix in _SUFFIXES:
                if last + suffix in listing:
                    return self._own(entry, name, Place(os.path.join(entry, last + suffix), ()))
            if last in listing and os.path.isdir(folder):
                portions.append(folder)
        kept = tuple(folder for folder in portions if self._own(os.path.dirname(folder), name, Place(folder, ())))
        return Place(None, kept) if kept else None

    def _imported_from(self, entry: str, name: str) -> Place | None:
        """In an entry of the path that is no folder: an archive, or a hook of an editable installation."""
        try:
            importer: Any = pkgutil.get_importer(entry)
            spec = importer.find_spec(name) if importer is not None else None
        except (ImportError, AttributeError):
            return None
        return self._of_spec(entry, name, spec)

    def _by_finders(self, name: str) -> Place | None:
        """By finders beside Python's own, which editable installations add."""
        for finder in sys.meta_path:
            if getattr(finder, "__name__", type(finder).__name__) in _BUILT_IN or not hasattr(finder, "find_spec"):
                continue
            try:
                spec = finder.find_spec(name, None, None)
            except Exception:  # another package's finder: what it cannot say, it does not know
                continue
            place = self._of_spec("", name, spec)
            if place is not None:
                return place
        return None

    def _of_spec(self, entry: str, name: str, spec: Any) -> Place | None:
        if spec is None or spec.origin in ("built-in", "frozen"):
            return None
        folders = tuple(str(folder) for folder in spec.submodule_search_locations or ())
        file = spec.origin if spec.origin and spec.has_location else None
        place = Place(file, folders)
        return self._own(entry, name, place) if file or folders else None

    def _own(self, entry: str, name: str, place: Place) -> Place | None:
        """The place, unless it is of the standard library or an installed package."""
        top = name.partition(".")[0]
        path = place.file or next(iter(place.folders))
        if top in OURS:
            return place
        parts = Path(path).parts
        installed = next((depth for depth, part in enumerate(parts) if part in _INSTALLED), None)
        if installed is not None:
            # A link out of there is how some install for editing: what it leads to is a person's own folder.
            package = os.path.join(*parts[: installed + 2])
            own = os.path.islink(package) and not _INSTALLED & set(Path(os.path.realpath(package)).parts)
            return place if own else None
        if os.path.realpath(path).startswith(_STANDARD):
            return None
        return None if "." not in name and top in self._recorded_in(entry) else place

    def _recorded_in(self, entry: str) -> frozenset[str]:
        """Top-level names that were installed into a folder of another name (pip's ``--target``)."""
        if entry not in self._recorded:
            names: set[str] = set()
            for folder in self._listing(entry):
                if folder.endswith(".dist-info"):
                    try:
                        lines = (Path(entry) / folder / "RECORD").read_text(encoding="utf-8").splitlines()
                    except OSError:
                        continue
                    names |= {re.split(r"[/.,]", line, maxsplit=1)[0] for line in lines}
            self._recorded[entry] = frozenset(names)
        return self._recorded[entry]

    def _listing(self, folder: str) -> frozenset[str]:
        if folder not in self._listings:
            try:
                self._listings[folder] = frozenset(os.listdir(folder))
            except OSError:
                self._listings[folder] = frozenset()
        return self._listings[folder]
