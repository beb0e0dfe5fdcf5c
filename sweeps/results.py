"""Results as pandas frames: for notebooks and for tables that no sweep file asks for. Reads only, never trains.

    from sweeps.results import claims, examples, metrics, runs

    table = runs(sweep="infifpo-main-tiny")            # one row a run: axes, scores, cost, commit
    table.groupby("row").success.agg(["mean", "std"])
    examples(table.run.head(2))                        # one row an example
    metrics(table.run)                                 # the history of every run, long
    claims("infifpo-main-tiny")                        # estimate, interval, p and verdict of every claim

``sweep`` is the name of a folder below ``outputs/sweeps``; ``outputs`` is the folder of all results.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.errors import UserError
from sweeps.execution.ledger import read_json

if TYPE_CHECKING:
    import pandas as pd

OUTPUTS = Path("outputs")
OBJECTIVES = Path(__file__).resolve().parents[1] / "conf" / "objective"

AXES: Mapping[str, tuple[str, ...]] = {
    "seed": ("seed",),
    "scale": ("scale.name", "scale"),
    "data": ("data.name",),
    "method": ("method.label",),
    "model": ("method.model", "method.network", "model"),
    "retriever": ("data.retriever.encoder", "retriever.encoder", "data.retriever", "retriever"),
    "objective": ("objective", "method.objective"),
    "beta": ("objective.beta", "method.beta", "method.loss.beta"),
    "context_length": ("context_length", "data.test.context_length", "data.context_length"),
    "k": ("data.k", "data.test.k", "data.plan.k"),
    "mix": ("mix.name", "data.mix.name", "mix"),
    "learning_rate": ("method.optimiser.learning_rate", "method.model.optimiser.learning_rate"),
    "max_steps": ("trainer.max_steps",),
    "max_epochs": ("trainer.max_epochs",),
}
"""Columns that people compare, and where a resolved config may have them: the first place that has a value counts.

A section stands for itself by its ``name``, ``label``, ``weights`` or the class of its ``_target_``.
"""


def runs(*, sweep: str | None = None, outputs: str | Path = OUTPUTS) -> pd.DataFrame:
    """Finished runs, one row each.

    Args:
        sweep: only runs of this table, with its ``row`` names; a run that has several rows comes once for each.
            None: all finished runs, without row names.
        outputs: the folder of all results.

    Returns:
        ``run`` (signature), ``row`` (of a sweep), a column for each of ``AXES``, every score (percent, or its own
        units), ``seconds``, ``finished`` (UTC), ``commit``, ``dirty``.

    Raises:
        UserError: no such sweep or folder.
    """
    import pandas as pd

    root = _folder(Path(outputs))
    if sweep is None:
        named = [(None, path.parent.name) for path in sorted(root.glob("runs/*/done.json"))]
    else:
        receipt = _receipt(root, sweep)
        named = [(row, run) for row, seeds in receipt["rows"].items() for run in seeds.values()]
    read = {run: _run(root / "runs" / run) for _, run in named}
    rows = [({"row": row} if sweep else {}) | read[run] for row, run in named]
    first = ["run", *(["row"] if sweep else []), *AXES]
    frame = pd.DataFrame(rows)
    return frame.reindex(columns=[*first, *(name for name in frame.columns if name not in first)])


def examples(run: str | Iterable[str], *, outputs: str | Path = OUTPUTS) -> pd.DataFrame:
    """Per-example rows of one run or of several (signatures), with a column ``run`` in front.

    Raises:
        UserError: a run that is not there, or has no examples.
    """
    import pandas as pd

    root = _folder(Path(outputs))
    frames = []
    for name in _names(run):
        path = root / "runs" / name / "examples.parquet"
        if not path.is_file():
            raise UserError(f"{path} is not there: run {name!r} is unknown or did not end; runs() lists those that did")
        frame = pd.read_parquet(path)
        frame.insert(0, "run", name)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"run": []})


def metrics(run: str | Iterable[str], *, outputs: str | Path = OUTPUTS) -> pd.DataFrame:
    """What was logged while runs trained, long: ``run``, ``step``, ``metric``, ``value``; empty where nothing trained.

    Raises:
        UserError: a run that is not there.
    """
    import pandas as pd

    root = _folder(Path(outputs))
    rows: list[dict[str, Any]] = []
    for name in _names(run):
        folder = root / "runs" / name
        if not (folder / "config.yaml").is_file():
            raise UserError(f"{root}/runs has no run {name!r}: runs() lists those that ended")
        path = folder / "metrics.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # a kill may leave half a line at the end
            step = entry.get("step")
            rows += [
                {"run": name, "step": step, "metric": key, "value": float(value)}
                for key, value in entry.items()
                if key not in ("step", "time") and isinstance(value, (int, float))
            ]
    return pd.DataFrame(rows, columns=["run", "step", "metric", "value"])


def claims(sweep: str, *, outputs: str | Path = OUTPUTS) -> pd.DataFrame:
    """Claims of a table as ``papergrid table`` wrote them, one row each: ``claims.csv`` of its folder.

    Raises:
        UserError: no such sweep.
    """
    import pandas as pd

    root = _folder(Path(outputs))
    _receipt(root, sweep)
    path = root / "sweeps" / sweep / "claims.csv"
    return pd.read_csv(path) if path.is_file() and path.stat().st_size else pd.DataFrame()


def axes(config: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of ``AXES`` of a resolved config; None where it has no such thing."""
    found = {name: next(filter(_given, (_at(config, path) for path in paths)), None) for name, paths in AXES.items()}
    objective = config.get("objective")
    return found | ({"objective": _typed(objective)} if isinstance(objective, Mapping) else {})


def _typed(objective: Mapping[str, Any]) -> str:
    """The option of conf/objective that a resolved section is: of the same class and the same flags, else its class."""
    kind = str(objective["_target_"]).rpartition(".")[2]
    for name, option in _objectives().items():
        if str(option["_target_"]).rpartition(".")[2] == kind and option["summed"] == objective.get("summed"):
            return name
    return kind


@cache
def _objectives() -> dict[str, Any]:
    import yaml

    return {path.stem: yaml.safe_load(path.read_bytes()) for path in sorted(OBJECTIVES.glob("*.yaml"))}


def _at(config: Mapping[str, Any], path: str) -> Any:
    node: Any = config
    for key in path.split("."):
        if not isinstance(node, Mapping) or key not in node:
            return None
        node = node[key]
    if not isinstance(node, Mapping):
        return node if isinstance(node, (str, int, float, bool)) else None
    for key in ("name", "label", "weights"):
        if isinstance(node.get(key), str):
            return node[key]
    if "_target_" not in node:
        return None
    kind = str(node["_target_"]).rpartition(".")[2].removesuffix("Retriever").removesuffix("Encoder")
    return None if kind == "No" else kind


def _given(value: Any) -> bool:
    return value is not None


def _run(folder: Path) -> dict[str, Any]:
    import pandas as pd
    import yaml

    done, receipt = read_json(folder / "done.json"), read_json(folder / "receipt.json")
    if not done:
        raise UserError(f"{folder} has no record of a run that ended: the table is older than its runs, make it again")
    config = yaml.load((folder / "config.yaml").read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return {
        "run": folder.name,
        **axes(config),
        **read_json(folder / "summary.json"),
        "seconds": done.get("seconds"),
        "finished": pd.Timestamp(done["finished"], unit="s", tz="UTC"),
        "commit": receipt.get("commit"),
        "dirty": bool(receipt.get("patch_sha256")),
    }


def _names(run: str | Iterable[str]) -> list[str]:
    return [run] if isinstance(run, str) else list(dict.fromkeys(run))


def _folder(outputs: Path) -> Path:
    if not outputs.is_dir():
        raise UserError(f"no folder {outputs}: give outputs=..., the folder that has runs/ and sweeps/")
    return outputs


def _receipt(root: Path, sweep: str) -> dict[str, Any]:
    path = root / "sweeps" / sweep / "receipt.json"
    if not path.is_file():
        there = sorted(one.parent.name for one in root.glob("sweeps/*/receipt.json"))
        raise UserError(f"no table {sweep!r} below {root}/sweeps: it has {', '.join(there) or 'none'}")
    return read_json(path)
