"""Questions about a syntax tree: what a scope binds, what a statement defines or declares, what says nothing at all."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from sweeps.errors import UserError

Binding = tuple[str, str]
"""An own module and what of it, "" for the module itself."""

Names = dict[str, tuple[Binding, ...]]
"""What the names of a scope stand for, as far as they come from own modules."""

DECLARATIONS = ("scored_by", "BY_NAME", "PLUMBING")
"""What a file may declare; see ``spelling``."""

SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler, ast.MatchAs, ast.MatchStar)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def declared(body: Sequence[ast.stmt], wanted: str, name: str) -> list[str]:
    """The texts that a body of statements of the module ``name`` gives to ``wanted``, one of ``DECLARATIONS``.

    Raises:
        UserError: it is given something else than plain texts.
    """
    found: dict[str, None] = {}
    for node in body:
        if target(node) != wanted or getattr(node, "value", None) is None:
            continue
        try:
            value = ast.literal_eval(node.value)  # type: ignore[attr-defined]
        except ValueError:
            value = None
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
            raise UserError(
                f"{wanted} in the module {name} is no plain text or list of texts: signatures read it without running "
                f'the module; write it as {wanted} = ("...",)'
            )
        found |= dict.fromkeys(texts)
    return list(found)


def target(node: Any) -> str:
    """The one name that an assignment binds, or ""."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return node.target.id if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else ""


def declares(node: Any) -> bool:
    """Whether a statement is one of ``DECLARATIONS``."""
    return target(node) in DECLARATIONS and node.value is not None


def only_there(tree: ast.Module, definitions: Collection[str]) -> frozenset[str]:
    """Names that are read in some definitions of a file and nowhere else in it."""
    inside: set[str] = set()
    elsewhere: set[str] = set()
    for item in tree.body:
        found = {node.id for node in ast.walk(item) if isinstance(node, ast.Name)}
        (inside if defines(item) & set(definitions) else elsewhere).update(found)
    return frozenset(inside - elsewhere)


def named_text(node: Any) -> str | None:
    """A text that a constant is given, but for ``BY_NAME``, which says what of its package counts."""
    if target(node) in ("", "BY_NAME") or not isinstance(node.value, ast.Constant):
        return None
    return node.value.value if isinstance(node.value.value, str) else None


def defines(node: ast.stmt) -> set[str]:
    """Names that a statement at the top of a file defines."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {node.name}
    return {target(node)} - {""}


def idle(node: ast.stmt) -> bool:
    """Statements that say nothing: imports (which are counted apart), texts that stand alone, ``pass``."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, (ast.Import, ast.ImportFrom, ast.Pass))


def never_true(test: ast.expr) -> bool:
    """Conditions that do not hold in a cell: ``TYPE_CHECKING`` and ``__name__ == "__main__"``."""
    if isinstance(test, ast.Compare):
        return ast.unparse(test) == "__name__ == '__main__'"
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


def within(body: Sequence[Any]) -> Iterator[ast.AST]:
    """All nodes of one scope: what stands in functions and classes inside it is not part of it."""
    queue = list(reversed(body))
    while queue:
        node = queue.pop()
        yield node
        if isinstance(node, (*SCOPES, *COMPREHENSIONS)):
            continue
        if isinstance(node, ast.If) and never_true(node.test):
            queue += reversed(node.orelse)
            continue
        queue += reversed(list(ast.iter_child_nodes(node)))


def stored(body: Sequence[Any]) -> set[str]:
    """Names that the statements of one scope bind, but for imports."""
    found: set[str] = set()
    for node in within(body):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, _NAMED) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found.add(node.rest)
    return found


def without(names: Names, hidden: set[str]) -> Names:
    """Names but for those that a scope binds anew."""
    return {name: bindings for name, bindings in names.items() if name not in hidden} if hidden & set(names) else names


def arguments(node: ast.arguments) -> list[ast.arg]:
    """All arguments of a function."""
    several = [*node.posonlyargs, *node.args, *node.kwonlyargs]
    return [*several, *(one for one in (node.vararg, node.kwarg) if one is not None)]


def parameters(node: ast.FunctionDef | ast.ClassDef) -> list[list[str]]:
    """All parameters of a class or function, and those whose annotation speaks of ``int``."""
    given: list[tuple[str, ast.expr | None]]
    if isinstance(node, ast.ClassDef):
        methods = [one for one in node.body if isinstance(one, ast.FunctionDef)]
        made = next((one for one in methods if one.name in ("__init__", "__new__")), None)
        if made is None:  # of a dataclass or a named tuple
            given = [(target(one), one.annotation) for one in node.body if isinstance(one, ast.AnnAssign)]
        else:
            given = [(one.arg, one.annotation) for one in arguments(made.args)[1:]]
    else:
        given = [(one.arg, one.annotation) for one in arguments(node.args)]
    whole = [name for name, hint in given if hint is not None and re.search(r"\bint\b", ast.unparse(hint))]
    return [[name for name, _ in given], whole]


def beginning(node: ast.expr, texts: Mapping[str, str], names: Names) -> str:
    """The text that an expression begins with, as far as it is known without running it.

    Args:
        node: the expression.
        texts: constants of the file by name.
        names: own modules by the name that they have there.
    """
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.FormattedValue):
        return beginning(node.value, texts, names)
    if isinstance(node, ast.JoinedStr):
        return _joined([beginning(part, texts, names) for part in node.values], "")
    if isinstance(node, ast.BinOp):
        left = beginning(node.left, texts, names)
        if isinstance(node.op, ast.Mod):
            return left.partition("%")[0]
        return _joined([left, beginning(node.right, texts, names)], "")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr == "format":
            return beginning(node.func.value, texts, names).partition("{")[0]
        if node.func.attr == "join" and node.args and isinstance(node.args[0], (ast.List, ast.Tuple)):
            return _joined([beginning(item, texts, names) for item in node.args[0].elts], ".")
    if isinstance(node, ast.Name):
        return texts.get(node.id, "")
    if isinstance(node, ast.Attribute) and node.attr == "__name__" and isinstance(node.value, ast.Name):
        bindings = names.get(node.value.id, ())
        return bindings[0][0] if len(bindings) == 1 and not bindings[0][1] else ""
    return ""


def _joined(parts: Sequence[str], between: str) -> str:
    """Parts up to the first that is not known."""
    known = list(itertools.takewhile(bool, parts))
    return between.join([*known, ""] if between and len(known) < len(parts) else known)
