"""What a sweep costs beyond its cells: a shell loop, Hydra's launchers and ours on the same grid of training cells.

    python -m benchmarks.sweep_overhead              24 training cells each way (about half an hour on two cores)
    python -m benchmarks.sweep_overhead --no-op      the same with cells that do nothing (a few minutes)
    python -m benchmarks.sweep_overhead --cells 8    a smaller grid
    python -m benchmarks.sweep_overhead --base none  cells that share nothing but their trainings under two test sets

(a) a shell loop of ``python -m sweeps.run``, every run with outputs of its own; (b) a Hydra application with ``-m`` and
the basic sweeper; (c) the same with Hydra's joblib launcher, where it is installed; (d) ours, cold, and again with
everything done. All cells start from one base model (120 sentences, two passes), a stage that ours builds once. Nothing
is shared between the jobs of (a), (b) and (c), as it is for people who run grids so. Then,
apart: the time from giving a no-op cell to a warm worker to having it back, a finished sweep of 100 cells checked
again (whole commands, by ``-m`` and by a sweep's name), and planning 1,000 cells beside Hydra's BasicSweeper composing
the same grid: one that varies seeds and one that varies every group. Ours signs the cells as well; the BasicSweeper
composes every job twice (to check the batch, to launch it), of which one is counted. Prints times and ratios.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sweeps.signatures.signature import ROOT

FIXED = ["scale=smoke", "experiment=re_smoke", "logger=none"]
"""What all cells have in common; ``main`` adds the base model that they start from."""
RETRIEVERS = ("none", "random", "bm25", "tfidf")
BASIC = (
    "hydra.sweeper._target_=hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
    "+hydra.sweeper.max_batch_size=null",
    "+hydra.sweeper.params=null",
    "hydra.sweep.dir=hydra_jobs",
    "hydra.sweep.subdir=${hydra.job.num}",
)


def axes(cells: int) -> list[str]:
    """Swept overrides of a grid with so many cells: four retrievers, two test sets, the rest seeds."""
    seeds = max(1, cells // 8)
    return [
        f"retriever={','.join(RETRIEVERS)}",
        "evaluation.split=test,dev",
        f"seed={','.join(map(str, range(seeds)))}",
    ]


def points(cells: int) -> list[list[str]]:
    """The grid as one override list per cell."""
    split = [
        [f"{key}={value}" for value in values.split(",")]
        for key, _, values in (axis.partition("=") for axis in axes(cells))
    ]
    return [[*FIXED, *point] for point in itertools.product(*split)]


def command(*words: str, folder: Path, **environment: str) -> float:
    """Seconds of one command, run with ``folder`` as the place of its outputs."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return seconds


def shell_loop(folder: Path, cells: int, no_op: bool) -> float:
    """(a)"""
    total = 0.0
    for number, overrides in enumerate(points(cells)):
        module = ("benchmarks.overhead_cell", "one") if no_op else ("sweeps.run",)
        total += command(*module, *overrides, f"paths.outputs=run-{number}", folder=folder)
    return total


def hydra(folder: Path, cells: int, no_op: bool, *launcher: str) -> float:
    """(b) and (c)"""
    return command(
        "benchmarks.overhead_cell",
        "hydra",
        "-m",
        *FIXED,
        *axes(cells),
        *BASIC,
        *launcher,
        folder=folder,
        OVERHEAD_NO_OP=str(int(no_op)),
    )


def ours(folder: Path, cells: int, no_op: bool) -> float:
    """(d)"""
    words = ("benchmarks.overhead_cell", "ours") if no_op else ("sweeps.run", "-m")
    return command(*words, *FIXED, *axes(cells), folder=folder)


def worker_overhead(folder: Path, count: int = 30) -> float:
    """Median seconds from handing a no-op cell to a warm worker to knowing that it has ended."""
    from benchmarks.overhead_cell import nothing
    from sweeps.engines.local import LocalEngine
    from sweeps.run import Job

    engine = LocalEngine(threads=1, workers=1, work=nothing)
    spent = []
    for number in range(count + 1):
        begun = time.perf_counter()
        engine.submit(Job(f"cell-{number}", "", "", {}, {}, (), str(folder)))
        while not engine.poll():
            pass
        spent.append(time.perf_counter() - begun)
    # The first one waits for the server's imports, which a sweep pays once.
    return statistics.median(spent[1:])


def recheck(folder: Path, cells: int = 100) -> float:
    """Seconds of the whole command on a finished sweep."""
    from benchmarks.overhead_cell import nothing
    from sweeps.planning.plan import Planner
    from sweeps.run import Job

    planner = Planner()
    grid = points(cells)
    for overrides in grid:
        nothing(Job.of(planner.cell(overrides), folder / "outputs"))
    return command("sweeps.run", "-m", *FIXED, *axes(cells), folder=folder) * cells / len(grid)


def recheck_by_name(folder: Path, cells: int = 100) -> float:
    """The same for ``papergrid sweep`` with its plan, without its table."""
    from benchmarks.overhead_cell import nothing
    from sweeps.planning.definition import load
    from sweeps.planning.plan import Planner
    from sweeps.run import Job

    definition = load("re/main")
    one, two = (len(definition.points("smoke", range(count))) for count in (1, 2))
    # Some rows have one seed whatever is asked for.
    seeds = list(range(1 + -(-(cells - one) // (two - one))))
    grid = Planner().sweep(definition, "smoke", (), seeds)
    for cell in grid:
        nothing(Job.of(cell, folder / "outputs"))
    words = ("sweep=re/main", "scale=smoke", f"seeds={','.join(map(str, seeds))}", "--quiet")
    return command("sweeps.cli", "sweep", *words, folder=folder) * cells / len(grid)


def group_points(cells: int) -> list[list[str]]:
    """A grid over five config groups, none of which names weights that only a hub has."""
    options = {
        "retriever": (*RETRIEVERS, "sbert", "bm25_masked", "tfidf_masked", "sbert_between"),
        "prompt": ("simple", "definition", "labelled", "unlabelled"),
        "method": ("re", "encoder_head", "linear_svm", "neighbour_label", "constant"),
        "model": ("minilm_generator", "tiny_generator", "tiny_t5", "tiny_llama"),
        "data": ("samples", "samples_general"),
    }
    grid = itertools.product(*([f"{group}={name}" for name in names] for group, names in options.items()))
    return [list(point) for point in grid][:cells]


def planning(grid: list[list[str]], cells: int = 1000, sample: int = 50) -> tuple[float, float]:
    """Seconds to plan a grid, ours and by Hydra's own composition (a sample of it), both scaled to so many cells."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    from sweeps.planning.plan import CONF, Planner

    begun = time.perf_counter()
    planner = Planner()
    for overrides in grid:
        planner.cell(overrides)
    own = (time.perf_counter() - begun) * cells / len(grid)
    with initialize_config_dir(str(CONF), version_base=None):
        instance = GlobalHydra.instance().hydra
        assert instance is not None
        master = instance.compose_config("config", [], run_mode=RunMode.MULTIRUN, with_log_configuration=False)
        begun = time.perf_counter()
        # What BasicSweeper does with every job before it launches a batch.
        for overrides in grid[:: max(1, len(grid) // sample)][:sample]:
            instance.config_loader.load_sweep_config(master, overrides)
        theirs = (time.perf_counter() - begun) * cells / min(sample, len(grid))
    return own, theirs


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cells", type=int, default=24, help="a multiple of eight")
    parser.add_argument("--no-op", action="store_true", help="cells that only import")
    parser.add_argument("--base", default="samples", help="what the cells start from: an option of the group base")
    parser.add_argument("--only", default="abcde", help="which parts: a, b, c, d as above, e the rest")
    options = parser.parse_args()
    FIXED.append(f"base={options.base}")
    scratch = Path(tempfile.mkdtemp(prefix="sweep-overhead-"))
    times: dict[str, float] = {}

    def measure(name: str, run: Callable[..., float], *arguments: object, again: bool = False) -> None:
        folder = scratch / name.split()[0].strip("()")
        folder.mkdir(exist_ok=again)
        times[name] = run(folder, *arguments)
        print(f"{name:44s} {times[name]:8.2f} s", flush=True)

    count = len(points(options.cells))
    print(f"{count} {'no-op' if options.no_op else 'training'} cells, {os.cpu_count()} cores", flush=True)
    try:
        if "d" in options.only:
            measure("(d) ours, cold", ours, options.cells, options.no_op)
            measure("(d) ours, everything done", ours, options.cells, options.no_op, again=True)
        if "b" in options.only:
            measure("(b) Hydra -m, basic", hydra, options.cells, options.no_op)
        if "c" in options.only:
            if importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher") is None:
                print("(c) Hydra -m, joblib: left out, hydra-joblib-launcher is not installed")
            else:
                measure(
                    "(c) Hydra -m, joblib",
                    hydra,
                    options.cells,
                    options.no_op,
                    "hydra/launcher=joblib",
                    f"hydra.launcher.n_jobs={os.cpu_count()}",
                )
        if "a" in options.only:
            measure("(a) shell loop of single runs", shell_loop, options.cells, options.no_op)
        for name, seconds in times.items():
            if name[1] in "abc" and "d" in options.only:
                print(f"ours, cold, takes {times['(d) ours, cold'] / seconds:.2f} of {name}")
        if "e" in options.only:
            measure("(w) per cell beyond its work, p50", worker_overhead)
            measure("(r) 100 finished cells checked again", recheck)
            measure("(n) 100 finished cells of a sweep checked again", recheck_by_name)
            for what, grid in (("over seeds", points(1000)), ("over groups", group_points(1000))):
                own, theirs = planning(grid)
                times[f"1,000 cells {what} planned, ours"] = own
                times[f"1,000 cells {what} composed, BasicSweeper"] = theirs
                print(f"{f'1,000 cells {what} planned, ours':44s} {own:8.2f} s")
                ratio = f"({theirs / own:.0f} times ours)"
                print(f"{f'1,000 cells {what} composed, BasicSweeper':44s} {theirs:8.2f} s {ratio}")
        (ROOT / "outputs").mkdir(exist_ok=True)
        (ROOT / "outputs" / "sweep_overhead.json").write_text(json.dumps(times, indent=1))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
