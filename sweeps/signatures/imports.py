"""What one file imports, told from its own modules apart by asking where names lead."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sweeps.signatures.modules import Modules
from sweeps.signatures.syntax import Binding, Names, within


class Imports:
    """The imports of one file.

    Args:
        package: that the file lies in, or is the ``__init__`` of.
        modules: finds modules.
        uncounted: own modules whose imports do not count.
        idle: names whose imports from elsewhere do not count.

    Attributes:
        asked: what was asked of ``modules``, and the answers.
        needs: own modules that are imported, in order.
        foreign: all other imports, as lines.
        starred: own modules of which everything is imported.
    """

    def __init__(self, package: str, modules: Modules, uncounted: Collection[str], idle: Collection[str]) -> None:
        self._package, self._modules = package, modules
        self._uncounted, self._idle = uncounted, idle
        self.asked: dict[str, Any] = {}
        self.needs: dict[str, None] = {}
        self.foreign: set[str] = set()
        self.starred: dict[str, None] = {}

    def is_own(self, module: str) -> bool:
        """Whether a name is that of an own module."""
        if module not in self.asked:
            self.asked[module] = self._modules.place(module) is not None
        return bool(self.asked[module])

    def reference(self, text: str) -> Binding | None:
        """See ``Modules.reference``."""
        key = f"={text}"
        if key not in self.asked:
            found = self._modules.reference(text)
            self.asked[key] = list(found) if found else None
        found = self.asked[key]
        return (found[0], found[1]) if found else None

    def imported(self, body: Sequence[ast.stmt], names: Names) -> Names:
        """``names`` with what the statements of one scope import from own modules."""
        found = dict(names)
        fresh: set[str] = set()
        for node in within(body):
            if isinstance(node, ast.Import):
                bindings = list(self._of_import(node))
            elif isinstance(node, ast.ImportFrom):
                bindings = list(self._of_import_from(node))
            else:
                continue
            for bound, binding in bindings:
                before = found.get(bound, ()) if bound in fresh else ()
                found[bound] = before if binding in before else (*before, binding)
                fresh.add(bound)
        return found

    def _of_import(self, node: ast.Import) -> Iterator[tuple[str, Binding]]:
        for alias in node.names:
            if not self.is_own(alias.name):
                if alias.asname or alias.name.partition(".")[0] not in self._idle:
                    self._note_foreign(f"import {alias.name} as {alias.asname}", alias.asname)
                continue
            self.need(alias.name)
            bound = alias.asname or alias.name.partition(".")[0]
            yield bound, (alias.name if alias.asname else bound, "")

    def _of_import_from(self, node: ast.ImportFrom) -> Iterator[tuple[str, Binding]]:
        module = self.absolute(node.module or "", node.level)
        own = module is not None and self.is_own(module)
        for alias in node.names:
            bound = alias.asname or alias.name
            if not own or module is None:
                written = "." * node.level + (node.module or "")
                self._note_foreign(f"from {written} import {alias.name} as {alias.asname}", bound)
                continue
            inner = f"{module}.{alias.name}"
            if alias.name != "*" and self.is_own(inner):
                self.need(inner)
                yield bound, (inner, "")
                continue
            self.need(module)
            if alias.name == "*":
                self.starred[module] = None
            else:
                yield bound, (module, alias.name)

    def _note_foreign(self, line: str, bound: str | None) -> None:
        if bound not in self._idle:
            self.foreign.add(line)

    def need(self, module: str) -> None:
        """Note that an own module is imported."""
        if module not in self._uncounted:
            self.needs[module] = None

    def absolute(self, module: str, level: int, package: str = "") -> str | None:
        """Full name of what an import names, relative to ``package`` or its own; None where it climbs out of that."""
        if not level:
            return module
        parts = (package or self._package).split(".")
        if level > len(parts):
            return None
        base = parts[: len(parts) - level + 1]
        return ".".join([*base, module] if module else base)
