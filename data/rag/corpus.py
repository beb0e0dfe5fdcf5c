"""Corpora of passages: read from JSON lines or a hub, cleaned, cut, and kept in one file that is mapped, not loaded.

Whatever is wrong with a row is counted and reported, never fatal: a corpus of 21 million passages must not die of one.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import warnings
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from data.files.hub_commits import known_commit
from data.files.row_files import opened
from data.files.rows import BadRowError, Row, columns, maybe, nullable, shown, spelt, text
from data.files.sources import digest, locate, read_rows, stream_hub
from data.files.stages import Stages
from data.rag.chunking import Chunker, Span
from data.records.builders import MadeBy
from data.records.passages import Passage
from data.retrieval.base import Progress

_PASSAGES, _OFFSETS, _REPORT = "passages.jsonl", "offsets.npy", "report.json"
_REPORT_EVERY = 10_000
_WHOLE = (".csv", ".parquet", ".json")
"""Files that are not read line by line, and so need memory for all of their rows."""


class CorpusReport(NamedTuple):
    """What became of the rows of a corpus. Each row is counted once among kept, malformed, empty and duplicates.

    Attributes:
        rows: rows read.
        kept: rows that gave at least one passage.
        passages: passages written; more than ``kept`` where rows were cut.
        malformed: rows that are not a JSON object with the wanted fields, of the wanted kind.
        empty: rows without text.
        duplicates: rows whose title and text stood before, white space aside.
        giant: kept rows longer than ``longest``; cut into pieces, so that nothing is lost.
        undecodable: rows with bytes that are not UTF-8; kept, the bytes replaced by U+FFFD.
        clashing: passages whose id was taken by another text; kept, with "~2" (and so on) appended.
    """

    rows: int = 0
    kept: int = 0
    passages: int = 0
    malformed: int = 0
    empty: int = 0
    duplicates: int = 0
    giant: int = 0
    undecodable: int = 0
    clashing: int = 0


class RawRow(NamedTuple):
    """A row as read.

    Attributes:
        fields: of the JSON object; ``None`` where it is none.
        decodable: whether its bytes were UTF-8.
        fault: where and why there are no fields.
    """

    fields: Mapping[str, Any] | None
    decodable: bool = True
    fault: str = "a row is no JSON object"


def passage_id(text: str) -> str:
    """Id of a passage that brings none: 16 hexadecimal digits of the SHA-1 of its text, white space collapsed.

    ``qa/corpus`` has the same ids, so that passages inlined in a question set are found in it.
    """
    return hashlib.sha1(" ".join(text.split()).encode(), usedforsecurity=False).hexdigest()[:16]


@columns(text=nullable(text), title=maybe(spelt), id=maybe(spelt))
def titled_row(fields: dict[str, Any], index: int) -> Passage:
    """Row with ``text``, and ``title`` and ``id`` where there are any."""
    told = fields["text"] or ""
    return Passage(fields["id"] or passage_id(told), fields["title"] or "", told)


@columns(contents=nullable(text), id=maybe(spelt))
def contents_row(fields: dict[str, Any], index: int) -> Passage:
    """Row with ``id`` and ``contents``: the title in quotes on the first line, the text on the others (pyserini)."""
    title, _, told = (fields["contents"] or "").partition("\n")
    if not told:
        title, told = "", title
    return Passage(fields["id"] or str(index), title.strip().strip('"'), told)


ROWS: dict[str, Callable[[Mapping[str, Any], int], Passage]] = {"titled": titled_row, "contents": contents_row}
"""Row formats by the name that ``conf/data/corpus`` uses (``reader``)."""


def read_lines(file: str) -> Iterator[RawRow]:
    """Rows of a JSON-lines file, plain or .gz, one at a time.

    Not by ``sources.read_rows``, which gives a file up at its first byte that is not UTF-8.
    """
    number = 0
    with opened(locate(file), file) as stream:
        for line in stream:
            if not line.strip():
                continue
            number += 1
            try:
                told, decodable = line.decode(), True
            except UnicodeDecodeError:
                told, decodable = line.decode(errors="replace"), False
            try:
                fields = json.loads(told.removeprefix("\ufeff"))
            except (ValueError, RecursionError):
                fields = None
            if isinstance(fields, Mapping):
                yield RawRow(Row(fields, file, number), decodable)
            else:
                yield RawRow(None, decodable, f"{file}, row {number}: no JSON object, but {shown(told.strip())}")


class PassageFile(Sequence[Passage]):
    """Passages of a finished corpus, read from a mapped file one at a time: a corpus need not fit into memory.

    Args:
        folder: what ``write_passages`` filled.

    Attributes:
        report: what became of the rows.
        fault: what was wrong with the first malformed row; "" where there is none.
        digest: hexadecimal SHA-256 of all passages in their order.
    """

    def __init__(self, folder: Path) -> None:
        self._offsets = np.load(folder / _OFFSETS, mmap_mode="r")
        stored = json.loads((folder / _REPORT).read_text())
        self.report = CorpusReport(**stored["report"])
        self.digest: str = stored["digest"]
        self.fault: str = stored.get("fault", "")
        self._bytes: mmap.mmap | bytes = b""
        if len(self):
            with (folder / _PASSAGES).open("rb") as stream:
                self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Passage: ...

    @overload
    def __getitem__(self, index: slice) -> list[Passage]: ...

    def __getitem__(self, index: int | slice) -> Passage | list[Passage]:
        if isinstance(index, slice):
            return [self._read(each) for each in range(*index.indices(len(self)))]
        index = int(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"passage {index} of {len(self)}")
        return self._read(index % len(self))

    def _read(self, index: int) -> Passage:
        start, end = int(self._offsets[index]), int(self._offsets[index + 1])
        return Passage(*json.loads(self._bytes[start:end]))

    def positions(self, ids: Collection[str]) -> dict[str, int]:
        """Where the passages of those ids stand; ids that the corpus lacks are left out. Reads the corpus once."""
        wanted = set(ids)
        return {passage.id: place for place, passage in enumerate(self) if passage.id in wanted} if wanted else {}


class PassageTexts(Sequence[str]):
    """What retrievers compare of a corpus: title and text of each passage, on lines of their own; made when asked for.

    Args:
        passages: the corpus.

    Attributes:
        digest: hexadecimal SHA-256 of what it was made from.
    """

    def __init__(self, passages: PassageFile) -> None:
        self._passages = passages
        self.digest = passages.digest

    def __len__(self) -> int:
        return len(self._passages)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [passage_text(passage) for passage in self._passages[index]]
        return passage_text(self._passages[index])


def passage_text(passage: Passage) -> str:
    """Title, if there is one, and text, on lines of their own."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


class Corpus:
    """A corpus to retrieve from. Nothing is read before it is asked for.

    Args:
        name: what it is called in messages.
        files: JSON-lines file by name, see ``sources.locate``, or CSV or Parquet; this or ``hub``.
        hub: ``{id, config, split, revision}`` of a hub data set, read row by row.
        reader: row format, a key of ``ROWS``.
        chunk: cuts every row's text; ``None`` keeps rows whole.
        longest: characters of a whole row above which it is cut all the same, at white space.
        limit: only that many rows are read, for trials; ``None`` for all.
    """

    def __init__(
        self,
        *,
        name: str,
        files: Mapping[str, str] | None = None,
        hub: Mapping[str, Any] | None = None,
        reader: str = "titled",
        chunk: Chunker | None = None,
        longest: int = 20_000,
        limit: int | None = None,
    ) -> None:
        if bool(files) == bool(hub):
            raise ValueError(f"corpus {name}: give data.corpus.files or data.corpus.hub, exactly one of the two")
        if hub and set(hub) != {"id", "config", "split", "revision"}:
            raise ValueError(f"corpus {name}: hub must give exactly id, config, split, revision, got {sorted(hub)}")
        if reader not in ROWS:
            raise ValueError(f"corpus {name}: reader must be one of {', '.join(ROWS)}, got {reader!r}")
        if longest < 100 or (limit is not None and limit < 1):
            raise ValueError(f"corpus {name}: longest wants 100 or more and limit 1 or more, got {longest}, {limit}")
        self.name = name
        self.files = dict(files or {})
        self.hub = dict(hub or {})
        self.reader = reader
        self.chunk = chunk
        self.longest = int(longest)
        self.limit = limit

    def key(self) -> dict[str, Any]:
        """Everything that the passages depend on."""
        hub = self.hub and {**self.hub, "revision": known_commit(self.hub["id"], self.hub["revision"])}
        source = [digest(locate(file)) for file in self.files.values()] if self.files else hub
        return {
            "source": source,
            "reader": self.reader,
            "chunk": self.chunk.key() if self.chunk else None,
            "longest": self.longest,
            "limit": self.limit,
        }

    def passages(self, stages: Stages, progress: Progress | None = None) -> PassageFile:
        """The cleaned corpus, built as a stage. Rows that were left out as malformed are warned of.

        Raises:
            ValueError: no row gave a passage.
        """

        def build(into: Path) -> None:
            report = write_passages(
                self._rows(), into, reader=self.reader, chunk=self.chunk, longest=self.longest, progress=progress
            )
            if not report.passages:
                fault = PassageFile(into).fault
                raise ValueError(
                    f"corpus {self.name} has no passage: of {report.rows} rows {report.malformed} are malformed and "
                    f"{report.empty} have no text{f'; {fault}' if fault else ''}"
                )

        made = PassageFile(stages.get("corpus", self.key(), MadeBy(build, (self.chunk,))))
        if made.report.malformed:
            warnings.warn(
                f"corpus {self.name}: {made.report.malformed} of {made.report.rows} rows are malformed and left out; "
                f"the first: {made.fault}",
                stacklevel=2,
            )
        return made

    def _rows(self) -> Iterator[RawRow]:
        return islice(self._source(), self.limit)

    def _source(self) -> Iterator[RawRow]:
        for file in self.files.values():
            if file.removesuffix(".gz").endswith(_WHOLE):
                yield from map(RawRow, read_rows(file))
            else:
                yield from read_lines(file)
        if self.hub:
            where = f"{self.hub['id']} ({self.hub['split']})"
            streamed = stream_hub(self.hub["id"], **{k: v for k, v in self.hub.items() if k != "id"})
            for number, fields in enumerate(streamed, start=1):
                yield RawRow(Row(fields, where, number))


def write_passages(
    rows: Iterable[RawRow],
    into: Path,
    *,
    reader: str = "titled",
    chunk: Chunker | None = None,
    longest: int = 20_000,
    progress: Progress | None = None,
) -> CorpusReport:
    """Clean and cut rows and write what ``PassageFile`` reads.

    Args:
        rows: see ``read_lines``.
        into: an existing folder.
        reader: a key of ``ROWS``.
        chunk: cuts every text; see ``Corpus``.
        longest: see ``Corpus``.
        progress: called with (rows, rows) now and then: how many there will be is not known.
    """
    count = dict.fromkeys(CorpusReport._fields, 0)
    seen: set[bytes] = set()
    taken: dict[str, int] = {}
    offsets = array("q", [0])
    hasher = hashlib.sha256()
    whole = chunk or _Pieces(longest)
    fault = ""
    with (into / _PASSAGES).open("wb") as out:
        for index, row in enumerate(rows):
            count["rows"] += 1
            count["undecodable"] += not row.decodable
            if progress and count["rows"] % _REPORT_EVERY == 0:
                progress(count["rows"], count["rows"])
            try:
                if row.fields is None:
                    raise BadRowError(row.fault)
                passage = ROWS[reader](row.fields, index)
            except BadRowError as error:
                count["malformed"] += 1
                fault = fault or str(error)
                continue
            # A lone surrogate is JSON but no text: it cannot be written.
            passage = Passage(*(part.encode(errors="replace").decode() for part in passage))
            if not passage.text.strip():
                count["empty"] += 1
                continue
            same = " ".join(f"{passage.title} \0 {passage.text}".split())
            mark = hashlib.blake2b(same.encode(), digest_size=12).digest()
            if mark in seen:
                count["duplicates"] += 1
                continue
            seen.add(mark)
            count["kept"] += 1
            count["giant"] += len(passage.text) > longest
            pieces = whole.cut(passage.text)
            for number, piece in enumerate(pieces):
                name = passage.id if len(pieces) == 1 else f"{passage.id}#{number}"
                unique, uses = name, taken.get(name, 0)
                count["clashing"] += uses > 0
                while unique in taken:
                    uses += 1
                    unique = f"{name}~{uses}"
                taken[name] = taken[unique] = max(uses, 1)
                line = json.dumps([unique, passage.title, passage.text[piece.start : piece.end]], ensure_ascii=False)
                written = line.encode() + b"\n"
                out.write(written)
                hasher.update(written)
                offsets.append(offsets[-1] + len(written))
                count["passages"] += 1
    np.save(into / _OFFSETS, np.array(offsets, dtype=np.int64))
    report = CorpusReport(**count)
    (into / _REPORT).write_text(json.dumps({"report": report._asdict(), "digest": hasher.hexdigest(), "fault": fault}))
    if progress:
        progress(report.rows, report.rows)
    return report


class _Pieces:
    """Leaves texts whole up to a number of characters; cuts longer ones at the last white space before it."""

    def __init__(self, longest: int) -> None:
        self._longest = longest

    def cut(self, text: str) -> list[Span]:
        pieces = []
        start = 0
        while start < len(text):
            end = min(start + self._longest, len(text))
            if end < len(text):
                space = max(text.rfind(" ", start, end), text.rfind("\n", start, end))
                end = space + 1 if space > start else end
            if text[start:end].strip():
                pieces.append(Span(start, end))
            start = end
        return pieces
