"""Cells and run folders written by hand, for tests of what reads them."""

import json
import os
import socket

from sweeps.execution.lease import _started, place
from sweeps.execution.ledger import cost_kind, cost_record
from sweeps.planning.plan import Cell

CONFIG = {
    "data": {"name": "d", "batch_size": 4, "train_limit": None, "cost": {"rows": 2000}},
    "method": {
        "_target_": "m.M",
        "label": "m",
        "cost": {"start_seconds": 4, "train_seconds_per_1000": 30, "predict_seconds": 6, "mebibytes": 1024},
    },
    "trainer": {"max_epochs": 2, "accelerator": "auto"},
    "evaluation": {"limit": None},
    "engine": {"name": "local", "workers": 2},
    "threads": 1,
    "seed": 0,
}
"""4 + 30 x 2 epochs x 2,000 rows / 1,000 + 6 = 130 seconds, of which 120 are training."""


def changed(config, **changes):
    """``config`` with dotted keys, written with two underscores, set to other values."""
    config = json.loads(json.dumps(config))
    for key, value in changes.items():
        *path, last = key.split("__")
        node = config
        for part in path:
            node = node[part]
        node[last] = value
    return config


def made_cell(name, *, seed=0, row="row", config=CONFIG, needs=None, absent=()):
    """A cell whose signature is ``name``, training ``t-<name>``."""
    config = changed(config, seed=seed)
    training = f"t-{name}"
    return Cell(row, seed, (), config, config, training, name, f"s-{name}", needs or (training,), absent)


def finish(outputs, cell, *, finished, seconds, training=None, mebibytes=500.0):
    """Leaves the records of a finished run; ``training``: seconds of its weights, trained at the end of the run."""
    folder = outputs / "runs" / cell.signature
    folder.mkdir(parents=True)
    record = {
        "signature": cell.signature,
        "training": cell.training,
        "seconds": seconds,
        "finished": finished,
        "cost_kind": cost_kind(cell.config),
        "cost": cost_record(cell.config, seconds, 1.0, mebibytes),
    }
    (folder / "done.json").write_text(json.dumps(record))
    (folder / "receipt.json").write_text(json.dumps({"needs": list(cell.needs)}))
    if training is not None:
        built(outputs, cell.training, seconds=training, at=finished - 1)


def built(outputs, key, *, seconds, at):
    """Leaves a finished training stage."""
    folder = outputs / "stages" / "training" / key
    folder.mkdir(parents=True)
    (folder / "stage.json").write_text(json.dumps({"seconds": seconds, "built": at, "files": {}}))


def begin(outputs, cell, *, since, pid=None, **files):
    """Leaves the folder of a run that works in this process, or in a process that is gone (``pid``)."""
    folder = outputs / "runs" / cell.signature
    folder.mkdir(parents=True, exist_ok=True)
    own = os.getpid()
    lease = {"host": socket.gethostname(), "place": place(), "pid": pid or own, "since": since}
    lease["started"] = _started(own)
    (folder / "lease").write_text(json.dumps(lease))
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content)


def stop(outputs, cell, kind, reason):
    """Leaves the record of a failed run."""
    folder = outputs / "runs" / cell.signature
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "failed.json").write_text(json.dumps({"class": kind, "reason": reason}))
