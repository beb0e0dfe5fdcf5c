"""What a source file says, as a digest that survives tidying: moved, renamed or reformatted it says the same.

Left out are comments, docstrings, layout, where the file lies, and the lines that import own modules: a name that comes
from one counts by what it leads to. So ``from data.x import f as g`` and ``import data.x`` with ``data.x.f`` are the
same, and neither changes when ``data/x.py`` becomes ``data/files/y.py``.

A file may declare three things in its own text:

* ``PLUMBING = ("name", ...)``: its definitions that cannot change a result, such as what logs, reports progress or
  writes checkpoints. They, and uses of them, do not count. ``("*",)`` is all of the file, with what it imports.
* ``BY_NAME = "package"``: it takes modules of that package by names that a config gives. Only those count whose name is
  a text of the config or of the code.
* ``scored_by = ("module", ...)`` in a class of data: the modules of its scores. They count for evaluations, not for
  trainings, and neither do this file's imports from them.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from sweeps.errors import UserError
from sweeps.signatures.imports import Imports
from sweeps.signatures.modules import DOTTED, Modules
from sweeps.signatures.syntax import (
    COMPREHENSIONS,
    Binding,
    Names,
    arguments,
    beginning,
    declared,
    declares,
    defines,
    idle,
    named_text,
    never_true,
    only_there,
    parameters,
    stored,
    target,
    within,
    without,
)

_SKIPPED = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
_WORD = re.compile(r"[^\W\d]\w{0,63}")
_DEPTH = 20_000
_DYNAMIC = frozenset({"import_module", "__import__"})


class Source(NamedTuple):
    """One file, read.

    Attributes:
        says: digest of its text; "" where nothing in it counts.
        uses: what it takes from own modules, (module, name) in the order of first use.
        needs: own modules that it imports.
        scored_by, by_name, plumbing: what it declares, the first by class; see the module.
        whole: own packages from which it imports by names that are made up when it runs: all of their modules count.
        exports: what it imports from own modules and does not use itself, (its name, module, name).
        words: texts in it that could be names.
        parameters: of its classes and functions: bases, all parameters, and those that are annotated with ``int``.
        asked: what it asked of the modules around it, and the answers: it says the same as long as they are.
    """

    says: str
    uses: list[list[str]]
    exports: list[list[str]]
    needs: list[str]
    scored_by: dict[str, list[str]]
    by_name: list[str]
    plumbing: list[str]
    whole: list[str]
    words: list[str]
    parameters: dict[str, list[list[Any]]]
    asked: dict[str, Any]


def read(content: bytes, name: str, *, package: bool, modules: Modules) -> Source:
    """Reads the source of the own module ``name``; ``package``: it is the ``__init__`` of one.

    Raises:
        UserError: no valid Python, or a declaration that is no plain text.
    """
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _DEPTH))
    try:
        return _Reader(ast.parse(content), name, package, modules).source()
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        raise UserError(f"the module {name} cannot be read{where} ({str(error).split(' (')[0]}): mend it") from error
    finally:
        sys.setrecursionlimit(limit)


class _Reader:
    def __init__(self, tree: ast.Module, name: str, package: bool, modules: Modules) -> None:
        self._name = name
        self._uses: dict[Binding, int] = {}
        self._whole: dict[str, None] = {}
        self._words: set[str] = set()
        self._modules: dict[ast.AST, str] = {}
        self._out: list[str] = []
        self._by_name, self._plumbing = (declared(tree.body, one, name) for one in ("BY_NAME", "PLUMBING"))
        classes = [one for one in tree.body if isinstance(one, ast.ClassDef)]
        self._scored_by = {one.name: declared(one.body, "scored_by", name) for one in classes}
        holder = name if package else name.rpartition(".")[0]
        self._idle = only_there(tree, self._plumbing)
        scores = {module for several in self._scored_by.values() for module in several}
        self._imports = Imports(holder, modules, scores, self._idle)
        kept = [item for item in tree.body if not (defines(item) & set(self._plumbing))]
        self._body = [] if "*" in self._plumbing else kept
        self._tree = tree
        self._texts = {target(one): text for one in tree.body if (text := named_text(one)) is not None}
        self._texts |= {"__package__": holder, "__name__": name}

    def source(self) -> Source:
        names: Names = {one: ((self._name, one),) for one in self._plumbing}
        names = self._imports.imported(self._body, names)
        self._spell_all(self._body, names)
        defined = [one for one in self._tree.body if isinstance(one, (ast.FunctionDef, ast.ClassDef))]
        bound = [("*", (module, "*")) for module in self._imports.starred]
        bound += [(name, one) for name, several in names.items() if name not in self._idle for one in several]
        text = "".join(self._out)
        # Of a file in which nothing is left not even its imports count.
        spelt = "\n".join([text, *sorted(self._imports.foreign)]) if text else ""
        return Source(
            says=hashlib.sha256(spelt.encode()).hexdigest() if spelt else "",
            uses=[list(use) for use in self._uses],
            exports=[[name, *one] for name, one in bound if one not in self._uses and one[0] != self._name],
            needs=list(self._imports.needs),
            scored_by=self._scored_by,
            by_name=self._by_name,
            plumbing=self._plumbing,
            whole=list(self._whole),
            words=sorted(self._words),
            parameters={one.name: [self._bases(one, names), *parameters(one)] for one in defined},
            asked=self._imports.asked,
        )

    # Text -------------------------------------------------------------------------------------------------------------

    def _use(self, module: str, name: str) -> None:
        self._out.append(f"#{self._uses.setdefault((module, name), len(self._uses))}")

    def _use_all(self, bindings: tuple[Binding, ...]) -> None:
        for module, name in bindings:
            self._use(module, name)

    def _spell_all(self, items: Sequence[Any], names: Names) -> None:
        for item in items:
            self._spell(item, names)

    def _spell(self, node: Any, names: Names) -> None:
        if isinstance(node, list):
            self._out.append("[")
            self._spell_all(node, names)
            self._out.append("]")
        elif not isinstance(node, ast.AST):
            self._out.append(f"{node!r},")
        elif isinstance(node, ast.stmt) and idle(node):
            return
        elif isinstance(node, ast.Name) and node.id in names:
            self._use_all(names[node.id])
        elif isinstance(node, ast.Attribute):
            self._spell_attribute(node, names)
        elif isinstance(node, ast.Constant):
            self._spell_constant(node.value, self._modules.get(node))
        elif isinstance(node, ast.If) and never_true(node.test):
            self._spell_all(node.orelse, names)
        elif declares(node) and target(node) != "BY_NAME":
            return
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            self._spell_function(node, names)
        elif isinstance(node, ast.ClassDef):
            self._spell_class(node, names)
        elif isinstance(node, COMPREHENSIONS):
            targets = [part.target for part in node.generators]
            self._spell_fields(node, without(names, stored(targets)))
        else:
            if isinstance(node, ast.Call):
                self._note_dynamic(node, names)
            self._spell_fields(node, names)

    def _spell_fields(self, node: ast.AST, names: Names, skipped: frozenset[str] = frozenset()) -> None:
        self._out.append(f"({type(node).__name__}")
        for field, value in ast.iter_fields(node):
            # Fields that newer versions of Python bring are empty where nothing uses them.
            if field in _SKIPPED or field in skipped or value is None or value == []:
                continue
            self._out.append(f" {field}=")
            self._spell(value, names)
        self._out.append(")")

    def _spell_constant(self, value: object, module: str | None) -> None:
        if isinstance(value, str):
            found: Binding | None = (module, "") if module else None
            if found is None and DOTTED.fullmatch(value):
                found = self._imports.reference(value)
            if found is not None:
                self._imports.need(found[0])
                self._out.append("'")
                self._use(*found)
                return
            if _WORD.fullmatch(value):
                self._words.add(value)
        self._out.append(f"{type(value).__name__}:{value!r},")

    def _spell_attribute(self, node: ast.Attribute, names: Names) -> None:
        """An attribute, or a chain of them; one that starts at an own module is followed as far as modules go."""
        chain, root = [node.attr], node.value
        while isinstance(root, ast.Attribute):
            chain.append(root.attr)
            root = root.value
        bindings = names.get(root.id, ()) if isinstance(root, ast.Name) else ()
        if len(bindings) != 1 or bindings[0][1]:
            self._spell_fields(node, names)
            return
        module, rest = bindings[0][0], chain[::-1]
        while rest and self._imports.is_own(f"{module}.{rest[0]}"):
            module, rest = f"{module}.{rest[0]}", rest[1:]
        self._imports.need(module)
        if rest[:1] == ["__path__"]:
            self._whole[module] = None
        self._use(module, rest[0] if rest else "")
        self._out.extend(f".{part}" for part in rest[1:])

    def _spell_function(self, node: Any, names: Names) -> None:
        body = node.body if isinstance(node.body, list) else [node.body]
        local = stored(body) | {one.arg for one in arguments(node.args)}
        local -= {name for part in within(body) if isinstance(part, (ast.Global, ast.Nonlocal)) for name in part.names}
        inner = without(names, local)
        if isinstance(node.body, list):
            inner = self._imports.imported(body, inner)
        # Defaults, annotations and decorators are read outside of the function.
        self._spell_fields(node, names, frozenset({"body"}))
        self._out.append("{")
        self._spell_all(body, inner)
        self._out.append("}")

    def _spell_class(self, node: ast.ClassDef, names: Names) -> None:
        # Methods do not see the names of their class, so these are left out for its own statements alone.
        inside = self._imports.imported(node.body, without(names, stored(node.body)))
        self._spell_fields(node, names, frozenset({"body"}))
        self._out.append("{")
        for item in node.body:
            self._spell(item, names if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)) else inside)
        self._out.append("}")

    # Imports by made-up names, bases ----------------------------------------------------------------------------------

    def _note_dynamic(self, node: ast.Call, names: Names) -> None:
        """``import_module`` with a text counts as an import; with a text that begins with a package, for all of it."""
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called not in _DYNAMIC or not node.args:
            return
        first = node.args[0]
        anchors = [*node.args[1:2], *(one.value for one in node.keywords if one.arg == "package")]
        base = beginning(anchors[0], self._texts, names) if anchors else ""
        text = beginning(first, self._texts, names)
        level = len(text) - len(text.lstrip("."))
        if isinstance(first, ast.Constant):
            module = self._imports.absolute(text[level:], level, base)
            if module and self._imports.is_own(module):
                self._modules[first] = module
            return
        # What stands before the last dot is the package; what stands behind it is only known when it runs.
        package = self._imports.absolute(text[level:].rpartition(".")[0], level, base)
        if package and self._imports.is_own(package):
            self._whole[package] = None

    def _bases(self, node: ast.stmt, names: Names) -> list[list[str]]:
        found = (self._binding(base, names) for base in getattr(node, "bases", ()))
        return [list(base) for base in found if base is not None]

    def _binding(self, node: ast.expr, names: Names) -> Binding | None:
        if isinstance(node, ast.Name):
            return names[node.id][0] if node.id in names else (self._name, node.id)
        if isinstance(node, ast.Attribute):
            found = self._binding(node.value, names)
            if found and not found[1]:
                inner = f"{found[0]}.{node.attr}"
                return (inner, "") if self._imports.is_own(inner) else (found[0], node.attr)
        return None
