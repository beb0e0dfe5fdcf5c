"""Files of rows: JSON lines, JSON, CSV and Parquet, each plain or (but Parquet) .gz.

CSV and Parquet are read by the ``datasets`` library, JSON is not. Its reader guesses types over whole columns and so
changes texts (5.2.0): where a column holds text and lists, "5.0" comes back as a number, "null" as nothing and
'"quoted"' without its marks; dates come back as timestamps. It also says little of what is wrong, and nothing of where.
"""

from __future__ import annotations

import gzip
import json
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from data.files.rows import BadRowError, Row, placed, shown

_TABLES = {".csv": "CSV", ".parquet": "Parquet"}
_WANTED = "one JSON object per line is wanted"


def rows_of(path: Path, name: str) -> list[Row]:
    """Rows of a file, by the end of its name: .csv, .parquet, else JSON lines, or one JSON list of objects.

    Columns of CSV are text, and ``None`` where empty.

    Args:
        path: the file.
        name: what errors call it.

    Raises:
        BadRowError: a file that is empty, of another format, or not UTF-8; with the line where there are lines.
    """
    if not path.stat().st_size:
        raise BadRowError(f"{name} is empty: rows are wanted, in JSON lines one JSON object per line")
    suffix = Path(path.name.removesuffix(".gz")).suffix
    rows: list[Any] = _table(path, name, suffix) if suffix in _TABLES else _json(path, name)
    if not rows:
        raise BadRowError(f"{name} has no row: one at least is wanted")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise BadRowError(f"{name}, row {number}: {shown(row)} is no JSON object: {_WANTED}")
    return placed(rows, name)


def _table(path: Path, name: str, suffix: str) -> list[dict[str, Any]]:
    import datasets
    import pandas

    # The Arrow files go to a private folder that is removed before this returns: nothing is left on disk, and processes
    # that load at the same time cannot disturb each other.
    with _quiet(), tempfile.TemporaryDirectory(prefix="papergrid-rows-") as cache:
        try:
            if suffix == ".csv":
                # The names first: with all columns as text, pandas guesses nothing.
                names = list(pandas.read_csv(path, nrows=0).columns)
                kinds = datasets.Features(dict.fromkeys(names, datasets.Value("string")))
                read = datasets.Dataset.from_csv(
                    str(path), features=kinds, keep_default_na=False, cache_dir=cache, keep_in_memory=True
                )
                return [{key: value or None for key, value in row.items()} for row in read.to_list()]
            rows: list[dict[str, Any]] = datasets.Dataset.from_parquet(
                str(path), cache_dir=cache, keep_in_memory=True
            ).to_list()
            return rows
        except Exception as error:
            # Errors of pandas, Arrow and the library itself come through; they have no class of their own.
            if isinstance(error, OSError) and error.errno:  # a disk that is full, a file that may not be read
                raise
            cause = " ".join(str(error.__cause__ or error).split())[:200] or "no row can be read"
            if "corresponds to no data" in cause:
                return []
            told = "save it as CSV in UTF-8" if suffix == ".csv" else "write it anew"
            raise BadRowError(f"{name} cannot be read as {_TABLES[suffix]} ({cause}): {told}") from None


def _json(path: Path, name: str) -> list[Any]:
    """Values of JSON lines, or of one JSON list; one value that spans lines is a list of one."""
    values: list[Any] = []
    with opened(path, name) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            if not values and line.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
                return _whole(line + stream.read(), name)
            try:
                values.append(_value(line))
            except BadRowError as error:
                whole = None if values else _spread(line + stream.read())
                if whole is None:
                    raise BadRowError(f"{name}, line {number}: {error}: {_WANTED}") from None
                return [whole]
    return values


@contextmanager
def opened(path: Path, name: str) -> Iterator[BufferedIOBase]:
    """A file of bytes, plain or .gz. ``BadRowError`` where it is read and is no whole gzip file."""
    try:
        with path.open("rb") as plain:
            yield gzip.GzipFile(fileobj=plain) if path.suffix == ".gz" else plain
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadRowError(
            f"{name} is no whole gzip file ({error}): compress it again, or take .gz off its name"
        ) from None


def _whole(raw: bytes, name: str) -> list[Any]:
    try:
        found = _value(raw)
    except BadRowError as error:
        raise BadRowError(f"{name} is no JSON list, as its first character says: {error}") from None
    return list(found)


def _spread(raw: bytes) -> Any:
    """One value over several lines; ``None`` where that is not what it is."""
    try:
        return _value(raw)
    except BadRowError:
        return None


def _value(raw: bytes) -> Any:
    """A JSON value. ``BadRowError`` of a few words."""
    try:
        value = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_object)
        if b"\\u" in raw:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise BadRowError(f"byte {raw[error.start]:#04x} is not UTF-8 (save the file as UTF-8)") from None
    except UnicodeEncodeError:
        raise BadRowError("it holds half a character (a lone surrogate)") from None
    except RecursionError:
        raise BadRowError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise BadRowError(f"no JSON ({error.msg} at character {error.pos + 1})") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise BadRowError(f"the name {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return made


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ``datasets`` from drawing a bar for half a second of work, and from logging what is raised anyway."""
    import datasets

    drawn, verbosity = datasets.is_progress_bar_enabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bar()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if drawn:
            datasets.enable_progress_bar()
