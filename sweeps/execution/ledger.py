"""The ledger: what ``outputs/`` says about cells. Completion truth is the run folder's own record, nothing else."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.execution.lease import alive, owner
from sweeps.execution.stages import MANIFEST, StageStore, sha256
from sweeps.planning.memory import peak_mebibytes, sentences, training_rows
from sweeps.planning.plan import Cell
from sweeps.signatures.signature import hash_of, science

if TYPE_CHECKING:
    import pandas as pd

STATES = ("done", "running", "cached", "failed", "missing")


@dataclass(frozen=True)
class Cost:
    """Predicted cost of one cell, or of one training that cells share.

    Attributes:
        seconds: all that it runs itself, its own training included where that is not there yet, shared stages not.
        low, high: range in seconds.
        mebibytes: peak resident memory; ``mebibytes_low``, ``mebibytes_high``: its range.
        basis: "measured" (finished cells like it), "similar" (finished cells of its kind and about its size),
            "corrected" (the config's figures, times what other finished cells of its scale and about as much work took
            of theirs) or "prior" (the config's figures).
    """

    seconds: float
    low: float
    high: float
    mebibytes: float
    mebibytes_low: float
    mebibytes_high: float
    basis: str


COMPARABLE = 4.0
"""A finished cell says something of work from a quarter of its own to four times it. Smaller ones would: in a cell of
seconds most of the time is overhead, and its config's figures, which are those of whole tables, are far off."""


@dataclass(frozen=True)
class _Finished:
    """What a finished run took: seconds beside its training, seconds of its training (None: it has none), memory.

    ``expected``: the seconds that its config's figures gave for both; ``expected_rest``: for what is no training.
    ``examples``: how many it was tested on.
    """

    rest: float
    training: float | None
    size: float
    mebibytes: float
    expected: float
    expected_rest: float
    examples: float
    scale: str | None


def _comparable(one: float, other: float) -> bool:
    """Whether two amounts of work are about the same."""
    return max(one, other) <= COMPARABLE * min(one, other)


class Ledger:
    """Reads run folders below ``outputs``."""

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs
        self.stages = StageStore(outputs / "stages")
        self._records: dict[Path, tuple[int, dict[str, Any]]] = {}
        self._known: dict[str, list[_Finished]] = {}
        self._known_names: set[str] = set()
        self._kinds_of: dict[int, tuple[Mapping[str, Any], str, str]] = {}

    def folder(self, cell: Cell | str) -> Path:
        """Run folder of a cell, existing or not."""
        return self.outputs / "runs" / (cell if isinstance(cell, str) else cell.signature)

    def state(self, cell: Cell) -> str:
        """One of ``STATES``; "cached" means trained already, evaluation missing."""
        folder = self.folder(cell)
        if (folder / "done.json").is_file():
            return "done"
        if alive(folder / "lease"):
            return "running"
        if (folder / "failed.json").is_file():
            return "failed"
        return "cached" if self.stages.has("training", cell.training) else "missing"

    def lost(self, cell: Cell) -> dict[str, Any]:
        """Owner of the lease that a cell's dead process left; empty where there is none, or where it works."""
        lease = self.folder(cell) / "lease"
        return {} if (self.folder(cell) / "done.json").is_file() or alive(lease) else owner(lease)

    def failure(self, cell: Cell) -> dict[str, Any]:
        """Class, reason and traceback of a failed cell; empty where there is none."""
        return read_json(self.folder(cell) / "failed.json")

    def examples(self, cell: Cell | str) -> pd.DataFrame:
        """Per-example results of a finished cell."""
        import pandas as pd

        return pd.read_parquet(self.folder(cell) / "examples.parquet")

    def drifted(self, cells: Iterable[Cell]) -> dict[str, Cell]:
        """Finished runs of the same science under other code, for cells that have none: ``{signature: run}``."""
        finished: dict[str, str] = {}
        for receipt in sorted(self.outputs.glob("runs/*/receipt.json"), key=lambda path: path.stat().st_mtime):
            if (receipt.parent / "done.json").is_file():
                finished[read_json(receipt).get("science", "")] = receipt.parent.name
        return {
            cell.signature: replace(cell, signature=finished[cell.science])
            for cell in cells
            if self.state(cell) != "done" and cell.science in finished
        }

    def record(self, path: Path) -> dict[str, Any]:
        """A JSON record, read again only when the file has changed; empty where there is none."""
        try:
            modified = path.stat().st_mtime_ns
        except OSError:
            return {}
        known = self._records.get(path)
        if known is None or known[0] != modified:
            known = self._records[path] = (modified, read_json(path))
        return known[1]

    def done(self, cell: Cell | str) -> dict[str, Any]:
        """The record of a finished cell; empty where it is not finished."""
        return self.record(self.folder(cell) / "done.json")

    def cost(self, cell: Cell) -> Cost:
        """Predicted cost of a cell, from finished cells where there are any, else from the figures in its config."""
        return self._cost(cell.config, rest=True, training=self.to_train(cell))

    def rest_cost(self, cell: Cell) -> Cost:
        """The part of a cell's cost that no other cell shares: everything but its training."""
        return self._cost(cell.config, rest=True, training=False)

    def to_train(self, cell: Cell) -> bool:
        """Whether a cell has weights to train that are not there yet."""
        return trains(cell.config) and not self.stages.has("training", cell.training)

    def training_cost(self, config: Mapping[str, Any]) -> Cost:
        """Predicted cost of training the weights of a config, such as a base model's, and nothing else."""
        return self._cost(config, rest=False, training=True)

    def _cost(self, config: Mapping[str, Any], *, rest: bool, training: bool) -> Cost:
        known = self._finished()
        prior = prior_cost(config, rest=rest, training=training)
        exact, kind = self._kinds(config)
        examples = test_examples(config)
        for basis, key, slack in (("measured", exact, 0.15), ("similar", kind, 0.4)):
            like = [one for one in known.get(key, []) if rest or one.training is not None]
            if basis == "similar":
                size, other = training_size(config), prior_cost(config, training=False).seconds
                like = [
                    one
                    for one in like
                    if (not training or one.training is None or _comparable(one.size, size))
                    and (not rest or (_comparable(one.expected_rest, other) and _comparable(one.examples, examples)))
                ]
            if not like:
                continue
            seconds = [
                (one.rest if rest else 0.0)
                + ((one.training or 0.0) * training_size(config) / one.size if training else 0.0)
                for one in like
            ]
            memory = [one.mebibytes for one in like]
            middle = statistics.median(seconds)
            return Cost(
                middle,
                min(seconds) * (1 - slack),
                max(seconds) * (1 + slack),
                statistics.median(memory),
                min(memory) * 0.9,
                max(memory) * 1.1,
                basis,
            )
        ratios = [
            (one.rest + (one.training or 0.0)) / one.expected
            for one in known.get("", [])
            if one.scale == config.get("scale")
            and one.expected
            and _comparable(one.expected, prior.seconds)
            and (not rest or _comparable(one.examples, examples))
        ]
        if not ratios:
            return prior
        ratio = statistics.median(ratios)
        return replace(
            prior, seconds=prior.seconds * ratio, low=prior.low * ratio, high=prior.high * ratio, basis="corrected"
        )

    def _finished(self) -> dict[str, list[_Finished]]:
        """Finished runs below ``outputs`` by their exact kind, by their kind, and all of them ("").

        Asked for every cell of a sweep at every look at it: only runs that are new since then are read.
        """
        folder = self.outputs / "runs"
        try:
            names = set(os.listdir(folder))
        except FileNotFoundError:
            names = set()
        if self._known_names - names:
            self._known_names, self._known = set(), {}
        for name in sorted(names - self._known_names):
            path = folder / name / "done.json"
            if not (done := self.record(path)):
                continue
            self._known_names.add(name)
            cost = done.get("cost") or {}
            if "size" in cost:
                entry = self._read_finished(path, done, cost)
                for kind in (cost["exact"], done["cost_kind"], ""):
                    self._known.setdefault(kind, []).append(entry)
        return self._known

    def _kinds(self, config: Mapping[str, Any]) -> tuple[str, str]:
        """The exact kind and the kind of a config, hashed once as long as it is the same object."""
        known = self._kinds_of.get(id(config))
        if known is None or known[0] is not config:
            known = self._kinds_of[id(config)] = (config, exact_kind(config), cost_kind(config))
        return known[1], known[2]

    def _read_finished(self, path: Path, done: Mapping[str, Any], cost: Mapping[str, Any]) -> _Finished:
        """What a run took without the trainings that happened to be done inside it: those are stages, and shared."""
        needs = self.record(path.with_name("receipt.json")).get("needs") or [done.get("training")]
        inside, own = 0.0, None
        for key in needs:
            manifest = self.record(self.stages.path("training", str(key)) / MANIFEST)
            seconds = manifest.get("seconds")
            if seconds is None:
                continue
            if done["finished"] - done["seconds"] <= manifest.get("built", 0.0) <= done["finished"]:
                inside += seconds
            if key == done.get("training"):
                own = float(seconds)
        rest = max(0.0, done["seconds"] - inside)
        expected = cost["prior_rest"] + (cost["prior_training"] if own is not None else 0.0)
        tested, scale = cost.get("examples", 0.0), cost.get("scale")
        return _Finished(rest, own, cost["size"], cost["mebibytes"], expected, cost["prior_rest"], tested, scale)


def prior_cost(config: Mapping[str, Any], *, rest: bool = True, training: bool = True) -> Cost:
    """Cost from the figures that the config gives: the method's ``cost`` section, or the model's where it has none.

    Keys, all optional: ``start_seconds``, ``train_seconds_per_1000`` (rows), ``train_seconds_per_step``,
    ``predict_seconds``, ``predict_seconds_per_1000`` (examples), ``mebibytes``. Rows are those of ``data.cost.rows``,
    cut by ``data.train_limit``; examples are ``test_examples``. Memory follows
    from the shapes of the method's network (``shapes.peak_mebibytes``); ``mebibytes`` counts where it states none.
    """
    figures, data, seconds = _figures(config), config.get("data") or {}, 0.0
    if rest:
        seconds += figures.get("start_seconds", 5.0) + figures.get("predict_seconds", 0.0)
        seconds += figures.get("predict_seconds_per_1000", 0.0) * test_examples(config) / 1000
    if training:
        seconds += figures.get("train_seconds_per_1000", 0.0) * training_size(config) / 1000
        batch = data.get("batch_size") or 1
        seconds += figures.get("train_seconds_per_step", 0.0) * training_size(config) / batch
    memory = peak_mebibytes(config) or figures.get("mebibytes", 1000.0)
    return Cost(seconds, seconds / 2, seconds * 2, memory, memory / 2, memory * 2, "prior")


def test_examples(config: Mapping[str, Any]) -> float:
    """Examples that a cell is tested on: ``evaluation.limit`` or ``.questions``, else ``data.cost.test_rows``."""
    evaluation, figures = config.get("evaluation") or {}, (config.get("data") or {}).get("cost") or {}
    asked = [evaluation.get("limit"), evaluation.get("questions"), figures.get("test_rows")]
    return next((float(number) for number in asked if isinstance(number, (int, float))), 1000.0)


def _figures(config: Mapping[str, Any]) -> dict[str, float]:
    sections = [config.get(name) or {} for name in ("method", "model")]
    return next((dict(one["cost"]) for one in sections if one.get("cost")), {})


def trains(config: Mapping[str, Any]) -> bool:
    """Whether a cell trains weights, which are then a stage: not with ``tune: false``, and not where the method's
    figures name no training time.
    """
    figures = _figures(config)
    tuned = (config.get("method") or {}).get("tune", True)
    return bool(tuned) and (not figures or any(name.startswith("train_seconds") for name in figures))


def cost_kind(config: Mapping[str, Any]) -> str:
    """Cells of one kind are taken to cost about the same per training row: the names of all that they are made of.

    Every section counts by its ``label`` or ``name``, else by its class, so that no method needs an entry here.
    """
    names = []
    for section in sorted(science(config)):
        value = config[section]
        if isinstance(value, Mapping) and section not in ("base", "trainer"):
            name = value.get("label") or value.get("name") or value.get("_target_", "")
            names.append(f"{section}={name}")
            # Small settings that change the work, such as tune, k or context_length; rates and seeds are no work.
            names += [
                f"{section}.{key}={item}"
                for key, item in sorted(value.items())
                if isinstance(item, (bool, int, str)) and key not in _NO_WORK and not key.startswith("_")
            ]
    return f"kind-{hash_of(names)}"


_NO_WORK = frozenset({"label", "name", "seed", "train_limit", "weights", "revision"})


def exact_kind(config: Mapping[str, Any]) -> str:
    """Cells that differ in their seed alone cost the same."""
    return hash_of(_without_seeds(science(config)))


def _without_seeds(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_seeds(item) for key, item in value.items() if key != "seed"}
    return [_without_seeds(item) for item in value] if isinstance(value, list) else value


def training_size(config: Mapping[str, Any]) -> float:
    """Training sentences that are read, with repetition: what the time of a training is taken to be proportional to.

    A prompt that shows k neighbours counts as 1 + k sentences.
    """
    data, trainer = config.get("data") or {}, config.get("trainer") or {}
    steps = trainer.get("max_steps")
    if isinstance(steps, (int, float)):
        return float(steps) * float(data.get("batch_size") or 1)
    epochs = trainer.get("max_epochs")
    return training_rows(config) * sentences(config) * float(epochs if isinstance(epochs, (int, float)) else 1)


def cost_record(
    config: Mapping[str, Any], seconds: float, predict_seconds: float, mebibytes: float
) -> dict[str, float | str | None]:
    """What a finished cell leaves for later predictions, beside ``seconds`` in its record."""
    return {
        "exact": exact_kind(config),
        "scale": config.get("scale"),
        "size": training_size(config),
        "examples": test_examples(config),
        "mebibytes": mebibytes,
        "predict_seconds": round(predict_seconds, 3),
        "prior_rest": prior_cost(config, training=False).seconds,
        "prior_training": prior_cost(config, rest=False).seconds,
    }


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's mapping; empty where it is missing or torn."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}


def digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the named files of a run folder."""
    return {name: sha256(folder / name) for name in names if (folder / name).is_file()}
