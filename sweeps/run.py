"""The composition root: turns one resolved cell config into a run folder.

    python -m sweeps.run method=re retriever=bm25 prompt=labelled seed=3      one cell, by hand
    python -m sweeps.run -m retriever=bm25,sbert seed=range(5)                several, through the same planner

Planning is torch-free; everything heavy is imported inside ``execute``, which runs in a process of its own when a sweep
is driven by an engine.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_modules.training.stopping import Stopped
from sweeps.execution import orders
from sweeps.execution import receipt as receipts
from sweeps.execution.failures import Preempted, classify, full
from sweeps.execution.hardware import accelerators, limit_threads, peak_mebibytes
from sweeps.execution.lease import Lease, LeaseHeld
from sweeps.execution.ledger import cost_kind, cost_record, digests, read_json
from sweeps.execution.stages import StageStore, write_atomically
from sweeps.planning.plan import Cell, bases
from sweeps.signatures.run_names import as_planned, training_name, uncounted
from sweeps.signatures.signature import PRESENTATION

if TYPE_CHECKING:
    from sweeps.execution.progress import PhaseFile

BUSY = 75
"""Exit status of a cell that another process is running (EX_TEMPFAIL)."""

RUN_FILES = ("config.yaml", "receipt.json", "metrics.jsonl", "examples.parquet", "summary.json", "dirty.patch")
"""Files of a finished run whose digests ``done.json`` records."""


@dataclass(frozen=True)
class Job:
    """What an engine hands to a worker: one cell, as plain JSON values.

    Attributes:
        sweep, rows, paper: names for the dashboard; never part of a signature.
        outputs: absolute path of the outputs folder.
        needs: signatures of the trained weights that it needs or makes.
    """

    signature: str
    training: str
    science: str
    config: Mapping[str, Any]
    blanked: Mapping[str, Any]
    overrides: tuple[str, ...]
    outputs: str
    sweep: str = ""
    paper: str = ""
    rows: tuple[str, ...] = field(default_factory=tuple)
    needs: tuple[str, ...] = field(default_factory=tuple)

    @classmethod
    def of(cls, cell: Cell, outputs: Path, *, sweep: str = "", paper: str = "", rows: tuple[str, ...] = ()) -> Job:
        """The job that runs ``cell``."""
        return cls(
            cell.signature,
            cell.training,
            cell.science,
            cell.config,
            cell.blanked,
            cell.overrides,
            str(outputs.resolve()),
            sweep,
            paper,
            rows,
            cell.needs,
        )

    @property
    def folder(self) -> Path:
        """Run folder."""
        return Path(self.outputs) / "runs" / self.signature


def fail(folder: Path, kind: str, reason: str, trace: str = "") -> None:
    """Records a failed attempt. The reason is one line."""
    write_atomically(
        folder / "failed.json",
        json.dumps(
            {"class": kind, "reason": reason.strip().split("\n")[0][:500], "traceback": trace, "time": time.time()},
            indent=1,
        ),
    )


def execute(job: Job) -> int:
    """Runs one cell to completion in this process. Orders to go (``sweeps.execution.orders``) end it with a record.

    Returns:
        0 when the run is finished (now or before), ``BUSY`` when another process runs it, 1 when it failed; then
        ``failed.json`` says why.
    """
    folder = job.folder
    orders.forget()
    with orders.listening(lambda order: fail(folder, *_verdict(Preempted(order.reason)))):
        try:
            with Lease(folder / "lease"):
                if (folder / "done.json").is_file():
                    return 0
                try:
                    _run(job)
                except BaseException as error:
                    return _ended(folder, error)
                return 0
        except LeaseHeld:
            return BUSY
        except Preempted as error:  # before the cell began, or as it gave its lease back
            return _ended(folder, error)


def _ended(folder: Path, error: BaseException) -> int:
    """Records what a cell ended with; returns its exit status."""
    orders.obeyed()
    if (folder / "done.json").is_file():
        return 0
    stopped = isinstance(error, (Preempted, Stopped))
    try:
        fail(folder, *_verdict(error), "" if stopped else traceback.format_exc())
    except OSError:
        if orders.given() is None:  # else whoever gave the order learns of it from the status
            raise
    if isinstance(error, (KeyboardInterrupt, SystemExit)) and orders.given() is None:
        raise error
    return 1


def _verdict(error: BaseException) -> tuple[str, str]:
    """Class and reason of what a cell ended with."""
    order = orders.given()
    if order is None:
        kind = classify(error)
        cause = (full(error) or error) if kind == "disk" else error
        return kind, f"{type(cause).__name__}: {cause}"
    # Libraries make other errors of an order to go, in C code or as they clean up: it is the order still.
    if isinstance(error, Stopped):
        return "preempted", f"{order.reason}: the training {error}"
    if full(error):
        return "preempted", f"{order.reason}: its checkpoint could not be written, the disk is full"
    return "preempted", order.reason


def _run(job: Job) -> None:
    from data.files.hub_commits import read_digests
    from data.scoring.registry import completed, lists_of, summarise
    from sweeps.execution.progress import Heartbeat, PhaseFile
    from sweeps.logging.run_log import RunLog

    config, folder = job.config, job.folder
    begun = time.monotonic()
    (folder / "failed.json").unlink(missing_ok=True)
    before = set(sys.modules)
    inputs, code = as_planned(job.config, job.blanked, job.signature)
    receipt = receipts.new(asdict(job), inputs, code, read_json(folder / "receipt.json"))
    attempt = len(receipt["attempts"])
    write_atomically(folder / "config.yaml", to_yaml(config))
    if receipt["patch_sha256"]:
        write_atomically(folder / "dirty.patch", receipts.patch(code))
    write_atomically(folder / "receipt.json", json.dumps(receipt, indent=1))

    logger = dict(config["logger"])
    log = RunLog(
        folder,
        wandb=logger["wandb"],
        project=logger["project"],
        entity=logger.get("entity"),
        run_id=f"{job.signature}-{attempt}",
        name=f"{job.rows[0] if job.rows else 'cell'} seed {config['seed']}",
        group=job.sweep or "by hand",
        job_type="evaluation" if config["method"].get("tune") is False else "training",
        tags=[tag for tag in (job.paper, job.sweep, *job.rows) if tag],
        config=config,
    )
    with Heartbeat(folder / "heartbeat"), log:
        progress = PhaseFile(folder / "progress.json")
        stages = StageStore(Path(job.outputs) / "stages", say=progress.say)
        limit_threads(int(config["threads"]))
        data, method = prepare(job.blanked, config, stages, progress, judged=config["evaluation"]["split"])
        lists_of(data)  # scores that are not there are missed before a training, not after it
        if method.trains:
            weights = _trained(job.blanked, job.training, stages, progress, log, built=(data, method), actual=config)
            _replay(weights / "metrics.jsonl", log)
            method.load_weights(weights)
        train_seconds = time.monotonic() - begun
        predictions = method.predict(data, progress=progress.phase("predict"), **_evaluation(config))
        frame = completed(data.frame(predictions), data, config["evaluation"]["split"])
        _write_parquet(frame, folder / "examples.parquet")
        summary = summarise(frame, data)
        write_atomically(folder / "summary.json", json.dumps(summary["scores"], indent=1))
        log.summary(summary["scores"])
        for name, table in summary["tables"].items():
            log.table(name, table)
        if summary.get("labels"):
            log.confusion(frame["gold"].tolist(), frame["prediction"].tolist(), summary["labels"])
    seconds = time.monotonic() - begun
    receipt["attempts"][-1]["ended"] = time.time()
    receipt["hardware"]["accelerators"] = accelerators()
    receipt["read"] = read_digests()
    receipt["uncounted"] = uncounted(before, code)
    write_atomically(folder / "receipt.json", json.dumps(receipt, indent=1))
    done = {
        "signature": job.signature,
        "training": job.training,
        "seconds": round(seconds, 3),
        "finished": time.time(),
        "files": digests(folder, RUN_FILES),
        "stages": stages.used,
        "cost_kind": cost_kind(config),
        "cost": cost_record(config, seconds, seconds - train_seconds, peak_mebibytes()),
    }
    write_atomically(folder / "done.json", json.dumps(done, indent=1))
    (folder / "progress.json").unlink(missing_ok=True)


def build(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """Data object and method of a config. Constructors are the schema: they check and raise ValueError."""
    from hydra.utils import instantiate

    parts = strip(config, PRESENTATION)
    return instantiate(parts["data"]), instantiate(parts["method"])


def strip(value: Any, keys: frozenset[str]) -> Any:
    """A config without the given keys, at any depth."""
    if isinstance(value, Mapping):
        return {key: strip(item, keys) for key, item in value.items() if key not in keys}
    return [strip(item, keys) for item in value] if isinstance(value, (list, tuple)) else value


def _evaluation(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of ``evaluation`` that predict takes; the rest reaches the method through its constructor."""
    evaluation = config["evaluation"]
    return {"split": evaluation["split"], "limit": evaluation["limit"]}


def prepare(
    config: Mapping[str, Any],
    actual: Mapping[str, Any],
    stages: StageStore,
    progress: PhaseFile,
    *,
    judged: str | None = None,
) -> tuple[Any, Any]:
    """Data object and method of a config, ready for the method's own training; arguments as of ``_trained``.

    ``judged`` is the split that will be judged, if any: it is asked for here, before anything is trained.
    """
    data, method = build(actual)
    if config.get("sources"):
        data.take_authors(_authors(config["sources"], actual["sources"], stages, progress))
    data.prepare(stages, progress.phase("prepare"))
    method.attach(data)
    _compute_as_configured(method, actual)
    if judged is not None and hasattr(data, "require"):
        data.require(judged)
    _start(method, data, config, actual, stages, progress)
    return data, method


def _authors(
    config: Mapping[str, Any], actual: Mapping[str, Any], stages: StageStore, progress: PhaseFile
) -> dict[str, Any]:
    """Source models by name, each from the stage of its own training; arguments as of ``_trained``, by name."""
    from lightning_modules.preference.source_models import Author

    found = {}
    for name, source in config.items():
        data, method = build(actual[name])
        method.attach(data)
        _compute_as_configured(method, actual[name])
        if method.trains:  # others are used as they come
            weights = _trained(source, training_name(source), stages, progress, None, actual=actual[name])
            method.load_weights(weights)
        found[name] = Author(name, method.network)
    return found


def _compute_as_configured(method: Any, actual: Mapping[str, Any]) -> None:
    """Scores, samples and answers are computed in the precision of the training."""
    if hasattr(method, "compute_in"):  # others have no network
        method.compute_in(actual["trainer"].get("precision", "32-true"))


def _start(
    method: Any,
    data: Any,
    config: Mapping[str, Any],
    actual: Mapping[str, Any],
    stages: StageStore,
    progress: PhaseFile,
) -> None:
    """Brings an attached method to where its own training begins: the weights of its base, then what it prepares."""
    if config.get("base") is not None:
        if hasattr(method, "load_origin"):  # it compares its base with what that base's own chain began with
            first = bases(config)[0]
            built = _trained(first, training_name(first), stages, progress, None, actual=bases(actual)[0])
            method.load_origin(built)
        name = training_name(config["base"])
        method.load_weights(_trained(config["base"], name, stages, progress, None, actual=actual["base"]))
    if hasattr(method, "prepare"):
        method.prepare(data, stages, progress.phase("prepare"))


def _trained(
    config: Mapping[str, Any],
    name: str,
    stages: StageStore,
    progress: PhaseFile,
    log: Any,
    built: tuple[Any, Any] | None = None,
    actual: Mapping[str, Any] | None = None,
) -> Path:
    """Folder of trained weights, trained here if nobody has: a stage that cells share.

    Args:
        config: what the stage is named by (for a cell, blanked of its evaluation); ``actual``: the same with values.
        log: the run's log, which sees the training live; None for a base model, which belongs to no single run.
    """

    def train(folder: Path) -> None:
        from lightning_modules.training.fit import fit
        from sweeps.execution.ranks import started
        from sweeps.logging.lightning_logger import RunLogger
        from sweeps.logging.run_log import RunLog

        values = actual or config
        data, method = built or prepare(config, values, stages, progress)
        own = RunLog(
            folder,
            wandb=None,
            project="",
            entity=None,
            run_id=name,
            name=name,
            group="",
            job_type="training",
            tags=(),
            config=values,
            resume_step=newest_step(folder),
        )
        with own, started(config, values, folder, stages.root.parent) as group:
            _replay(folder / "metrics.jsonl", log)
            fit(
                method,
                data,
                folder=folder,
                loggers=[RunLogger(own), *([RunLogger(log)] if log else [])],
                progress=progress.phase("train" if log else "base model"),
                group=group,
                **strip(values["trainer"], frozenset({"_target_"})),
            )
        if log is not None:
            log.replayed = True

    return stages.get("training", name, train)


def newest_step(folder: Path) -> int:
    """Step of the newest good checkpoint in a training folder; 0 where there is none."""
    from lightning_modules.training.checkpoints import newest_checkpoint

    newest = newest_checkpoint(folder)
    return newest.step if newest else 0


def _replay(metrics: Path, log: Any) -> None:
    """Gives the log of this run the training's metrics that were measured before this process came in."""
    if log is None or getattr(log, "replayed", False) or not metrics.is_file():
        return
    for line in metrics.read_text().splitlines():
        row = json.loads(line)
        log.metrics(int(row.pop("step")), {key: value for key, value in row.items() if key != "time"})


def to_yaml(config: Mapping[str, Any]) -> str:
    """The resolved config as YAML."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml's is ten times as fast and writes the same
    return str(yaml.dump(json.loads(json.dumps(config)), Dumper=dumper, sort_keys=True, allow_unicode=True))


def _write_parquet(frame: Any, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    frame.to_parquet(temporary, index=False)
    os.replace(temporary, path)


def main() -> int:
    """One cell by hand, or several with ``-m``."""
    from sweeps.cli import by_hand

    return by_hand(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
