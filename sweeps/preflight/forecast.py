"""What a sweep will cost before it runs: cells with state, time and memory, the trainings that they share, the total.

Reads the ledger and this machine; writes nothing and imports no torch.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sweeps.execution.lease import alive
from sweeps.execution.ledger import Cost, Ledger, trains
from sweeps.planning.plan import Cell, bases, unique
from sweeps.preflight.shared_stages import Product, products

_SHORT = 60.0  # seconds: a cell that is not worth waiting for with the long ones


@dataclass(frozen=True)
class Machine:
    """Memory here in MiB: this machine's, and that of its smallest GPU (None: there is none)."""

    mebibytes: float
    gpu_mebibytes: float | None


@dataclass(frozen=True)
class CellForecast:
    """One cell of a plan.

    Attributes:
        rows: the table rows that show it.
        fits: whether its memory fits; None where that cannot be told, as on a cluster's nodes.
        remarks: what a person should know: an input that is absent, memory that does not suffice, why it failed.
    """

    cell: Cell
    rows: tuple[str, ...]
    state: str
    cost: Cost
    fits: bool | None
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class SharedStage:
    """A product that several cells need: base weights, weights that are evaluated in several ways, neighbour lists.

    ``known`` is False where its key cannot be told: an input is not on this machine, or, as with neighbour lists, the
    product is named by what it is made of and that is read only when it is built. ``of`` says whose it is, alike for
    all seeds: the data that a base model learns, the rows that share trained weights.
    """

    kind: str
    key: str
    known: bool
    what: str
    of: str
    shared_by: int
    state: str
    cost: Cost | None


@dataclass(frozen=True)
class Forecast:
    """A whole plan; seconds are those of one worker for ``work``, of the clock for ``wall``.

    Attributes:
        workers: how many cells run at once; None where the cluster decides (the clock is then reckoned for one).
    """

    cells: tuple[CellForecast, ...]
    stages: tuple[SharedStage, ...]
    workers: int | None
    work: float
    wall: float
    wall_low: float
    wall_high: float
    remarks: tuple[str, ...]

    @property
    def open_cells(self) -> int:
        """Cells that are still to run."""
        return sum(one.state != "done" for one in self.cells)


def running_order(cells: Sequence[Cell], ledger: Ledger) -> list[Cell]:
    """The order in which cells are started: short ones as the table has them, to show something soon, then the longest.

    With the longest at the end, all workers but one would wait for the last cell.
    """
    seconds = {cell.signature: ledger.cost(cell).seconds for cell in cells}
    short = [cell for cell in cells if seconds[cell.signature] <= _SHORT]
    rest = [cell for cell in cells if seconds[cell.signature] > _SHORT]
    return [*short, *sorted(rest, key=lambda cell: -seconds[cell.signature])]


def forecast(cells: Sequence[Cell], ledger: Ledger, drifted: Mapping[str, Cell], machine: Machine) -> Forecast:
    """The plan of a sweep's cells.

    Args:
        drifted: runs of older code that count as done, by the signature of the cell that they stand for.
    """
    rows: dict[str, list[str]] = {}
    for cell in cells:
        rows.setdefault(cell.signature, []).append(cell.row)
    found = []
    for cell in unique(cells):
        state = "done" if cell.signature in drifted else ledger.state(cell)
        cost = ledger.cost(cell)
        fits, reason = memory_fits(cell.config, cost, machine)
        failure = ledger.failure(cell) if state == "failed" else {}
        remarks = [*cell.absent, reason if state != "done" else ""]
        remarks += [f"failed ({failure.get('class')}): {failure.get('reason')}"] if failure else []
        found.append(
            CellForecast(
                cell, tuple(dict.fromkeys(rows[cell.signature])), state, cost, fits, tuple(filter(None, remarks))
            )
        )
    stages = shared_stages(found, ledger)
    workers = slots(found[0].cell.config)
    width = workers or 1
    first, work = _work(found, stages, ledger)
    longest = [
        max((seconds(one.cost) for one in found if one.state != "done"), default=0.0)
        for seconds in (lambda cost: cost.low, lambda cost: cost.seconds, lambda cost: cost.high)
    ]
    # Cells that wait for one base model cannot be spread over the workers before it is there.
    wall = [first[i] + max(longest[i], (work[i] - first[i]) / width) for i in range(3)]
    together = _together(found, workers, machine)
    return Forecast(tuple(found), stages, workers, work[1], wall[1], wall[0], wall[2], together)


def _work(
    found: Sequence[CellForecast], stages: Sequence[SharedStage], ledger: Ledger
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Seconds (low, middle, high) of the trainings that cells must wait for, and of everything, each training once."""
    trained: set[str] = {stage.key for stage in stages}
    costs = []
    for one in found:
        if one.state == "done":
            continue
        if one.cell.training in trained or not ledger.to_train(one.cell):
            costs.append(ledger.rest_cost(one.cell))
        else:
            trained.add(one.cell.training)
            costs.append(one.cost)
    shared = [stage.cost for stage in stages if stage.cost is not None]
    first = [stage.cost for stage in stages if stage.cost is not None and stage.what == "base model"]

    def total(parts: Sequence[Cost]) -> tuple[float, float, float]:
        return sum(one.low for one in parts), sum(one.seconds for one in parts), sum(one.high for one in parts)

    return total(first), total([*costs, *shared])


def shared_stages(found: Sequence[CellForecast], ledger: Ledger) -> tuple[SharedStage, ...]:
    """What a plan's cells share: products of the data side, then trainings in the order in which they are needed."""
    configs: dict[str, tuple[str, Mapping[str, Any]]] = {}
    users: dict[str, list[CellForecast]] = {}
    for one in found:
        cell = one.cell
        for key, base in zip(cell.needs, bases(cell.config), strict=False):
            configs.setdefault(key, ("base model", {**cell.config, **base}))
            users.setdefault(key, []).append(one)
        if trains(cell.config):
            configs.setdefault(cell.training, ("trained weights", cell.config))
            users.setdefault(cell.training, []).append(one)
    stages = []
    for key, (what, config) in configs.items():
        waiting = [one for one in users[key] if one.state != "done"]
        if what == "trained weights" and len(users[key]) < 2:
            continue
        built = ledger.stages.has("training", key)
        path = ledger.stages.path("training", key)
        building = alive(path.with_name(f"{key}.lease"))
        state = "done" if built else "building" if building else "missing" if waiting else "not needed"
        cost = ledger.training_cost(config) if waiting and not built else None
        known = not any(one.cell.absent for one in users[key])
        rows = list(dict.fromkeys(row for one in users[key] for row in one.rows))
        of = str(config["data"].get("name", "its data")) if what == "base model" else named(rows, most=1)
        stages.append(SharedStage("training", key, known, what, of, len(users[key]), state, cost))
    return (*data_products(found), *stages)


def named(rows: Sequence[str], most: int) -> str:
    """Names of rows, the first ones and how many more there are."""
    more = len(rows) - most
    return "; ".join(rows[:most]) + (f" and {more} more row{'s' if more > 1 else ''}" if more > 0 else "")


def data_products(found: Sequence[CellForecast]) -> tuple[SharedStage, ...]:
    """What several cells share on the data side, see ``sweeps.preflight.shared_stages``.

    Their time is part of the cell that comes first, so they have no cost of their own here; done are they where a
    finished cell used them.
    """
    users: dict[Product, list[CellForecast]] = {}
    for one in found:
        for product in products(one.cell.config):
            users.setdefault(product, []).append(one)
    return tuple(
        SharedStage(
            product.kind,
            product.key,
            False,
            product.what,
            "",
            len(cells),
            "done" if any(one.state == "done" for one in cells) else "built by the first cell, unless they are there",
            None,
        )
        for product, cells in users.items()
        if len(cells) > 1
    )


def memory_fits(config: Mapping[str, Any], cost: Cost, machine: Machine) -> tuple[bool | None, str]:
    """Whether a cell's peak memory fits where it will run, and the reason where it does not.

    A cell on a GPU is taken to need its predicted memory there; what finished cells needed was measured on the host.
    """
    engine, accelerator = config.get("engine") or {}, (config.get("trainer") or {}).get("accelerator", "auto")
    limit = engine.get("memory_gib")
    if isinstance(limit, (int, float)) and cost.mebibytes > limit * 1024:
        return False, f"does not fit: {_gib(cost.mebibytes)}, over engine.memory_gib={limit:g}"
    if _elsewhere(config):
        return None, ""
    if accelerator in ("cuda", "gpu") and machine.gpu_mebibytes is None:
        return False, "does not run here: it asks for a GPU (trainer.accelerator) and this machine has none"
    on_gpu = accelerator != "cpu" and machine.gpu_mebibytes is not None and cost.basis in ("prior", "corrected")
    room = machine.gpu_mebibytes if on_gpu and machine.gpu_mebibytes else machine.mebibytes
    if cost.mebibytes <= room:
        return True, ""
    return False, f"does not fit: {_gib(cost.mebibytes)}, {'the GPU' if on_gpu else 'this machine'} has {_gib(room)}"


def _together(found: Sequence[CellForecast], workers: int | None, machine: Machine) -> tuple[str, ...]:
    """A remark where the cells fit one by one but not as many at once as there are workers."""
    largest = sorted((one.cost.mebibytes for one in found if one.state != "done" and one.fits), reverse=True)
    needed = sum(largest[: workers or 1])
    if workers is None or machine.gpu_mebibytes is not None or needed <= machine.mebibytes:
        return ()
    return (
        f"{workers} cells at once may need {_gib(needed)}, this machine has {_gib(machine.mebibytes)}: "
        f"give engine.workers={max(1, int(machine.mebibytes // largest[0]))}",
    )


def _elsewhere(config: Mapping[str, Any]) -> bool:
    """Whether cells run on the nodes of a cluster: its engine then has an address or a partition to give."""
    return bool({"address", "partition"} & set(config.get("engine") or {}))


def slots(config: Mapping[str, Any]) -> int | None:
    """How many cells the configured engine runs at once; None where only the cluster knows.

    An engine that reaches for a cluster is not made for this: making one may start it.
    """
    engine = config["engine"]
    if _elsewhere(config):
        width = engine.get("parallel", engine.get("workers"))
        return width if isinstance(width, int) else None
    from sweeps.engines.protocol import make_engine

    return make_engine(engine, int(config["threads"])).slots


def as_json(plan: Forecast, sweep: str, scale: str) -> dict[str, Any]:
    """A plan as plain values. A signature that cannot be known without an absent input is null."""
    return {
        "sweep": sweep,
        "scale": scale,
        "workers": plan.workers,
        "cells": [
            {
                "row": one.rows[0],
                "rows": list(one.rows),
                "seed": one.cell.seed,
                "signature": None if one.cell.absent else one.cell.signature,
                "training": None if one.cell.absent else one.cell.training,
                "state": one.state,
                "needs": [] if one.cell.absent else list(one.cell.needs),
                **asdict(one.cost),
                "fits": one.fits,
                "remarks": list(one.remarks),
                "overrides": list(one.cell.overrides),
            }
            for one in plan.cells
        ],
        "stages": [
            {
                "kind": stage.kind,
                "key": stage.key if stage.known else None,
                "what": stage.what,
                "of": stage.of,
                "shared_by": stage.shared_by,
                "state": stage.state,
                "cost": asdict(stage.cost) if stage.cost else None,
            }
            for stage in plan.stages
        ],
        "open_cells": plan.open_cells,
        "cell_seconds": plan.work,
        "wall_seconds": plan.wall,
        "range": [plan.wall_low, plan.wall_high],
        "remarks": list(plan.remarks),
    }


def _gib(mebibytes: float) -> str:
    return f"{mebibytes / 1024:.1f} GiB"


@lru_cache(maxsize=1)
def this_machine() -> Machine:
    """Memory of this machine, or of the container that we are in, and of its smallest visible GPU."""
    import psutil

    total = psutil.virtual_memory().total
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(path).read_text()))
        except (OSError, ValueError):
            continue
    return Machine(total / 2**20, _gpu_mebibytes())


def _gpu_mebibytes() -> float | None:
    """Asked of the driver's own tool: torch would take seconds, and CUDA memory, to say it."""
    from sweeps.engines.local import visible_gpus

    if not visible_gpus() or shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
        return min(float(line) for line in answer.split())
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
