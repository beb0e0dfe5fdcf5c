"""The command line: plan, sweep, status, table, verify, stages, and single cells by hand.

Arguments are Hydra overrides (``key=value``) apart from ``sweep=``, ``scale=``, ``seeds=`` and a few flags. Whatever is
wrong with them ends in one line and exit status 2. Nothing here imports torch.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.errors import UserError, nearest
from sweeps.execution import orders
from sweeps.execution.failures import NO_ROOM, Preempted
from sweeps.execution.ledger import Ledger
from sweeps.planning import definition as definitions
from sweeps.planning.definition_checks import LARGEST_SEED, is_seed
from sweeps.planning.overridden import changes, folder_name
from sweeps.planning.plan import Cell, Planner, split_choices, unique
from sweeps.planning.plan_checks import check_outputs

HELP = """papergrid: run the ablation grids of post-training papers again, and see which claims hold

  papergrid plan   sweep=re/main scale=tiny      every cell: state, predicted time and memory; runs nothing
  papergrid sweep  sweep=re/main scale=tiny      run what is missing (again: go on where it stopped)
  papergrid status sweep=re/main [--watch]       what is done, running, failed
  papergrid table  sweep=re/main                 the table: paper, ours with interval, verdicts
  papergrid publish sweep=re/main | --pages      results as data in docs/results; the pages' parts from them
  papergrid verify outputs                       recompute every number from the stored per-example results
  papergrid stages [outputs] [--prune [--yes]]   shared products on disk; what no run needs; deletes it
  papergrid list                                 all sweeps, with the scales that each has
  papergrid demo                                 a cut-down grid in some minutes

Further key=value arguments are Hydra overrides of every cell, e.g. engine.workers=2 logger=none paths.outputs=...
Also: scale=smoke|tiny|small|paper   seeds=0,1,2   --json (plan, status)   --accept-code-drift (sweep, status, table)
One cell by hand: python -m sweeps.run method=re retriever=bm25 prompt=labelled seed=3
"""

FLAGS = {"--json", "--watch", "--accept-code-drift", "--prune", "--yes", "--cells", "--quiet"}
FLAGS |= {"--partial", "--dirty", "--pages"}


@dataclass
class Request:
    """A parsed command line."""

    sweep: str | None
    scale: str
    seeds: tuple[int, ...] | None
    overrides: tuple[str, ...]
    flags: frozenset[str]
    words: tuple[str, ...]


@dataclass
class Selection:
    """A sweep's definition with its cells and the ledger that knows their state.

    ``changed``: what the command line changes about the plain table (``overridden.changes``).
    """

    definition: definitions.Definition
    request: Request
    cells: list[Cell]
    ledger: Ledger
    drifted: dict[str, Cell]
    changed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the table's folder below ``outputs/sweeps``."""
        return folder_name(self.definition, self.request.scale, self.changed)

    @property
    def title(self) -> str:
        """What the terminal calls it."""
        told = f", with {' '.join(self.changed)}" if self.changed else ""
        return f"{self.definition.name} at {self.request.scale} scale{told}"


def parse(arguments: Sequence[str]) -> Request:
    """Splits a command line into our own words and Hydra overrides."""
    sweep, scale, seeds = None, "tiny", None
    overrides, flags, words = [], set(), []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if argument.startswith("--"):
            if argument not in FLAGS:
                raise UserError(f"unknown flag {argument}: {nearest(argument, FLAGS)}")
            flags.add(argument)
        elif not equals:
            words.append(argument)
        elif key == "sweep":
            sweep = value
        elif key == "scale":
            if value not in definitions.SCALES:
                raise UserError(f"no scale is called {value!r}: {nearest(value, definitions.SCALES)}")
            scale = value
        elif key == "seeds":
            try:
                seeds = tuple(int(seed) for seed in value.strip("[]").split(","))
            except ValueError as error:
                raise UserError(f"seeds={value!r} is no list of whole numbers: write seeds=0,1,2") from error
            if not all(map(is_seed, seeds)):
                raise UserError(
                    f"seeds={value!r} has a number below 0 or above {LARGEST_SEED}, which no generator takes: "
                    "write seeds=0,1,2"
                )
            if len(set(seeds)) < len(seeds):
                raise UserError(f"seeds={value!r} names a seed twice: write seeds=0,1,2")
        else:
            overrides.append(argument)
    return Request(sweep, scale, seeds, tuple(overrides), frozenset(flags), tuple(words))


def select(
    arguments: Sequence[str], *, flags: Set[str] = FLAGS, lenient: bool = True, write: bool = False
) -> Selection:
    """The sweep that a command line speaks of, planned.

    Args:
        flags: those that the command takes.
        write: whether something will be written to the outputs folder.
        lenient: take cells whose data or weights are not on this machine as missing; without it they are refused.
    """
    request = parse(arguments)
    for flag in sorted(request.flags - flags):
        raise UserError(f"this command takes no {flag}: it takes {' and '.join(sorted(flags))}")
    if request.words:
        raise UserError(f"{request.words[0]!r} is neither key=value nor a flag; write sweep=<paper>/<table>")
    if request.sweep is None:
        raise UserError(f"which sweep? write sweep=<name>; {nearest('', definitions.names())}")
    definition = definitions.load(request.sweep)
    cells = Planner(lenient=lenient).sweep(definition, request.scale, request.overrides, request.seeds)
    ledger = _ledger(cells, write=write)
    drifted = ledger.drifted(cells) if "--accept-code-drift" in request.flags else {}
    changed = changes(definition, request.scale, request.overrides, request.seeds, cells)
    return Selection(definition, request, cells, ledger, drifted, changed)


def _ledger(cells: Sequence[Cell], *, write: bool) -> Ledger:
    outputs = Path(cells[0].config["paths"]["outputs"])
    check_outputs(outputs, write=write)
    return Ledger(outputs)


def plan(arguments: Sequence[str]) -> int:
    """Shows every cell and what the sweep will cost."""
    from sweeps.preflight.plan_view import show_plan

    selection = select(arguments, flags={"--json", "--cells", "--accept-code-drift"})
    show_plan(selection, as_json="--json" in selection.request.flags, every_cell="--cells" in selection.request.flags)
    return 0


def sweep(arguments: Sequence[str]) -> int:
    """Runs what is missing, then shows the table."""
    from sweeps.preflight.plan_view import show_plan

    selection = select(arguments, flags={"--quiet", "--accept-code-drift"}, lenient=False, write=True)
    show_plan(selection, as_json=False, every_cell=False)
    status = run(
        selection.cells,
        selection.ledger,
        sweep=selection.definition.name,
        paper=selection.definition.paper,
        drifted=selection.drifted,
    )
    if "--quiet" not in selection.request.flags:
        _table(selection)
    return status


def run(
    cells: Sequence[Cell], ledger: Ledger, *, sweep: str = "", paper: str = "", drifted: dict[str, Cell] | None = None
) -> int:
    """Drives cells to completion; the exit status is 1 when one failed for good."""
    missing = [cell for cell in unique(cells) if ledger.state(cell) != "done" and cell.signature not in (drifted or {})]
    if not missing:
        return 0
    from sweeps.engines.protocol import make_engine
    from sweeps.execution.driver import drive
    from sweeps.preflight.forecast import running_order
    from sweeps.preflight.plan_view import say
    from sweeps.preflight.schema import check_in_worker
    from sweeps.reporting.status import Live
    from sweeps.run import Job

    rows: dict[str, list[str]] = {}
    for cell in cells:
        rows.setdefault(cell.signature, []).append(cell.row)
    first = missing[0].config
    engine = make_engine(first["engine"], int(first["threads"]))
    say("checking the cells (a first start imports everything once, about ten seconds)")
    check_in_worker([cell.config for cell in missing])
    jobs = [
        Job.of(cell, ledger.outputs, sweep=sweep, paper=paper, rows=tuple(dict.fromkeys(rows[cell.signature])))
        for cell in running_order(missing, ledger)
    ]
    with Live(missing, ledger) as live:
        outcome = drive(jobs, engine, ledger.stages, retries=int(first["engine"].get("retries", 2)), watch=live.update)
    for signature, reason in outcome.failed.items():
        say(f"failed: {signature} ({', '.join(filter(None, rows[signature])) or 'by hand'}): {reason}")
    if outcome.stopped_early:
        say(f"stopped early: the first {len(outcome.failed)} cells all failed alike ({outcome.stopped_early})")
    if outcome.failed:
        say(
            "mend the cause and give the same command again: finished cells are kept; "
            f"{ledger.outputs}/runs/<signature>/failed.json holds the traceback"
        )
    return 1 if outcome.failed else 0


def status(arguments: Sequence[str]) -> int:
    """Shows what is done, running, failed and missing."""
    from sweeps.reporting.status import show_status

    selection = select(arguments, flags={"--json", "--watch", "--accept-code-drift"})
    show_status(selection, as_json="--json" in selection.request.flags, watch="--watch" in selection.request.flags)
    return 0


def table(arguments: Sequence[str]) -> int:
    """Builds the table from finished runs, prints it and writes its files."""
    return _table(select(arguments, flags={"--accept-code-drift"}, write=True))


def publish(arguments: Sequence[str]) -> int:
    """Writes a finished table as data below ``docs/results`` and the pages' parts made from it."""
    from sweeps.reporting.pages import write_pages
    from sweeps.reporting.publish import publish as published

    if list(arguments) != ["--pages"]:
        selection = select(arguments, flags={"--partial", "--dirty", "--accept-code-drift"})
        flags = selection.request.flags
        published(selection, partial="--partial" in flags, dirty="--dirty" in flags)
    return write_pages()


def _table(selection: Selection) -> int:
    from sweeps.reporting.report import write_table

    return write_table(selection)


def verify(arguments: Sequence[str]) -> int:
    """Recomputes what was printed from what is stored."""
    from sweeps.reporting.verify import verify_outputs

    return verify_outputs(_folder(arguments, "verify", set()))


def stages(arguments: Sequence[str]) -> int:
    """Lists shared products; ``--prune`` those that no run needs, which ``--prune --yes`` deletes."""
    from sweeps.reporting.stage_listing import show_stages

    flags = {argument for argument in arguments if argument.startswith("--")}
    if flags == {"--yes"}:
        raise UserError("--yes confirms --prune: write papergrid stages --prune --yes")
    folder = _folder(arguments, "stages", {"--prune", "--yes"})
    return show_stages(folder, prune="--prune" in flags, yes="--yes" in flags)


def _folder(arguments: Sequence[str], command: str, flags: set[str]) -> Path:
    """The one outputs folder that a command line names; ``outputs`` where it names none."""
    request = parse(arguments)
    given = request.overrides or tuple(request.flags - flags) or request.words[1:]
    if given or request.sweep:
        what = given[0] if given else f"sweep={request.sweep}"
        takes = " and ".join(["an outputs folder", *sorted(flags, reverse=True)])
        raise UserError(f"papergrid {command} takes {takes}, not {what!r}")
    return Path(request.words[0] if request.words else "outputs")


def demo(arguments: Sequence[str]) -> int:
    """The smallest real grid: on SemEval where its files are, else on the sentences in data/samples."""
    from data.files.sources import DataNotFoundError, locate
    from sweeps.preflight.plan_view import say

    where = []
    try:
        locate("re/semeval2010_task8/train.jsonl.gz")
        say("demo: relation extraction on SemEval-2010 Task 8, a cut-down grid")
    except DataNotFoundError:
        where = ["data=samples"]
        say(
            "demo: SemEval-2010 Task 8 is not on this machine, so this runs on data/samples: 314 training and 122 test "
            "sentences written for this project. It shows that everything works; its numbers are no benchmark"
        )
    return sweep(["sweep=re/demo", "scale=tiny", *where, *arguments])


def list_sweeps(arguments: Sequence[str]) -> int:
    """Names every sweep with its scales and its question."""
    if arguments:
        raise UserError(f"papergrid list takes nothing more, not {arguments[0]!r}")
    faults = []
    for name in definitions.names():
        try:
            found = definitions.load(name)
        except UserError as error:  # one broken file hides no other
            faults.append(error)
            continue
        print(f"{name:30s} {' '.join(found.scales):23s} {found.question}")
    for fault in faults:
        _complain(fault)
    return 2 if faults else 0


def by_hand(arguments: Sequence[str]) -> int:
    """``python -m sweeps.run``: one cell in this process, or with ``-m`` several through the engine."""

    def command() -> int:
        flags = {argument for argument in arguments if argument.startswith("-")}
        if flags:
            overrides = [argument for argument in arguments if argument not in flags]
            points = split_choices(overrides) if flags <= {"-m", "--multirun"} else None
            return _through_hydra(arguments) if points is None else run_many(points)
        return run_one(arguments)

    return _guarded(command)


def _guarded(command: Callable[[], int]) -> int:
    """A command's exit status; what a person did wrong, a reader that went, and an order to go end in one line."""
    with orders.listening():
        try:
            status = command()
            sys.stdout.flush()
            return status
        except UserError as error:
            return _complain(error)
        except BrokenPipeError as error:
            return _unread(error)
        except (Preempted, KeyboardInterrupt) as error:
            return orders.complain(error)


def run_one(overrides: Sequence[str]) -> int:
    """Plans and runs one cell here; prints its scores."""
    from sweeps.preflight.plan_view import say
    from sweeps.preflight.schema import check
    from sweeps.run import Job, execute

    (cell,) = Planner().by_hand([overrides])
    ledger = _ledger([cell], write=True)
    folder = ledger.folder(cell)
    if ledger.state(cell) != "done":
        check(cell.config)
        say(f"running {cell.signature} in {folder}")
        code, failure = 1, dict[str, Any]()
        try:
            code = execute(Job.of(cell, ledger.outputs))
            failure = ledger.failure(cell)
        except OSError as error:  # the record of a failure takes room as well
            if error.errno not in NO_ROOM:
                raise
            failure = {"class": "disk", "reason": str(error)}
        if code:
            if order := orders.given():
                raise Preempted(failure.get("reason", f"{order.reason}: its checkpoint could not be written"))
            say(f"failed ({failure.get('class', 'busy')}): {failure.get('reason', 'another process runs this cell')}")
            if failure.get("class") == "disk":
                say("make room (papergrid stages --prune shows what no run needs) and give the same command to go on")
            return 2 if failure.get("class") == "bad-data" else 1
    scores: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    print(json.dumps({"signature": cell.signature, "folder": str(folder), "scores": scores}, indent=1))
    return 0


def run_many(override_lists: Sequence[Sequence[str]]) -> int:
    """Plans and runs the cells of a ``-m`` command line through the configured engine."""
    from sweeps.preflight.plan_view import say

    cells = Planner().by_hand(override_lists)
    ledger = _ledger(cells, write=True)
    code = run(cells, ledger, sweep="by hand")
    for cell in cells:
        if ledger.state(cell) == "done":
            scores = json.loads((ledger.folder(cell) / "summary.json").read_text())
            say(f"{cell.signature}  {cell.row}  " + "  ".join(f"{key}={value:.4g}" for key, value in scores.items()))
    return code


def _through_hydra(arguments: Sequence[str]) -> int:
    """Hands Hydra's own flags (-m, --cfg, --help, ...) to Hydra, whose sweeper plugin hands -m back to us."""
    import hydra

    from sweeps.planning.plan import CONF

    outcome: list[int] = []

    @hydra.main(config_path=str(CONF), config_name="config", version_base=None)
    def application(config: Any) -> None:
        outcome.append(run_one([argument for argument in arguments if not argument.startswith("-")]))

    argv, sys.argv = sys.argv, ["python -m sweeps.run", *arguments]
    try:
        application()
    finally:
        sys.argv = argv
    return outcome[0] if outcome else 0


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "plan": plan,
    "sweep": sweep,
    "status": status,
    "table": table,
    "publish": publish,
    "verify": verify,
    "stages": stages,
    "list": list_sweeps,
    "demo": demo,
}


def _complain(error: UserError) -> int:
    line = " ".join(str(error).split())
    print(f"papergrid: {line}", file=sys.stderr)
    return 2


def _unread(error: BrokenPipeError) -> int:
    """Ends quietly where the reader of our output has gone; any other broken pipe is an error of ours."""
    from sweeps.preflight.plan_view import reader_gone

    if not reader_gone():
        raise error
    return 128 + signal.SIGPIPE


def _command(words: Sequence[str]) -> int:
    if not words or words[0] == "help" or {"-h", "--help"} & set(words):
        print(HELP)
        return 0
    if words[0] not in COMMANDS:
        raise UserError(f"no command is called {words[0]!r}: {nearest(words[0], COMMANDS)}")
    return COMMANDS[words[0]](words[1:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the ``papergrid`` command."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    return _guarded(lambda: _command(words))


if __name__ == "__main__":
    sys.exit(main())
