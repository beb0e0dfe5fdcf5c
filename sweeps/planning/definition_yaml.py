"""Reads a sweep's YAML file, and says in one line by file and line what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sweeps.errors import UserError


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """PyYAML takes the last of two equal keys without a word; here the second one is a fault."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[Any] = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in seen and not key.tag.endswith(":merge"):
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} comes twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


def read(path: Path, shown: str) -> Any:
    """The plain values of a YAML file.

    Args:
        shown: how the file is called in an error.

    Raises:
        UserError: a file that cannot be read, is no UTF-8 or no YAML, or gives a key twice.
    """
    try:
        text = path.read_bytes().decode("utf-8")
        # yaml.load is safe with a safe loader, which ours is.
        return yaml.load(text, _Loader)
    except OSError as error:
        raise UserError(f"{shown} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{shown}, line {line}: a byte that is no UTF-8; save the file as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{shown}, line {mark.line + 1}, column {mark.column + 1}" if mark else shown
        raise UserError(f"{where}: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:  # a character that YAML forbids, a date that there never was
        line = text[: getattr(error, "position", 0)].count("\n") + 1
        where = f"{shown}, line {line}" if hasattr(error, "position") else shown
        raise UserError(f"{where}: {str(error).splitlines()[0]}") from error
