"""Tests of pure functions need little: of losses torch, of records, verifiers and card games not even that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("datasets", "hydra", "lightning", "omegaconf", "pandas", "scipy", "sklearn", "transformers", "wandb")


@pytest.mark.parametrize(
    ("folders", "absent"),
    [
        (["tests/losses"], HEAVY),
        (["tests/data/records", "tests/data/verifiers", "tests/data/worlds/cards"], (*HEAVY, "torch")),
    ],
)
def test_tests_of_pure_functions_are_found_and_imported_without(folders, absent):
    code = (
        "import sys, pytest\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {absent!r}: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"sys.exit(pytest.main(['--co', '-q', *{folders!r}]))\n"
    )
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
