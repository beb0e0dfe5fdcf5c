"""A table whose rows are files of one package, each loaded when its name is first asked for."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TypeVar

Row = TypeVar("Row")


class ByName(Mapping[str, Row]):
    """Rows by the names of their files. Listing the names loads no row, so that no row depends on another.

    Args:
        package: full name of the package.
        attribute: what a file calls its row.
    """

    def __init__(self, package: str, attribute: str) -> None:
        self._package, self._attribute = package, attribute

    @cached_property
    def _names(self) -> tuple[str, ...]:
        path = importlib.import_module(self._package).__path__
        return tuple(sorted(one.name for one in pkgutil.iter_modules(path)))

    def __getitem__(self, name: str) -> Row:
        if name not in self._names:
            raise KeyError(name)
        row: Row = getattr(importlib.import_module(f"{self._package}.{name}"), self._attribute)
        return row

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
