"""A file of JSON lines that is made one line at a time and goes on where it was interrupted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def resume_lines(
    path: Path, count: int, make: Callable[[int], Any], progress: Callable[[int, int], None] | None = None
) -> None:
    """Append the lines that are missing.

    Args:
        path: of the file; what it holds already is kept, but for a last line that was cut off.
        count: lines in all.
        make: the value of a line by its number, from 0.
        progress: told (lines made, count).
    """
    with path.open("a+b") as stream:
        stream.seek(0)
        # What was interrupted may end inside a line.
        whole, newline, _ = stream.read().rpartition(b"\n")
        stream.truncate(len(whole) + len(newline))
        for number in range(whole.count(b"\n") + len(newline), count):
            stream.write(f"{json.dumps(make(number))}\n".encode())
            stream.flush()
            if progress is not None:
                progress(number + 1, count)


def lines_for(
    name: str, count: int, make: Callable[[int], Any], progress: Callable[[int, int], None] | None = None
) -> Callable[[Path], None]:
    """As ``resume_lines``, for a stage: takes the folder and fills its file ``name``.

    The stage is then named by what makes a line (``records.builders.MadeBy``), not by the code of whoever asks: answers
    that somebody else gave, perhaps for money, are not asked for again when the asker changes.
    """
    return lambda folder: resume_lines(folder / name, count, make, progress)


def read_lines(path: Path) -> list[Any]:
    """The values of a finished file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
