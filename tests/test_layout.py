"""The folders, the direction of imports and what planning may load: held by reading the source."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.planning import definition

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("data", "lightning_modules", "sweeps")
OURS = {*PACKAGES, "tests", "hydra_plugins", "benchmarks"}
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def test_required_top_level():
    wanted = {"pyproject.toml", "conf", "lightning_modules", "data", "sweeps", "tests", "outputs", "Makefile"}
    assert wanted <= {path.name for path in ROOT.iterdir()}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_resolve_inside_the_repository(package):
    module = __import__(package)
    assert Path(module.__file__).resolve().is_relative_to(ROOT)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_go_one_way(path):
    relative = path.relative_to(ROOT)
    names = imported(path)
    ours = {name for name in names if name.split(".")[0] in OURS}
    if relative.parts[:2] == ("lightning_modules", "losses"):
        third = roots(path) - set(sys.stdlib_module_names) - {"__future__", "torch", "lightning_modules"}
        assert not third, f"losses import torch only, {relative} imports {third}"
        assert all(name.startswith("lightning_modules.losses") or name == "lightning_modules" for name in ours)
    elif relative.parts[0] == "lightning_modules":
        # data.files.sources as well: networks read pre-trained weights from where sources says that they lie. And the
        # client of an endpoint, which a judge in data and a reader here ask alike.
        allowed = ("lightning_modules", "data.records", "data.files.sources", "data.endpoints.chat")
        assert all(name.startswith(allowed) or name in ("data", "data.files", "data.endpoints") for name in ours), (
            f"{relative} imports {ours}"
        )
    elif relative.parts[0] == "data":
        assert all(name.split(".")[0] == "data" for name in ours), f"{relative} imports {ours}"
    else:
        assert not {name for name in ours if name.split(".")[0] in {"tests", "benchmarks"}}


def test_only_run_and_plan_see_a_hydra_config():
    for path in SOURCES:
        if any(name.split(".")[0] == "omegaconf" for name in imported(path)):
            assert path.relative_to(ROOT).as_posix() in {"sweeps/planning/plan.py", "sweeps/run.py"}, path


def test_no_file_has_a_name_that_says_nothing():
    bad = {"utils.py", "helpers.py", "common.py", "misc.py"}
    ours = [path for path in ROOT.rglob("*.py") if not any(part.startswith(".venv") for part in path.parts)]
    assert ours and not [path for path in ours if path.name in bad]


def test_every_package_is_listed_for_installation():
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert found <= listed, f"pyproject.toml lacks {found - listed}"


def test_make_help_says_which_scales_each_table_has():
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in shown.splitlines() if line.startswith("    make ")]
    said = {words[1]: words[2:] for words in lines}
    assert said == {name.replace("/", "-"): list(definition.load(name).scales) for name in definition.names()}


def test_readme_says_which_sweeps_have_the_larger_scales():
    text = " ".join((ROOT / "README.md").read_text().split())
    small = re.search(r"`small` \(.*?\) have (.*?); `paper` have these, (.*?)\. Another", text)
    named = [set(re.findall(r"`(\w+/\w+)`", part)) for part in small.groups()]
    scales = {name: definition.load(name).scales for name in definition.names()}
    have = {scale: {name for name in scales if scale in scales[name]} for scale in ("small", "paper")}
    assert have == {"small": named[0], "paper": named[0] | named[1]}


@pytest.mark.parametrize("command", ["plan", "status", "table"])
def test_planning_status_and_tables_import_no_torch(command, tmp_path):
    code = (
        "import sys\nfrom sweeps.cli import main\n"
        f"status = main([{command!r}, 'sweep=re/main', 'scale=smoke', 'paths.outputs={tmp_path.as_posix()}'])\n"
        "assert status in (0, 1), status\n"
        "loaded = sorted({'torch', 'lightning', 'transformers', 'datasets', 'wandb', 'faiss'} & set(sys.modules))\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    if command == "plan":
        assert not any(tmp_path.iterdir()), "plan writes nothing"
