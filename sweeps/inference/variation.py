"""Which rows of a table no seed changes, so that one run is all there is of them.

The sweep has to say so, by giving the row's arm one seed of its own, and the run must not have read weights whose
training that seed drew: a training of its own, or a base, a source or a retriever that was trained with it. What a run
read is in its record; which of it depends on the seed shows in the plan of the same cell under another seed. A row that
has one seed for another reason, such as `seeds=0` on the command line, may have been lucky with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sweeps.planning.plan import Cell, Planner
from sweeps.signatures.named_inputs import nodes

if TYPE_CHECKING:
    from sweeps.cli import Selection

TRAINING, RETRIEVER = "training/", "trained_retriever/"
"""What the names of stages that hold trained weights begin with."""


def deterministic_rows(selection: Selection) -> list[str]:
    """Rows of a sweep that have their run and that no seed changes, sorted."""
    definition, request = selection.definition, selection.request
    single = {row for arm in definition.arms if arm.seeds and len(set(arm.seeds)) == 1 for row, _ in arm.points()}
    points = definition.points(request.scale, request.seeds)
    planner = Planner(lenient=True)
    return sorted(
        cell.row
        for (row, _, _), cell in zip(points, selection.cells, strict=True)
        if row in single and not _drawn(cell, selection, planner)
    )


def _drawn(cell: Cell, selection: Selection, planner: Planner) -> bool:
    """Whether the run of a cell read weights that its seed had a part in; True as well where that is not known."""
    run = selection.drifted.get(cell.signature, cell)
    stages = selection.ledger.done(run).get("stages")
    if stages is None:
        return True
    trained = {name for name in stages if name.startswith(TRAINING)}
    retrievers = [name for name in stages if name.startswith(RETRIEVER)]
    if not trained and not retrievers:
        return False
    overrides = [text for text in cell.overrides if not text.startswith("seed=")]
    other = planner.cell(overrides, seed=cell.seed + 1)
    if trained - {f"{TRAINING}{name}" for name in other.needs}:
        return True
    return bool(retrievers) and _retrievers(cell.config) != _retrievers(other.config)


def _retrievers(config: Mapping[str, Any]) -> list[Any]:
    return [node["retriever"] for node in nodes(config) if "retriever" in node]
