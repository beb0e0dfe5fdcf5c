"""Import closures: all own files that some modules come to import, and one digest of what they say.

The digest is made of sorted digests of contents. Names and places of files are no part of it (see ``spelling``), so a
moved, renamed or reformatted file changes no closure.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sys
import types
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sweeps.signatures import readings, spelling
from sweeps.signatures.modules import ROOT, Modules, Place
from sweeps.signatures.spelling import Source

PLUMBING = "plumbing"
SCORES = "scores"

_PLAIN = (str, bytes, int, float, complex, Path)
_CONTAINERS = (list, tuple, set, frozenset, dict)
_LOOKED_AT, _OF_EACH = 5000, 50

_loaded: dict[str, bytes] = {}
"""Content of own files as this process runs them, by path; see ``hold``."""


class Closures:
    """Reads every file once; make a new one to see what has changed since.

    Args:
        root: see ``Modules``.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self.modules = Modules(root)
        self._sources: dict[str, Source | None] = {}
        self._contents: dict[str, bytes] = {}
        self._digests: dict[str, str] = {}
        self._reached: dict[tuple[frozenset[str], frozenset[str]], frozenset[str]] = {}
        self._closed: dict[tuple[tuple[str, ...], frozenset[str]], str] = {}
        self._named: dict[frozenset[str], tuple[frozenset[str], frozenset[str]]] = {}

    def digest(self, modules: Iterable[str], texts: Collection[str] = ()) -> str:
        """Digest of the closure of ``modules``, which come first in it; "" where none of them is own.

        Args:
            modules: full names.
            texts: those of a config: files that are taken by name (``spelling``, ``BY_NAME``) count if it names them.
        """
        names = tuple(name for name in modules if self.modules.place(name) is not None)
        key = names, self.of(names, texts)
        if key not in self._closed:
            found = {self.file_digest(name) for name in key[1]}
            self._closed[key] = _hash([*map(self.file_digest, names), "", *sorted(found - {""})]) if names else ""
        return self._closed[key]

    def of(self, modules: Iterable[str], texts: Collection[str] = ()) -> frozenset[str]:
        """Names of all own modules that ``modules`` import, directly or not, themselves included."""
        start = frozenset(modules)
        chosen: frozenset[str] = frozenset()
        while True:
            reached = self._reach(start, chosen)
            more = frozenset(self._taken_by_name(reached, texts))
            if more <= chosen:
                return reached
            chosen |= more

    def files(self, modules: Iterable[str], texts: Collection[str] = ()) -> dict[str, bytes]:
        """All files of a closure by path, with their content."""
        places = (self.modules.place(name) for name in sorted(self.of(modules, texts)))
        return {place.file: self._content(place.file) for place in places if place and place.file}

    def behind(self, *things: Any) -> frozenset[str]:
        """Own modules that define objects: their classes, functions and what these hold, but for this package's own."""
        found: set[str] = set()
        seen: set[int] = set()
        queue = list(things)
        while queue and len(seen) < _LOOKED_AT:
            thing = queue.pop()
            if id(thing) in seen or thing is None or isinstance(thing, _PLAIN):
                continue
            seen.add(id(thing))
            if isinstance(thing, (list, tuple, set, frozenset, dict)) and type(thing) in _CONTAINERS:
                queue += list(thing.values() if isinstance(thing, dict) else thing)[:_OF_EACH]
                continue
            maker = thing if isinstance(thing, (type, types.FunctionType)) else type(thing)
            own = self.modules.place(maker.__module__) is not None
            if own and maker.__module__.partition(".")[0] == __name__.partition(".")[0]:
                continue
            if own:
                found.add(maker.__module__)
            queue += _held(thing) if own or isinstance(thing, functools.partial) else [getattr(thing, "_modules", None)]
        return frozenset(found)

    def scores(self, module: str, name: str) -> tuple[str, ...]:
        """Modules of scores that a class of data names, itself or the nearest of its bases; () where none does."""
        found = (source.scored_by.get(one) for source, one in self._line(module, name))
        return next((tuple(sorted(several)) for several in found if several), ())

    def whole_parameters(self, module: str, name: str) -> frozenset[str]:
        """Parameters of a class or function whose annotation speaks of ``int``: there 1 and 1.0 may differ."""
        known: set[str] = set()
        whole: set[str] = set()
        for source, one in self._line(module, name):
            _, given, ints = source.parameters[one]
            whole |= set(ints) - known
            known |= set(given)
        return frozenset(whole)

    def _line(self, module: str, name: str) -> Iterator[tuple[Source, str]]:
        """Where a class or function is defined, then its bases, the nearest first, as far as they are own."""
        queue, seen = [(module, name)], set()
        while queue:
            where = queue.pop(0)
            source = self.source(where[0])
            if where in seen or source is None:
                continue
            seen.add(where)
            if where[1] in source.parameters:
                yield source, where[1]
                queue += [(base[0], base[1]) for base in source.parameters[where[1]][0]]
            else:  # it may come from elsewhere under this name
                queue += [(module, what) for bound, module, what in source.exports if bound == where[1]]

    def source(self, name: str) -> Source | None:
        """What an own module says; None for one that is not there, and for a package without ``__init__``."""
        if name not in self._sources:
            place = self.modules.place(name)
            self._sources[name] = self._read(name, place) if place and place.file else None
        return self._sources[name]

    def file_digest(self, name: str) -> str:
        """Digest of one own module: what it says, and what the modules say that it takes something from."""
        if name not in self._digests:
            source = self.source(name)
            if source is None or not (source.says or source.exports):
                self._digests[name] = ""
            else:
                uses = (self._use(source, *use) for use in source.uses)
                # A module that was imported and not used may change its name with its file, a thing may not.
                exports = sorted(
                    f"{bound if what else ''}={self._use(source, module, what)}"
                    for bound, module, what in source.exports
                )
                self._digests[name] = _hash([source.says, *uses, *exports])
        return self._digests[name]

    def _use(self, source: Source, module: str, name: str) -> str:
        kind, used = self._kind(source, module, name), self.source(module)
        if used is None or kind in (PLUMBING, SCORES):
            return kind
        return _hash([kind, used.says, *(self._kind(used, *use) for use in used.uses)])

    def _kind(self, source: Source, module: str, name: str) -> str:
        """What a file takes from a module: the name, but for what does not count whatever its name is."""
        if any(module in several for several in source.scored_by.values()):
            return SCORES
        used = self.source(module)
        return PLUMBING if used is not None and {name, "*"} & set(used.plumbing) else name

    def _reach(self, start: frozenset[str], chosen: frozenset[str]) -> frozenset[str]:
        key = (start, chosen)
        if key not in self._reached:
            found: set[str] = set()
            queue = [*start, *chosen]
            while queue:
                name = queue.pop()
                if name in found or self.modules.place(name) is None:
                    continue
                found.add(name)
                if "." in name:  # importing a module imports the packages that it lies in
                    queue.append(name.rpartition(".")[0])
                source = self.source(name)
                if source is not None:
                    queue += source.needs
                    queue += (inner for package in source.whole for inner in self.modules.below(package))
            self._reached[key] = frozenset(found)
        return self._reached[key]

    def _taken_by_name(self, reached: frozenset[str], texts: Collection[str]) -> Iterator[str]:
        if reached not in self._named:
            sources = [source for name in reached if (source := self.source(name)) is not None]
            packages = frozenset(package for source in sources for package in source.by_name)
            words = frozenset(word for source in sources for word in source.words) if packages else frozenset()
            self._named[reached] = packages, words
        packages, words = self._named[reached]
        for package in packages:
            for child in self.modules.children(package):
                if child in texts or child in words:
                    yield f"{package}.{child}"

    def _read(self, name: str, place: Place) -> Source:
        assert place.file is not None
        content = self._content(place.file)
        if not place.file.endswith(".py"):  # compiled: its bytes are all that it says
            says = hashlib.sha256(content).hexdigest()
            return Source(says, [], [], [], {}, [], [], [], [], {}, {})
        key = readings.key(name, content, package=bool(place.folders))
        known = readings.known(key)
        if known is not None:
            source = Source(**known)
            if all(self._answer(question) == answer for question, answer in source.asked.items()):
                return source
        source = spelling.read(content, name, package=bool(place.folders), modules=self.modules)
        readings.keep(key, source._asdict())
        return source

    def _content(self, file: str) -> bytes:
        if file not in self._contents:
            path = Path(file)
            # Inside an archive the archive stands for it.
            while not path.is_file() and path != path.parent:
                path = path.parent
            self._contents[file] = _loaded.get(file) or path.read_bytes()
        return self._contents[file]

    def _answer(self, question: str) -> Any:
        if question.startswith("="):
            found = self.modules.reference(question[1:])
            return list(found) if found else None
        return self.modules.place(question) is not None


def hold(files: Mapping[str, bytes]) -> None:
    """From now on files count in this process, and in what it forks, as they were when they were first held.

    Python loads a module once: a process goes on with what it has loaded, whatever becomes of the file.
    """
    for path, content in files.items():
        _loaded.setdefault(path, content)


def loaded(names: Iterable[str] = ()) -> dict[str, bytes]:
    """Own files that this process has loaded, by path, as they are now, but for modules of some names."""
    modules, left_out = Modules(), set(names)
    found: dict[str, bytes] = {}
    for name in set(sys.modules) - left_out:
        place = modules.place(name)
        if place is not None and place.file is not None:
            with contextlib.suppress(OSError):
                found[place.file] = Path(place.file).read_bytes()
    return found


def _held(thing: Any) -> list[Any]:
    """What an object holds: attributes, of a function what it has bound."""
    if isinstance(thing, types.FunctionType):
        bound: list[Any] = []
        for cell in thing.__closure__ or ():
            with contextlib.suppress(ValueError):  # nothing is bound yet
                bound.append(cell.cell_contents)
        return [*bound, *(thing.__defaults__ or ())]
    if isinstance(thing, types.MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    if isinstance(thing, type):
        return []
    slots = [getattr(thing, name, None) for name in getattr(type(thing), "_fields", ())]
    return [*slots, *vars(thing).values()] if hasattr(thing, "__dict__") else slots


def _hash(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
