"""The shared products on disk: what they are, how large and how old, which runs need them; deletes the others."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweeps.errors import UserError
from sweeps.execution.ledger import read_json
from sweeps.execution.stages import StageState, StageStore
from sweeps.preflight.plan_view import duration


@dataclass(frozen=True)
class Users:
    """Which runs need which stages.

    Attributes:
        runs: run folders' names by "kind/key".
        unfinished: "kind/key" of what runs need that have not ended yet.
        sweeps: names of the sweeps whose tables show a run.
        complete: whether every run says which data-side stages it read; where one does not, none of those may go.
    """

    runs: Mapping[str, set[str]]
    unfinished: frozenset[str]
    sweeps: Mapping[str, set[str]]
    complete: bool

    def of(self, state: StageState) -> set[str]:
        """The runs that need a stage."""
        return self.runs.get(f"{state.kind}/{state.key}", set())

    def verdict(self, state: StageState) -> str:
        """Why a stage stays, in a word or two; "" where no run needs it."""
        name = f"{state.kind}/{state.key}"
        if state.state == "building":
            return "being built"
        if state.state == "corrupt":
            return ""
        if state.state == "partial":
            return "to be continued" if name in self.unfinished else ""
        if self.of(state):
            return "needed"
        return "" if state.kind == "training" or self.complete else "not recorded"


def users(outputs: Path) -> Users:
    """Reads who needs what from the receipts and records of all runs, finished or not."""
    runs: dict[str, set[str]] = defaultdict(set)
    unfinished: set[str] = set()
    complete = True
    for folder in sorted(path for path in outputs.glob("runs/*") if path.is_dir()):
        done, receipt = read_json(folder / "done.json"), read_json(folder / "receipt.json")
        named = [f"training/{key}" for key in (*receipt.get("needs", ()), done.get("training")) if key]
        named += done.get("stages", ())
        complete = complete and "stages" in done
        for name in named:
            runs[name].add(folder.name)
        if not done:
            unfinished |= set(named)
    sweeps: dict[str, set[str]] = defaultdict(set)
    for path in outputs.glob("sweeps/*/receipt.json"):
        for seeds in read_json(path).get("rows", {}).values():
            for signature in seeds.values():
                sweeps[signature].add(path.parent.name)
    return Users(runs, frozenset(unfinished), sweeps, complete)


def show_stages(outputs: Path, *, prune: bool, yes: bool) -> int:
    """Lists all stages; with ``prune`` those that no run needs, which ``yes`` deletes."""
    if not (outputs / "stages").is_dir():
        raise UserError(f"{outputs} holds no stages: give the outputs folder of a sweep, e.g. papergrid stages outputs")
    store, known = StageStore(outputs / "stages"), users(outputs)
    if prune:
        return _prune(store, known, yes=yes)
    table = Table(title=f"stages below {outputs}", title_justify="left", box=None)
    for name in ("kind", "key", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("size", "built in", "last used"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("by", min_width=12)
    total = 0
    for state in store.states():
        total += state.bytes
        table.add_row(
            state.kind,
            state.key,
            state.state,
            _size(state.bytes),
            duration(state.seconds) if state.seconds is not None else "",
            f"{duration(max(0.0, time.time() - state.used))} ago",
            Text(_who(state, known)),
        )
    console = Console()
    console.print(table)
    unneeded = sum(not known.verdict(state) for state in store.states())
    console.print(
        f"{_size(total)} in all; {unneeded} that no run needs (papergrid stages --prune lists them)", highlight=False
    )
    return 0


def _who(state: StageState, known: Users) -> str:
    runs = known.of(state)
    if not runs:
        return known.verdict(state)
    sweeps = sorted({sweep for run in runs for sweep in known.sweeps.get(run, ())})
    return f"{len(runs)} run{'s' if len(runs) > 1 else ''}" + (f" ({', '.join(sweeps)})" if sweeps else "")


def _prune(store: StageStore, known: Users, *, yes: bool) -> int:
    chosen = [state for state in store.states() if not known.verdict(state)]
    if yes:
        chosen = store.prune(keep=lambda state: bool(known.verdict(state)))
    for state in chosen:
        name = f"{state.folder.parent.name}/{state.folder.name}"
        print(f"{'deleted' if yes else 'would delete'} {name} ({state.state}, {_size(state.bytes)})")
    freed = _size(sum(state.bytes for state in chosen))
    print(f"{len(chosen)} stages {'deleted' if yes else 'that no run needs'}, {freed}{' freed' if yes else ''}")
    if chosen and not yes:
        print("nothing was deleted: papergrid stages --prune --yes deletes them")
    return 0


def _size(count: float) -> str:
    return f"{count / 2**20:.1f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
