"""Chaos: the same sweep again and again while its processes are killed at random.

    python -m benchmarks.chaos                      60 kills on the local engine
    python -m benchmarks.chaos --engine all         60 kills on each of local, ray and slurm
    python -m benchmarks.chaos --kills 10 --seeds 0

Rounds of the same 24-cell sweep, each in a fresh folder, are driven to the end while cells, builders of shared stages,
worker servers and the driver itself get SIGKILL; a driver that has gone is replaced by the same command. At the end of
every round the table must be byte for byte that of an undisturbed run, no cell may have run to completion twice, and
after a kill a training may repeat no more than one checkpoint interval (here: one step). Prints the counts; exits with
1 where anything of this fails. Only processes that this script started are ever killed.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from sweeps import cli
from sweeps.engines.protocol import make_engine
from sweeps.execution.lease import alive, owner
from sweeps.planning import definition as definitions
from sweeps.planning.plan import CONF, unique
from sweeps.signatures.signature import ROOT

SWEEP = "chaos/grid"
SANDBOX = ROOT.parent / "shared" / "tools" / "with-slurm"
ROUND_SECONDS = 1800
SETTINGS: dict[str, dict[str, Any]] = {
    "local": {"workers": 2},
    "ray": {"workers": 2},
    "slurm": {"poll_seconds": 1.0, "timeout_minutes": 30, "parallel": 8},
}
WEIGHTS = {"cell": 4.0, "builder": 4.0, "server": 1.0, "driver": 2.0}
"""How often each kind of process is chosen, where there is one. Servers and drivers take long to come back."""

definitions.PAPERS = ROOT / "tests" / "sweeps" / "definitions"


@dataclass
class Report:
    """What an engine went through."""

    engine: str
    kills: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    cells: int = 0
    completions: int = 0
    twice: int = 0
    drivers: int = 0
    steps_needed: int = 0
    steps_trained: int = 0
    most_repeated: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}s" for kind, count in sorted(self.kills.items()))
        return (
            f"{self.engine}: {self.kills.total()} kills ({kinds}) in {self.rounds} rounds, {self.drivers} drivers "
            f"started; {self.completions} of {self.cells} cells run to completion, {self.twice} of them twice; "
            f"{self.steps_trained} steps trained where {self.steps_needed} were needed, at most "
            f"{self.most_repeated} repeated after a kill; tables {'WRONG' if self.faults else 'identical'}"
        )


def selection(seeds: str) -> cli.Selection:
    """The sweep, with its outputs below the current folder; no override may tell one run's table from another's."""
    return cli.select([f"sweep={SWEEP}", "scale=smoke", f"seeds={seeds}"])


def drive(engine: str, seeds: str) -> int:
    """The driver that is killed: what ``papergrid sweep`` does, with cells that leave a trail."""
    from benchmarks.chaos_cell import counted
    from sweeps.execution.driver import drive as drive_jobs
    from sweeps.run import Job

    chosen = selection(seeds)
    missing = [cell for cell in unique(chosen.cells) if chosen.ledger.state(cell) != "done"]
    if not missing:
        return 0
    config = yaml.safe_load((CONF / "engine" / f"{engine}.yaml").read_text())
    one = make_engine({**config, **SETTINGS[engine], "work": counted}, int(missing[0].config["threads"]))
    jobs = [Job.of(cell, chosen.ledger.outputs, sweep=SWEEP, rows=(cell.row,)) for cell in missing]
    outcome = drive_jobs(jobs, one, chosen.ledger.stages, retries=5)
    print(f"{len(outcome.finished)} finished, {outcome.retried} retried, failed: {outcome.failed}", flush=True)
    return 1 if outcome.failed else 0


def table(seeds: str) -> int:
    """Prints the table in all text formats and the digests of all per-example results, as JSON."""
    from sweeps.reporting.report import receipt_of, table_of, texts

    chosen = selection(seeds)
    files = {cell.signature: chosen.ledger.folder(cell) / "examples.parquet" for cell in chosen.cells}
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(files.items())}
    print(json.dumps({"texts": texts(table_of(receipt_of(chosen), chosen.ledger.outputs)), "examples": digests}))
    return 0


def child(folder: Path, *words: str, **keywords: Any) -> subprocess.Popen[str]:
    """This script again, with ``folder`` as the place of its outputs."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.chaos", *words], cwd=folder, env=environment, text=True, **keywords
    )


def table_in(folder: Path, seeds: str) -> dict[str, Any]:
    """What ``table`` prints for a finished round."""
    process = child(folder, "table", seeds, stdout=subprocess.PIPE)
    text, _ = process.communicate(timeout=300)
    if process.returncode:
        raise RuntimeError(f"no table of {folder}")
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


def targets(driver: subprocess.Popen[str], outputs: Path, engine: str) -> dict[str, list[psutil.Process]]:
    """Living processes of this script's own, by kind.

    Orphans stay in this script's process tree because it is their reaper. Slurm's cells are outside of it: they are
    known by the leases in this round's own folder, which name process id and start time.
    """
    me = psutil.Process()
    family = {process.pid: process for process in me.children(recursive=True)}
    found: dict[str, list[psutil.Process]] = defaultdict(list)
    for kind, pattern in (("cell", "runs/*/lease"), ("builder", "stages/*/*.lease")):
        for path in outputs.glob(pattern):
            pid = owner(path).get("pid")
            if pid and alive(path) and (pid in family or engine == "slurm"):
                found[kind].append(psutil.Process(pid))
    for process in family.values():
        with contextlib.suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if process.name() == "raylet" or ("multiprocessing.forkserver" in line and process.ppid() == driver.pid):
                found["server"].append(process)
    if driver.poll() is None:
        found["driver"].append(psutil.Process(driver.pid))
    return found


def disturbed(folder: Path, engine: str, seeds: str, kills: int, report: Report, chance: random.Random) -> None:
    """Drives one round to its end, with up to ``kills`` kills on the way."""
    folder.mkdir(parents=True)
    deadline = time.monotonic() + ROUND_SECONDS
    with (folder / "driver.log").open("w") as log:
        while True:
            report.drivers += 1
            before = report.kills.total()
            driver = child(folder, "drive", engine, seeds, stdout=log, stderr=log)
            while driver.poll() is None:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{folder} is not done after {ROUND_SECONDS / 60:g} minutes: see its driver.log")
                time.sleep(chance.uniform(0.2, 3.0))
                living = targets(driver, folder / "outputs", engine) if kills else {}
                # A driver that has not started a cell yet is spared: it would be replaced for ever.
                if not (living.get("cell") or living.get("builder")):
                    continue
                kind = chance.choices(list(living), [WEIGHTS[name] for name in living])[0]
                with contextlib.suppress(psutil.NoSuchProcess):
                    chance.choice(living[kind]).kill()
                    report.kills[kind] += 1
                    kills -= 1
            if driver.returncode == 0:
                return
            if report.kills.total() == before:
                raise RuntimeError(f"a driver that nobody disturbed ended with {driver.returncode}: see {log.name}")


def check(folder: Path, seeds: str, reference: dict[str, Any], report: Report) -> None:
    """Counts what a finished round did and compares its table with the undisturbed one."""
    outputs = folder / "outputs"
    report.rounds += 1
    cells = Counter(line.split()[0] for line in lines(outputs / "trail" / "completions"))
    for record in outputs.glob("runs/*/done.json"):
        # A kill may fall between a cell's record and its line in the trail; nobody runs it again.
        cells.setdefault(record.parent.name, 1)
    report.cells += len(reference["examples"])
    report.completions += len(cells)
    report.twice += sum(count > 1 for count in cells.values())
    if sorted(cells) != sorted(reference["examples"]) or max(cells.values()) > 1:
        report.faults.append(f"{folder}: {len(cells)} cells completed, {report.twice} twice")
    last: dict[str, tuple[int, str]] = {}
    seen: dict[str, set[int]] = defaultdict(set)
    for line in lines(outputs / "trail" / "steps"):
        training, number, pid = line.split()
        step = int(number)
        report.steps_trained += 1
        seen[training].add(step)
        before, by = last.get(training, (0, pid))
        if by != pid:
            report.most_repeated = max(report.most_repeated, before - step + 1)
        last[training] = (step, pid)
    report.steps_needed += sum(map(len, seen.values()))
    if report.most_repeated > 1:
        report.faults.append(f"{folder}: {report.most_repeated} steps were repeated after one kill")
    found = table_in(folder, seeds)
    for part in ("texts", "examples"):
        if found[part] != reference[part]:
            report.faults.append(f"{folder}: its {part} are not those of the undisturbed run")


def lines(path: Path) -> Iterator[str]:
    """Lines of a trail."""
    if path.is_file():
        yield from path.read_text().splitlines()


def chaos(engine: str, kills: int, seeds: str, folder: Path, chance: random.Random) -> Report:
    """Rounds on one engine until there were enough kills."""
    reference_folder = folder / "undisturbed"
    if not (reference_folder / "table.json").is_file():
        shutil.rmtree(reference_folder, ignore_errors=True)
        disturbed(reference_folder, engine, seeds, 0, Report(engine), chance)
        (reference_folder / "table.json").write_text(json.dumps(table_in(reference_folder, seeds)))
    reference = json.loads((reference_folder / "table.json").read_text())
    report = Report(engine)
    shutil.rmtree(folder / engine, ignore_errors=True)
    while report.kills.total() < kills and not report.faults:
        round_folder = folder / engine / f"round-{report.rounds + 1}"
        disturbed(round_folder, engine, seeds, kills - report.kills.total(), report, chance)
        check(round_folder, seeds, reference, report)
        print(f"{engine}, round {report.rounds}: {report.kills.total()} kills so far", flush=True)
    return report


def adopt_orphans() -> None:
    """Makes this process the reaper of its descendants' orphans (Linux, ``PR_SET_CHILD_SUBREAPER``)."""
    ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)


def main() -> int:
    if sys.argv[1:2] == ["drive"]:
        return drive(*sys.argv[2:4])
    if sys.argv[1:2] == ["table"]:
        return table(sys.argv[2])
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--engine", choices=[*SETTINGS, "all"], default="local")
    parser.add_argument("--kills", type=int, default=60, help="on each engine")
    parser.add_argument("--seeds", default="0,1,2", help="eight cells each")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "chaos", help="for the rounds' outputs")
    parser.add_argument("--random", type=int, default=0, help="seed of what is killed when")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    adopt_orphans()
    status = 0
    for engine in SETTINGS if options.engine == "all" else [options.engine]:
        if engine == "slurm" and shutil.which("sbatch") is None:
            status |= in_sandbox(folder, options)
            continue
        report = chaos(engine, options.kills, options.seeds, folder, random.Random(options.random))
        print(report)
        for fault in report.faults:
            print(f"WRONG: {fault}")
        status |= bool(report.faults)
    return status


def in_sandbox(folder: Path, options: argparse.Namespace) -> int:
    """The Slurm part on a throw-away cluster, where there is no other."""
    if not SANDBOX.is_file() or os.geteuid() != 0:
        print("slurm: left out (no sbatch here, and no sandbox cluster: it needs ../shared/tools/with-slurm and root)")
        return 0
    command = [
        str(SANDBOX),
        sys.executable,
        "-m",
        "benchmarks.chaos",
        "--engine",
        "slurm",
        "--seeds",
        options.seeds,
        "--kills",
        str(options.kills),
        "--folder",
        str(folder),
        "--random",
        str(options.random),
    ]
    environment = {**os.environ, "KEEP": str(folder)}
    # nproc obeys it, and the script gives its node as many CPUs as nproc says.
    environment.pop("OMP_NUM_THREADS", None)
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
