"""Whatever a command line says, it ends in one line and status 2, or quietly: never in a traceback."""

import json
import subprocess
import sys

import pytest

from sweeps import cli
from sweeps.errors import UserError
from sweeps.planning.definition import SCALES, load, names
from sweeps.planning.plan import Planner

SWEEP = ("sweep=re/main", "scale=smoke")
HAND = ("data=samples", "method=constant", "base=none")
SEEDS = ["null", "1.5", "a", "", "-1", "true", "[1]", "{}", "4294967296", "'1'"]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_that_is_none_is_refused(seed, capsys):
    assert cli.by_hand([*HAND, f"seed={seed}"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "give a whole number from 0 to 4294967295" in lines[0]
    assert cli.main(["plan", *SWEEP, f"seed={seed}"]) == 2
    assert "the seeds of a sweep are given as seeds=0,1,2" in capsys.readouterr().err


@pytest.mark.parametrize("seeds", ["", "a", "null", "1.5", "[]", "0,,1", "0,", "-1", "0,0", "4294967296", "range(3)"])
def test_seeds_that_are_none_are_refused(seeds, capsys):
    for command in ("plan", "sweep", "status", "table"):
        assert cli.main([command, *SWEEP, f"seeds={seeds}"]) == 2
        assert capsys.readouterr().err.count("\n") == 1


GROUPS = ["data", "method", "model", "trainer", "evaluation", "engine", "logger", "base", "retriever", "prompt"]
ODD = [
    *(f"{group}=null" for group in GROUPS), *(f"{group}=" for group in GROUPS), *(f"{group}={{}}" for group in GROUPS),
    "paths=null", "paths.outputs=null", "paths.outputs=", "paths.outputs=3", "threads=null", "threads=a", "threads=0",
    "threads=1.5", "engine.name=foo", "engine.name=null", "engine.memory_gib=a", "engine.timeout_minutes=[]",
    "data.batch_size=a", "data.cost.rows=a", "data.cost.rows=null", "data.cost=[]", "model.cost.predict_seconds=null",
    "trainer.max_epochs=a", "trainer.max_epochs=nan", "evaluation.limit=a", "+sources={a:1}", "+sources={a:{}}",
    "+sources=3", "=3", "@=1", "data@=samples", "data@foo=samples", "seed.x=1", "data=[samples]", "data=samples,foo",
    "x='y", "data.name=${data.name}", "data.name=${nothing}", "data.name=${", "data.name=???", "hydra.run.dir=x", "",
    "word", "--foo", "-m",
]  # fmt: skip


@pytest.mark.parametrize("override", ODD)
def test_odd_overrides_of_a_sweep_are_refused_in_one_line(override, tmp_path, capsys):
    assert cli.main(["plan", *SWEEP, f"paths.outputs={tmp_path}/outputs", override]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("papergrid: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("override", [text for text in ODD if not text.startswith(("-", "engine.name=foo"))])
def test_odd_overrides_of_a_cell_by_hand_are_refused_when_it_is_planned(override):
    cell = ("data=samples", "method=re", "model=tiny_generator", "base=none")
    with pytest.raises(UserError):
        Planner(lenient=True).by_hand([(*cell, override)])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list", "more"], "papergrid list takes nothing more"),
        (["plan", *SWEEP, "--watch"], "takes no --watch: it takes --accept-code-drift and --cells and --json"),
        (["table", *SWEEP, "--json"], "takes no --json"),
        (["sweep", *SWEEP, "--prune"], "takes no --prune"),
        (["plan", "sweep="], "no sweep is called ''"),
        (["plan", "sweep=../papers/re/main"], "no sweep is called"),
        (["plan"], "which sweep?"),
        (["verify", "/nowhere"], "holds no runs"),
        (["stages", "/nowhere"], "holds no stages"),
        (["demo", "scale=paper"], "sweep re/demo has no scale 'paper': it has smoke and tiny"),
    ],
)
def test_odd_commands_are_refused_in_one_line(arguments, said, capsys):
    assert cli.main(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("demo: ")]
    assert len(lines) == 1 and said in lines[0]


@pytest.mark.parametrize("command", ["plan", "status", "table", "sweep"])
def test_an_outputs_folder_that_is_a_file_is_refused(command, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for outputs in ("file", "file/below"):
        assert cli.main([command, *SWEEP, f"paths.outputs={tmp_path}/{outputs}"]) == 2
        assert f"{tmp_path}/file is a file, give a folder" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["plan", "status", "table", "sweep"])
@pytest.mark.parametrize("name", names())
def test_a_scale_that_a_sweep_lacks_is_refused_by_every_command(command, name, tmp_path, capsys):
    scales = load(name).scales
    for scale in set(SCALES) - set(scales):
        assert cli.main([command, f"sweep={name}", f"scale={scale}", f"paths.outputs={tmp_path}/outputs"]) == 2
        said = f"papergrid: sweep {name} has no scale '{scale}': it has {' and '.join(scales)}\n"
        assert capsys.readouterr().err == said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"], ["help"], ["plan", "sweep=longrag/hard_negatives", "--json"], ["plan", "sweep=re/main", "--cells"],
        ["status", "sweep=longrag/hard_negatives", "--json"], ["table", "sweep=re/main"],
    ],
)  # fmt: skip
def test_a_reader_that_has_gone_ends_a_command_quietly(arguments, tmp_path):
    outputs = [] if arguments[0] in ("list", "help") else [f"paths.outputs={tmp_path}"]
    command = [sys.executable, "-m", "sweeps.cli", *arguments, *outputs]
    shell = 'exec 3>&1; { "$@" 2>&3 3>&-; echo "status $?" >&3; } 3>&3 | true'
    done = subprocess.run(["bash", "-c", shell, "bash", *command], capture_output=True, text=True, timeout=120)
    said = done.stdout.splitlines()
    assert said[-1].startswith("status ") and not done.stderr
    assert "Traceback" not in done.stdout and "BrokenPipe" not in done.stdout and "Exception" not in done.stdout


def test_a_pipe_of_our_own_that_breaks_is_no_reader_that_has_gone(monkeypatch):
    def broken(_):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setitem(cli.COMMANDS, "list", broken)
    with pytest.raises(BrokenPipeError):
        cli.main(["list"])


def test_planning_and_status_never_import_torch(tmp_path):
    script = (
        "import sys\nfrom sweeps import cli\n"
        f"for command in (['plan', 'evaluation.limit=9', '--json'], ['status', '--json']):\n"
        f"    assert cli.main([*command, *{SWEEP!r}, 'paths.outputs={tmp_path}']) == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_plan_as_json_says_what_was_changed_and_where_the_table_goes(tmp_path, capsys):
    assert cli.main(["plan", *SWEEP, "seeds=0", "--json", f"paths.outputs={tmp_path}"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["changed"] == ["seeds=0"] and value["table"].startswith("re-main-smoke-with-seeds_0-")
