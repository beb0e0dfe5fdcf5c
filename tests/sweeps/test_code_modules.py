"""Own modules are found wherever they lie, and none of them is run for it."""

import os
import sys
import sysconfig
import zipfile
from importlib.machinery import PathFinder

import pytest

from sweeps.signatures.modules import Modules

BOMB = "raise SystemExit('a plan runs no code of a module')\n"


def package(folder, *files, text=BOMB):
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def found(root, name):
    place = Modules(root).place(name)
    return place and (place.file or place.folders)


def test_a_package_on_the_search_path_is_own_to_any_depth(tmp_path, monkeypatch):
    package(tmp_path / "elsewhere", "mine/__init__.py", "mine/inner/__init__.py", "mine/inner/loss.py", "single.py")
    assert found(tmp_path / "root", "mine") is None
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    assert found(tmp_path / "root", "mine.inner.loss") == str(tmp_path / "elsewhere/mine/inner/loss.py")
    assert found(tmp_path / "root", "single") == str(tmp_path / "elsewhere/single.py")
    assert found(tmp_path / "root", "mine.absent") is None and found(tmp_path / "root", "single.inner") is None


def test_a_package_in_the_working_folder_is_own_where_python_looks_there(tmp_path, monkeypatch):
    package(tmp_path / "here", "mine/__init__.py")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert found(tmp_path / "root", "mine") == str(tmp_path / "here/mine/__init__.py")


def test_a_package_without_init_is_all_its_folders(tmp_path, monkeypatch):
    package(tmp_path / "one", "mine/inner/a.py")
    package(tmp_path / "two", "mine/b.py")
    for name in ("one", "two"):
        monkeypatch.syspath_prepend(str(tmp_path / name))
    modules = Modules(tmp_path / "root")
    assert modules.place("mine").file is None and len(modules.place("mine").folders) == 2
    assert modules.place("mine.inner.a") and modules.place("mine.b")
    assert modules.children("mine") == ("b", "inner") and set(modules.below("mine")) == {
        "mine.b", "mine.inner", "mine.inner.a",
    }  # fmt: skip


def test_an_editable_installation_by_a_finder_is_own(tmp_path, monkeypatch):
    source = package(tmp_path / "src", "mine/__init__.py", "mine/loss.py")

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            return PathFinder.find_spec(name, [str(source)]) if name == "mine" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert found(tmp_path / "root", "mine.loss") == str(source / "mine/loss.py")


def test_a_link_out_of_the_installed_packages_is_own(tmp_path, monkeypatch):
    source = package(tmp_path / "src", "mine/__init__.py", "mine/loss.py")
    site = package(tmp_path / "lib/site-packages", "other/__init__.py")
    os.symlink(source / "mine", site / "mine")
    monkeypatch.syspath_prepend(str(site))
    assert found(tmp_path / "root", "mine.loss") == str(site / "mine/loss.py")
    assert found(tmp_path / "root", "other") is None


@pytest.mark.parametrize("folder", ["lib/site-packages", "lib/dist-packages"])
def test_installed_packages_are_not_own(tmp_path, monkeypatch, folder):
    monkeypatch.syspath_prepend(str(package(tmp_path / folder, "mine/__init__.py", "mine/loss.py")))
    assert found(tmp_path / "root", "mine") is found(tmp_path / "root", "mine.loss") is None


def test_what_pip_put_into_a_folder_of_another_name_is_not_own_and_what_lies_beside_it_is(tmp_path, monkeypatch):
    target = package(tmp_path / "libs", "theirs/__init__.py", "mine/__init__.py", "one.py")
    info = target / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "RECORD").write_text("theirs/__init__.py,sha256=x,1\none.py,,\ntheirs-1.0.dist-info/RECORD,,\n")
    monkeypatch.syspath_prepend(str(target))
    assert found(tmp_path / "root", "theirs") is found(tmp_path / "root", "one") is None
    assert found(tmp_path / "root", "mine")


def test_the_standard_library_and_this_environment_are_not_own(tmp_path):
    modules = Modules(tmp_path)
    for name in ("sys", "json", "os.path", "collections.abc", "torch", "numpy.linalg", "pytest", "_pytest.python"):
        assert modules.place(name) is None, name
    assert os.path.isdir(sysconfig.get_paths()["stdlib"])


def test_a_module_in_an_archive_on_the_path_is_own(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        archive.writestr("mine/__init__.py", "")
        archive.writestr("mine/loss.py", BOMB)
    monkeypatch.syspath_prepend(str(tmp_path / "own.zip"))
    assert found(tmp_path / "root", "mine.loss").startswith(str(tmp_path / "own.zip"))


def test_the_root_comes_first_and_a_package_before_a_module_and_a_folder(tmp_path, monkeypatch):
    package(tmp_path / "root", "mine/__init__.py", "mine.py", "both/a.py", "both.py")
    monkeypatch.syspath_prepend(str(package(tmp_path / "later", "mine/__init__.py")))
    assert found(tmp_path / "root", "mine") == str(tmp_path / "root/mine/__init__.py")
    assert found(tmp_path / "root", "both") == str(tmp_path / "root/both.py")


def test_a_dotted_text_names_code_only_where_the_module_has_what_it_names(tmp_path):
    package(tmp_path, "mine/__init__.py", text="")
    package(tmp_path, "mine/loss.py", text="class Loss:\n    def of(self): ...\n")
    modules = Modules(tmp_path)
    assert modules.reference("mine.loss.Loss.of") == ("mine.loss", "Loss.of")
    assert modules.reference("mine.loss") == ("mine.loss", "")
    for text in ("mine.json", "mine.loss.Other", "torch.nn.GELU", "model.safetensors", "mine", "mine. loss", "v1.5"):
        assert modules.reference(text) is None, text
