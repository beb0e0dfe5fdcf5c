"""Receipts hold what a run was made of, committed or not, and wherever it lies."""

import subprocess

import pytest

from sweeps.execution import receipt


def git(folder, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    root = tmp_path / "checkout"
    root.mkdir()
    (root / "old.py").write_text("x = 1\n")
    (root / ".gitignore").write_text("hidden/\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    (root / "hidden").mkdir()
    state = receipt.code_state.__wrapped__
    monkeypatch.setattr(receipt, "code_state", lambda: state(root))
    monkeypatch.setattr(receipt, "ROOT", root)
    return root


def applied(root, patch, tmp_path):
    """Files of the commit with the patch applied to it."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(root), "clone")
    (tmp_path / "p").write_text(patch)
    git(clone, "apply", "--unsafe-paths", str(tmp_path / "p"))
    return {path.relative_to(clone).as_posix(): path.read_bytes() for path in clone.rglob("*")
            if path.is_file() and ".git" not in path.parts}  # fmt: skip


def test_a_clean_checkout_has_no_patch(checkout):
    assert receipt.patch({}) == "" and len(receipt.code_state()["commit"]) == 40


def test_the_patch_makes_new_sources_and_configs_as_well_as_changed_ones(checkout, tmp_path):
    (checkout / "old.py").write_text("x = 2\n")
    (checkout / "own").mkdir()
    new = {"own/new.py": b"y = 1\n", "own/empty.py": b"", "conf.yaml": "a: \u00e9 b".encode(), "some name.bin": b"\0\1"}
    for name, content in new.items():
        (checkout / name).write_bytes(content)
    index = (checkout / ".git" / "index").read_bytes()
    patch = receipt.patch({})
    assert applied(checkout, patch, tmp_path) == {".gitignore": b"hidden/\n", "old.py": b"x = 2\n", **new}
    assert (checkout / ".git" / "index").read_bytes() == index, "the checkout's own index is left alone"


def test_a_staged_new_file_is_in_the_patch_once(checkout, tmp_path):
    (checkout / "own.py").write_text("y = 1\n")
    git(checkout, "add", "own.py")
    assert applied(checkout, receipt.patch({}), tmp_path)["own.py"] == b"y = 1\n"


def test_code_that_git_ignores_or_that_lies_elsewhere_is_in_the_patch_whole(checkout, tmp_path):
    (checkout / "new.py").write_text("new = 1\n")
    elsewhere, hidden = str(tmp_path / "elsewhere" / "loss.py"), str(checkout / "hidden" / "loss.py")
    code = {elsewhere: b"loss = 1\nno newline at the end", hidden: b"hidden = 1\n"}
    code |= {str(checkout / "old.py"): b"x = 1\n", str(checkout / "new.py"): b"new = 1\n"}
    lines = receipt.patch(code).splitlines()
    for path, line in ((elsewhere, "+loss = 1"), (hidden, "+hidden = 1")):
        assert f"+++ b{path}" in lines and line in lines
    assert lines.count("+new = 1") == 1 and "+x = 1" not in lines


def test_a_new_file_too_large_for_a_source_is_named(checkout):
    (checkout / "rows.jsonl").write_bytes(b"x" * (receipt.LARGEST + 1))
    assert receipt.patch({}) == "" and receipt.code_state()["left_out"] == {"rows.jsonl": receipt.LARGEST + 1}


def test_without_git_all_code_is_in_the_patch(tmp_path, monkeypatch):
    state = receipt.code_state.__wrapped__
    monkeypatch.setattr(receipt, "code_state", lambda: state(tmp_path))
    assert "+x = 1" in receipt.patch({str(tmp_path / "a.py"): b"x = 1\n"}) and receipt.code_state()["commit"] == ""


def test_a_receipt_names_the_files_that_count(checkout, monkeypatch):
    monkeypatch.setattr(receipt, "lock", dict)
    job = {"signature": "s", "training": "t", "science": "u", "overrides": (), "needs": ()}
    made = receipt.new(job, {"a": "1"}, {str(checkout / "old.py"): b"x = 1\n", "/e/own.py": b"y"}, {"attempts": [{}]})
    assert set(made["code"]) == {"old.py", "/e/own.py"} and len(made["attempts"]) == 2
    assert len(made["patch_sha256"]) == 64 and made["inputs"] == {"a": "1"} and made["left_out"] == {}
