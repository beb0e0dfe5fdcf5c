"""Tables of a sweep that was changed on the command line: a name and a folder of their own, and what was changed.

The plain table is what its file says. A key=value of every cell, or other seeds, make another table: it never takes the
plain one's folder, its title says what was changed, and a row whose own setting was changed says so in its name.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweeps.errors import UserError
from sweeps.signatures.signature import INFRASTRUCTURE, PLACEMENT, PRESENTATION

if TYPE_CHECKING:
    from sweeps.planning.definition import Definition
    from sweeps.planning.plan import Cell

PROGRAM = ".venv/bin/papergrid"
"""The command as it is called from the project's root, where make installs it."""

_LONGEST = 80  # characters of a folder's name that tell what was changed; a digest tells the rest apart


def key_of(text: str) -> str:
    """The config key of an override: ``++a.b@c=1`` has ``a.b@c``."""
    return text.partition("=")[0].lstrip("+~")


def changes(
    definition: Definition, scale: str, overrides: Sequence[str], seeds: Sequence[int] | None, cells: Sequence[Cell]
) -> tuple[str, ...]:
    """What a command line changes about the plain table of a sweep, each as it would be typed; () for nothing.

    An override that says where a cell runs, or that says what the sweep says anyway, changes nothing.

    Args:
        cells: the sweep's cells under ``overrides`` and ``seeds``.
    """
    newest = {key_of(text): text for text in overrides if not _places(text)}
    if newest and not _changed(definition, scale, seeds, cells):
        newest = {}
    told = sorted(newest.values())
    if seeds is not None and _drawn(definition, scale, seeds) != _drawn(definition, scale, None):
        told.append(f"seeds={','.join(map(str, seeds))}")
    return tuple(told)


def folder_name(definition: Definition, scale: str, changed: Sequence[str]) -> str:
    """Name of a table's folder below ``outputs/sweeps``: it holds no character that a shell would take for its own."""
    plain = f"{definition.name.replace('/', '-')}-{scale}"
    if not changed:
        return plain
    words = re.sub(r"[^A-Za-z0-9.]+", "_", " ".join(changed))[:_LONGEST].strip("_.")
    return f"{plain}-with-{words}-{hashlib.sha256(' '.join(changed).encode()).hexdigest()[:8]}"


def command(
    definition: Definition, scale: str, overrides: Sequence[str], seeds: Sequence[int] | None, flags: Sequence[str] = ()
) -> str:
    """What makes a table, ready to be pasted into a shell."""
    chosen = [] if seeds is None else [f"seeds={','.join(map(str, seeds))}"]
    return shlex.join([PROGRAM, "sweep", f"sweep={definition.name}", f"scale={scale}", *chosen, *overrides, *flags])


def row_name(row: str, own: Sequence[str], overrides: Sequence[str]) -> str:
    """A row's name, with every setting of its own that the command line overrules by another value behind it."""
    settings = {key_of(text): text for text in own}
    newest = {key_of(text): text for text in overrides}
    lost = [text for key, text in newest.items() if key in settings and text != settings[key]]
    return f"{row} [{', '.join(lost)}]" if lost else row


def _places(text: str) -> bool:
    """Whether an override says where a cell runs or how it is shown, and nothing that could change its results."""
    parts = key_of(text).partition("@")[0].replace("/", ".").split(".")
    placed = parts[0] == "trainer" and len(parts) == 2 and parts[1] in PLACEMENT
    return parts[0] in INFRASTRUCTURE or placed or bool(PRESENTATION & set(parts))


def _changed(definition: Definition, scale: str, seeds: Sequence[int] | None, cells: Sequence[Cell]) -> bool:
    """Whether any cell differs in what decides its results from the one that the file alone would make."""
    from sweeps.planning.plan import Planner

    try:
        plain = Planner(lenient=True).sweep(definition, scale, (), seeds)
    except UserError:  # it takes these overrides to make the sweep's cells at all
        return True
    return [cell.science for cell in plain] != [cell.science for cell in cells]


def _drawn(definition: Definition, scale: str, seeds: Sequence[int] | None) -> set[tuple[str, int]]:
    return {(row, seed) for row, _, seed in definition.points(scale, seeds)}
