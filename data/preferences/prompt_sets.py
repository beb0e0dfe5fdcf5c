"""Prompts to be answered, from JSON lines below the data root and from data sets of the hub: read, chosen, named.

A row's prompt is text, or a conversation as a list of messages ({role, content}, or {from, value} as in
Infinity-Instruct), of which the first message of the user is the prompt: answers that came with it are not read.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from data.files.hub_commits import known_commit
from data.files.rows import BadRowError, Row, RowReader, columns, unfit
from data.files.sources import read_rows, stream_hub
from data.files.stages import Stages
from data.preferences.pair_files import place

_FILE = "prompts.json"
_HUB_KEYS = {"id", "config", "split", "revision", "column", "rows"}


class Prompt(NamedTuple):
    """A prompt that is to be answered; its id has the name of its set and the number of its row, from 1."""

    id: str
    prompt: str


def prompt_text(row: Mapping[str, Any], column: str) -> str:
    """The prompt of a row. ``BadRowError`` where there is none."""
    found: str = _reader(column)(row)
    return found


@cache
def _reader(column: str) -> RowReader[str]:
    return columns(**{column: _asked})(lambda row: row[column])


def _asked(value: Any, column: str) -> str:
    if isinstance(value, (list, tuple)):
        said = [one for one in value if isinstance(one, Mapping)]
        asked = (
            one.get("content", one.get("value"))
            for one in said
            if one.get("role", one.get("from")) in ("user", "human")
        )
        value = next(asked, None)
        if not isinstance(value, str):
            raise BadRowError(f"{column} has no message of the user: {{role, content}} or {{from, value}} is wanted")
    if not isinstance(value, str):
        raise unfit(value, column, "text or a list of messages")
    if not value.strip():
        raise BadRowError(f"{column} is empty")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise BadRowError(f"{column} holds half a character (a lone surrogate)")
    return value


class PromptSets:
    """Sets of prompts by name.

    Args:
        files: JSON-lines files, see ``sources.locate``.
        hub: data sets of the hub: {id, split} and, if wanted, config, revision, column, rows.
        column: of the rows that holds the prompt.
        rows: take so many prompts of a set at most; the same whatever order they come in. ``None``: all.
        max_bytes: drop prompts with more UTF-8 bytes; ``None``: none.
        bad_rows: "fail" refuses a set with a row that cannot be read, "drop" leaves such rows out and counts them.
    """

    def __init__(
        self,
        *,
        files: Mapping[str, str | None] | None = None,
        hub: Mapping[str, Mapping[str, Any] | None] | None = None,
        column: str = "prompt",
        rows: int | None = None,
        max_bytes: int | None = None,
        bad_rows: Literal["fail", "drop"] = "fail",
    ) -> None:
        self.files = {name: file for name, file in (files or {}).items() if file}
        self.hub = {name: dict(options) for name, options in (hub or {}).items() if options}
        if not self.files and not self.hub:
            raise ValueError("data.files and data.hub name no prompts: give at least one of either, by a name of yours")
        if set(self.files) & set(self.hub):
            raise ValueError(f"data.files and data.hub both have {', '.join(set(self.files) & set(self.hub))}")
        for name, options in self.hub.items():
            if set(options) - _HUB_KEYS or not {"id", "split"} <= set(options):
                raise ValueError(
                    f"data.hub.{name} has {', '.join(options)}: id and split are wanted, and of "
                    f"{', '.join(sorted(_HUB_KEYS))} whatever else"
                )
        for key, value in (("rows", rows), ("max_bytes", max_bytes)):
            if value is not None and value < 1:
                raise ValueError(f"data.{key} must be at least 1, got {value}")
        if bad_rows not in ("fail", "drop"):
            raise ValueError(f"data.bad_rows must be fail or drop, got {bad_rows!r}")
        self.column = column
        self.rows = rows
        self.max_bytes = max_bytes
        self.bad_rows = bad_rows

    def read(self, stages: Stages) -> tuple[list[Prompt], Counter[str]]:
        """Prompts of all sets, none of them twice, and what was left out by reason.

        What is taken from the hub is a stage: a set of millions is read through once.

        Raises:
            DataNotFoundError: a file or the hub cannot be reached.
            ValueError: a row that cannot be read, by its number.
        """
        found: dict[str, Prompt] = {}
        dropped: Counter[str] = Counter()
        for name in (*self.files, *self.hub):
            if name in self.files:
                file = self.files[name]
                taken, left_out = self._taken(read_rows(file), file, self.column, self.rows)
            else:
                taken, left_out = self._taken_from_hub(stages, self.hub[name])
            dropped.update(left_out)
            for number, text in taken:
                if text in found:
                    dropped["prompts that came before"] += 1
                else:
                    found[text] = Prompt(f"{name}/{number}", text)
        return list(found.values()), dropped

    def _taken_from_hub(self, stages: Stages, options: Mapping[str, Any]) -> tuple[list[Any], dict[str, int]]:
        column, rows = options.get("column") or self.column, options.get("rows") or self.rows
        asked: dict[str, Any] = {name: options.get(name) for name in ("split", "config", "revision")}
        commit = known_commit(options["id"], asked["revision"])
        key = {
            "hub": options["id"], **asked, "commit": commit, "column": column, "rows": rows,
            "max_bytes": self.max_bytes, "bad_rows": self.bad_rows,
        }  # fmt: skip

        def build(folder: Path) -> None:
            where = f"{options['id']} ({options['split']})"
            taken = self._taken(stream_hub(options["id"], **asked), where, column, rows)
            (folder / _FILE).write_text(json.dumps(taken), encoding="utf-8")

        read = json.loads((stages.get("prompts", key, build) / _FILE).read_text(encoding="utf-8"))
        return read[0], read[1]

    def _taken(
        self, rows: Iterable[Mapping[str, Any]], where: str, column: str, most: int | None
    ) -> tuple[list[tuple[int, str]], dict[str, int]]:
        """Number and text of the prompts that are taken, in order, and what was left out."""
        dropped: Counter[str] = Counter()

        def usable() -> Iterator[tuple[int, str]]:
            seen: set[bytes] = set()
            for number, row in enumerate(rows, start=1):
                try:
                    text = prompt_text(Row(row, where, number), column)
                except BadRowError as error:
                    if self.bad_rows == "fail":
                        told = "data.column names the prompts' column, data.bad_rows=drop leaves such rows out"
                        raise BadRowError(f"{error}; {told}") from None
                    dropped["bad rows"] += 1
                    continue
                if self.max_bytes is not None and len(text.encode()) > self.max_bytes:
                    dropped["prompts longer than max_bytes"] += 1
                elif (digest := hashlib.sha256(text.encode()).digest()) in seen:
                    dropped["prompts that came before"] += 1
                else:
                    seen.add(digest)
                    yield number, text

        if most is None:
            return list(usable()), dict(dropped)
        return sorted(heapq.nsmallest(most, usable(), key=lambda one: place(one[1], "rows"))), dict(dropped)
