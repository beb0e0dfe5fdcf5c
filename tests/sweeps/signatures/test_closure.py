"""What counts of a person's code, and what does not: on small packages, none of which is ever run."""

import json
import shutil
import subprocess
import sys
from textwrap import dedent

import pytest

from sweeps.errors import UserError
from sweeps.signatures import closure, readings
from sweeps.signatures.closure import Closures
from sweeps.signatures.modules import ROOT


@pytest.fixture(autouse=True)
def memory_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(readings, "_CACHE", tmp_path / "cache" / "code.json")
    monkeypatch.setattr(readings, "_memory", None)
    monkeypatch.setattr(readings, "_fresh", {})


@pytest.fixture
def tree(tmp_path):
    """Makes a package ``own`` of texts by path, and gives the closure of some of its modules."""
    made = []

    def make(files, *modules, texts=()):
        root = tmp_path / f"tree{len(made)}"
        made.append(root)
        for name, text in {"own/__init__.py": "", **files}.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(dedent(text))
        closures = Closures(root)
        return closures.digest(modules or ("own.a",), texts), closures.of(modules or ("own.a",), texts)

    return make


LOSS = "def loss(x):\n    return -x\n"
USES = {
    "from": "from own.b import loss\ndef f(x):\n    return loss(x)\n",
    "as": "from own.b import loss as g\ndef f(x):\n    return g(x)\n",
    "module": "from own import b\ndef f(x):\n    return b.loss(x)\n",
    "module as": "import own.b as other\ndef f(x):\n    return other.loss(x)\n",
    "whole name": "import own.b\ndef f(x):\n    return own.b.loss(x)\n",
    "relative": "from .b import loss\ndef f(x):\n    return loss(x)\n",
    "relative module": "from . import b\ndef f(x):\n    return b.loss(x)\n",
    "inside": "def f(x):\n    from own.b import loss\n    return loss(x)\n",
    "class": "class F:\n    from own.b import loss\n    def f(self, x):\n        return self.loss(x)\n",
    "star": "from own.b import *\ndef f(x):\n    return loss(x)\n",
    "if": "try:\n    from own.b import loss\nexcept ImportError:\n    loss = None\ndef f(x):\n    return loss(x)\n",
    "import_module": "import importlib\ndef f(x):\n    return importlib.import_module('own.b').loss(x)\n",
    "import_module relative": "import importlib\ndef f():\n    return importlib.import_module('.b', __package__)\n",
    "text": "TARGET = {'_target_': 'own.b.loss'}\n",
}


@pytest.mark.parametrize("how", USES)
def test_every_way_of_importing_counts(tree, how):
    one, modules = tree({"own/a.py": USES[how], "own/b.py": LOSS, "own/unused.py": "x = 1\n"})
    assert modules == {"own", "own.a", "own.b"}
    assert one != tree({"own/a.py": USES[how], "own/b.py": LOSS.replace("-x", "x")})[0]


@pytest.mark.parametrize("how", USES)
def test_a_moved_and_renamed_file_changes_nothing(tree, how):
    if how == "relative":
        moved = "from .deep.er import loss\ndef f(x):\n    return loss(x)\n"
    elif how == "relative module":
        moved = "from .deep import er\ndef f(x):\n    return er.loss(x)\n"
    elif how == "import_module relative":
        moved = USES[how].replace("'.b'", "'.deep.er'")
    elif how == "module":
        moved = "from own.deep import er\ndef f(x):\n    return er.loss(x)\n"
    else:
        moved = USES[how].replace("own.b", "own.deep.er")
    before = tree({"own/a.py": USES[how], "own/b.py": LOSS})
    after = tree({"own/a.py": moved, "own/deep/__init__.py": "", "own/deep/er.py": LOSS})
    assert before[0] == after[0] and "own.deep.er" in after[1]
    shifted = tree({"own/top/__init__.py": "", "own/top/z.py": moved.replace("from .deep", "from ..deep").replace(
        "'.deep", "'own.deep"), "own/deep/__init__.py": "", "own/deep/er.py": LOSS}, "own.top.z")  # fmt: skip
    if how != "import_module relative":
        assert shifted[0] == before[0]


def test_comments_docstrings_layout_and_unused_names_change_nothing(tree):
    plain = tree({"own/a.py": "import math\nimport os\ndef f(x, *, y=1.0):\n    return 'a' 'b', (x + y)\n"})
    dressed = '''
        """Doc."""
        import os, math  # changed over


        def f(
            x,
            *,
            y=1.00,
        ):
            """More."""
            # why
            return (
                "ab",
                x+y,
            )
    '''
    assert plain[0] == tree({"own/a.py": dressed.replace("import os, math", "import os\n        import math")})[0]
    assert plain[0] != tree({"own/a.py": "import math\nimport os\ndef f(x, *, y=2.0):\n    return 'ab', x + y\n"})[0]


def test_a_class_with_nothing_but_a_docstring_is_one_with_pass(tree):
    one = tree({"own/a.py": "class E(Exception):\n    pass\n"})[0]
    assert one == tree({"own/a.py": 'class E(Exception):\n    """Why."""\n'})[0]


def test_what_is_imported_for_types_or_run_by_hand_does_not_count(tree):
    text = """
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from own.b import Loss
        def f(x: "Loss"):
            return x
        if __name__ == "__main__":
            from own.b import main
            main()
    """
    assert tree({"own/a.py": text, "own/b.py": LOSS})[1] == {"own", "own.a"}


def test_which_module_a_name_comes_from_counts_though_the_files_are_the_same(tree):
    files = {"own/b.py": LOSS, "own/c.py": LOSS.replace("-x", "x")}
    text = "from own.b import loss\nfrom own.c import loss as other\ndef f(x):\n    return loss(x)\n"
    one, other = tree({"own/a.py": text, **files}), tree({"own/a.py": text.replace("b", "_").replace("c", "b").replace(
        "own._", "own.c").replace("_", "c"), **files})  # fmt: skip
    assert one[1] == other[1] and one[0] != other[0]


def test_what_a_package_hands_on_counts(tree):
    files = {"own/a.py": "from own import loss, other\ndef f(x):\n    return loss(x)\n", "own/b.py": LOSS,
             "own/c.py": LOSS.replace("-x", "x")}  # fmt: skip
    one = tree({**files, "own/__init__.py": "from own.b import loss\nfrom own.c import loss as other\n"})
    two = tree({**files, "own/__init__.py": "from own.c import loss\nfrom own.b import loss as other\n"})
    assert one[1] == two[1] and one[0] != two[0]


def test_a_local_name_is_not_taken_for_the_module_of_that_name(tree):
    other = "def g(b):\n    return [b for b in b], lambda b: b.loss\n"
    text = f"from own import b\ndef f(x):\n    return b.loss(x)\n{other}"
    renamed = text.replace("import b", "import c").replace("return b.loss(x)", "return c.loss(x)")
    assert tree({"own/a.py": text, "own/b.py": LOSS})[0] == tree({"own/a.py": renamed, "own/c.py": LOSS})[0]


PLUMBED = """
    import json
    PLUMBING = ("Journal", "write")
    class Journal:
        def note(self, step):
            return json.dumps(step)
    def write(path):
        return path
    def fit(step):
        return Journal(), write(step), -step
"""


def test_plumbing_does_not_count_and_what_is_done_with_it_does(tree):
    one = tree({"own/a.py": PLUMBED})[0]
    changed = PLUMBED.replace("json.dumps(step)", "zlib.crc32(step)").replace("import json", "import zlib")
    assert one == tree({"own/a.py": changed})[0]
    assert one != tree({"own/a.py": PLUMBED.replace("-step", "step")})[0]
    assert one != tree({"own/a.py": PLUMBED.replace("write(step)", "write(-step)")})[0]
    assert one != tree({"own/a.py": PLUMBED.replace(', "write"', "")})[0]


def test_plumbing_may_move_to_a_file_of_its_own(tree):
    apart = 'PLUMBING = ("Log", "KEPT")\nKEPT = 2\nclass Log:\n    def note(self, step):\n        return step\n'
    inside = 'PLUMBING = ("Journal",)\nclass Journal:\n    pass\ndef fit(step):\n    return Journal(), -step\n'
    there = "from own.log import Log\ndef fit(step):\n    return Log(), -step\n"
    assert tree({"own/a.py": inside})[0] == tree({"own/a.py": there, "own/log.py": apart})[0]


def test_a_file_that_is_plumbing_altogether_counts_nowhere_nor_does_what_it_imports(tree):
    text = "from own import log\ndef fit(step):\n    return log.note(step), -step\n"
    log = 'from own.b import loss\nPLUMBING = ("*",)\ndef note(step):\n    return loss(step)\n'
    one, modules = tree({"own/a.py": text, "own/log.py": log, "own/b.py": LOSS})
    assert modules == {"own", "own.a", "own.log"}
    assert one == tree({"own/a.py": text, "own/log.py": log.replace("loss(step)", "step"), "own/b.py": LOSS})[0]
    assert one == tree({"own/a.py": text.replace("log", "journal"), "own/journal.py": log, "own/b.py": LOSS})[0]
    assert one != tree({"own/a.py": text, "own/log.py": log.replace("*", "_"), "own/b.py": LOSS})[0]


TABLE = """
    import importlib
    BY_NAME = "own.rows"
    def row(name):
        return importlib.import_module(f"{BY_NAME}.{name}").ROW
"""


def test_of_rows_that_are_taken_by_name_only_those_count_that_a_config_or_the_code_names(tree):
    rows = {f"own/rows/{name}.py": f"ROW = '{name}!'\n" for name in ("one", "two", "fixed")}
    files = {"own/a.py": TABLE + "    DEFAULT = 'fixed'\n", "own/rows/__init__.py": "", **rows}
    one, modules = tree(files, texts={"one", "other"})
    assert modules == {"own", "own.a", "own.rows", "own.rows.one", "own.rows.fixed"}
    assert one == tree({**files, "own/rows/three.py": "ROW = 3\n"}, texts={"one"})[0]
    assert one == tree({**files, "own/rows/two.py": "ROW = 22\n"}, texts={"one"})[0]
    assert one != tree({**files, "own/rows/one.py": "ROW = 11\n"}, texts={"one"})[0]
    assert one != tree({**files, "own/rows/fixed.py": "ROW = 11\n"}, texts={"one"})[0]


@pytest.mark.parametrize(
    "name",
    ['f"own.rows.{name}"', '"own.rows." + name', '"own.rows.%s" % name', '"own.rows.{}".format(name)',
     '".".join(["own", "rows", name])', 'f"{PACKAGE}.{name}"', 'f"{rows.__name__}.{name}"',
     'f".rows.{name}", __package__', 'f".{name}", "own.rows"', 'f".{name}", package=PACKAGE'],
)  # fmt: skip
@pytest.mark.parametrize("how", ["importlib.import_module", "import_module", "__import__"])
def test_an_import_by_a_name_made_up_as_it_runs_counts_for_the_whole_package(tree, name, how):
    text = f"""
        import importlib
        from importlib import import_module
        from own import rows
        PACKAGE = "own.rows"
        def row(name):
            return {how}({name})
    """
    rows = {"own/rows/__init__.py": "", "own/rows/one.py": "", "own/rows/deep/two.py": "x = 1\n"}
    modules = tree({"own/a.py": text, **rows, "own/other.py": ""})[1]
    assert {"own.rows.one", "own.rows.deep.two"} <= modules and "own.other" not in modules


def test_a_package_that_is_walked_counts_whole(tree):
    text = "import pkgutil\nfrom own import rows\nFOUND = list(pkgutil.iter_modules(rows.__path__))\n"
    assert "own.rows.one" in tree({"own/a.py": text, "own/rows/__init__.py": "", "own/rows/one.py": ""})[1]


def test_circles_end(tree):
    back = "def g():\n    from own.a import f\n    return f\n"
    one = tree({"own/a.py": "from own.b import g\nf = 1\n", "own/b.py": back})
    assert one[1] == {"own", "own.a", "own.b"}


def test_what_is_no_python_is_refused_in_one_line(tree):
    with pytest.raises(UserError, match=r"the module own\.a cannot be read, line 2 .*: mend it") as caught:
        tree({"own/a.py": "x = 1\ndef f(:\n"})
    assert "\n" not in str(caught.value)


def test_a_declaration_that_only_running_it_would_tell_is_refused(tree):
    with pytest.raises(UserError, match=r"PLUMBING in the module own\.a is no plain text"):
        tree({"own/a.py": "PLUMBING = tuple(x for x in 'ab')\n"})


def test_deep_expressions_are_read(tree):
    assert tree({"own/a.py": f"x = {' + '.join(['y'] * 900)}\n"})[0]


def test_a_compiled_module_counts_by_its_bytes(tmp_path):
    suffix = __import__("importlib.machinery").machinery.EXTENSION_SUFFIXES[0]
    found = []
    for content in (b"\x7fELF one", b"\x7fELF two"):
        root = tmp_path / content.decode("latin-1")[-3:]
        (root / "own").mkdir(parents=True)
        (root / "own" / "__init__.py").touch()
        (root / "own" / f"fast{suffix}").write_bytes(content)
        found.append(Closures(root).digest(["own.fast"]))
    assert found[0] and found[0] != found[1]


def test_what_was_read_is_kept_by_content_and_questioned_again(tmp_path):
    root = tmp_path / "tree"
    (root / "own").mkdir(parents=True)
    (root / "own" / "__init__.py").touch()
    (root / "own" / "a.py").write_text("from own.b import x\ny = x\n")
    without = Closures(root).digest(["own.a"])
    readings.write()
    assert json.loads(readings._CACHE.read_text())
    assert Closures(root).digest(["own.a"]) == without
    (root / "own" / "b.py").write_text("x = 1\n")  # what own.a says is another thing now, though its file is the same
    assert Closures(root).digest(["own.a"]) != without and "own.b" in Closures(root).of(["own.a"])


def test_code_that_a_process_holds_counts_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(closure, "_loaded", {})
    path = tmp_path / "own.py"
    path.write_text("x = 1\n")
    first = Closures(tmp_path)
    before = first.digest(["own"])
    closure.hold(first.files(["own"]))
    path.write_text("x = 2\n")
    assert Closures(tmp_path).digest(["own"]) == before
    closure._loaded.clear()
    assert Closures(tmp_path).digest(["own"]) != before


def test_behind_an_object_are_its_class_and_what_it_holds(tmp_path, monkeypatch):
    for name, text in {"holder": "class Holder:\n    def __init__(self, *parts):\n        self.parts = parts\n",
                       "part": "class Part: ...\ndef made(x):\n    return lambda: x\n"}.items():  # fmt: skip
        (tmp_path / f"own_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    holder, part = (__import__(f"own_{name}") for name in ("holder", "part"))
    behind = Closures(tmp_path).behind
    assert behind(holder.Holder(1, "x", [part.Part()])) == {"own_holder", "own_part"}
    assert behind(part.made(holder.Holder())) == {"own_holder", "own_part"} and behind(3, None, [1]) == set()
    assert behind(closure.Closures(tmp_path)) == set(), "the sweep layer's own objects decide no content"


DIGESTS = """
import json, sys
from sweeps.signatures.closure import Closures
closures = Closures()
names = [name for package in ("data", "lightning_modules") for name in closures.modules.below(package)]
print(json.dumps([sys.version_info[1], {name: closures.file_digest(name) for name in names}]))
"""


def test_python_311_and_312_give_our_files_the_same_digests(tmp_path):
    found = {}
    for python in (sys.executable, shutil.which("python3.11"), shutil.which("python3.12")):
        if python:
            done = subprocess.run([python, "-c", DIGESTS], cwd=ROOT, capture_output=True, text=True, env={
                "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)})  # fmt: skip
            if done.returncode == 0:
                minor, digests = json.loads(done.stdout)
                found[minor] = digests
    if len(found) < 2:
        pytest.skip("needs python3.11 and python3.12")
    first, *others = found.values()
    assert len(first) > 100 and all(other == first for other in others)
