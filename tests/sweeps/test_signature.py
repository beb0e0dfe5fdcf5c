import json
import shutil
import subprocess
import sys

import pytest

from sweeps import signature
from sweeps.errors import UserError


def test_order_of_keys_and_infrastructure_do_not_matter():
    one = signature.science({"a": 1, "b": {"c": 2.0, "cost": {"x": 9}}, "engine": {"name": "local"}, "logger": {}})
    two = signature.science({"b": {"c": 2.0}, "a": 1, "engine": {"name": "slurm"}})
    assert signature.hash_of(one) == signature.hash_of(two)


def test_placement_is_left_out_of_trainers_only():
    placed = {"trainer": {"devices": 2, "strategy": "ddp", "max_steps": 3}, "base": {"trainer": {"strategy": "auto"}}}
    assert signature.science(placed) == {"trainer": {"max_steps": 3}, "base": {"trainer": {}}}
    # InfiFPO's strategy of fusion decides results; that it went missing made three rows of a table one cell.
    method = {"method": {"strategy": "average", "label": "x"}, "trainer": {}}
    assert signature.science(method) == {"method": {"strategy": "average"}, "trainer": {}}


@pytest.mark.parametrize("other", [{"a": 1.5}, {"a": "1"}, {"a": True}, {"a": None}, {"a": [1]}, {"b": 1}])
def test_every_change_of_value_or_type_shows(other):
    assert signature.hash_of({"a": 1}) != signature.hash_of(other)


@pytest.mark.parametrize(("value", "name"), [(float("nan"), "config.a.b"), (object(), "object"), ({1: 2}, "key 1")])
def test_what_cannot_be_serialised_stably_is_refused_by_name(value, name):
    with pytest.raises(UserError, match=name):
        signature.hash_of({"a": {"b": value}})


def tree(root, loss="def loss(x):\n    return -x\n"):
    for folder in ("data", "lightning_modules/losses"):
        (root / folder).mkdir(parents=True)
        (root / folder / "__init__.py").touch()
    (root / "lightning_modules" / "__init__.py").touch()
    (root / "lightning_modules" / "losses" / "a.py").write_text(loss)
    (root / "lightning_modules" / "losses" / "unused.py").write_text("x = 1\n")
    (root / "lightning_modules" / "m.py").write_text(
        "import torch\n\ndef f():\n    from lightning_modules.losses import a\n    return a\n"
    )
    return signature.import_closure(("lightning_modules.m",), root)


def test_closure_holds_what_is_imported_and_nothing_else(tmp_path):
    assert set(tree(tmp_path)) == {
        "lightning_modules/m.py",
        "lightning_modules/losses/a.py",
        "lightning_modules/losses/__init__.py",
    }


def test_comments_docstrings_and_layout_change_no_digest(tmp_path):
    plain = tree(tmp_path / "1")
    dressed = tree(tmp_path / "2", '"""Doc."""\n\n\ndef loss(x):\n    """More."""\n    # why\n    return (-x)\n')
    assert plain == dressed


def test_a_flipped_sign_changes_the_digest(tmp_path):
    assert tree(tmp_path / "1") != tree(tmp_path / "2", "def loss(x):\n    return x\n")


def test_evaluation_never_reaches_the_training_signature(tmp_path):
    config = {"data": {"a": 1}, "method": {"lr": 0.1}, "evaluation": {"split": "test"}}
    other = {**config, "evaluation": {"split": "dev"}}
    training = signature.training_signature(config)
    assert training == signature.training_signature(other)
    assert signature.evaluation_signature(config, training) != signature.evaluation_signature(other, training)


DIGESTS = """
import json, sys
from sweeps.signature import ROOT, _source
files = sorted(path for name in ("data", "lightning_modules") for path in (ROOT / name).rglob("*.py"))
print(json.dumps([sys.version_info[1], {str(path): _source(path, 0)[0] for path in files}]))
"""


def test_python_311_and_312_give_our_files_the_same_digests():
    found = {}
    for python in (sys.executable, shutil.which("python3.11"), shutil.which("python3.12")):
        if python:
            done = subprocess.run([python, "-c", DIGESTS], cwd=signature.ROOT, capture_output=True, text=True)
            if done.returncode == 0:
                minor, digests = json.loads(done.stdout)
                found[minor] = digests
    if len(found) < 2:
        pytest.skip("needs python3.11 and python3.12")
    first, *others = found.values()
    assert len(first) > 30 and all(other == first for other in others)
