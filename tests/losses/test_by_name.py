"""Tables of files: a row is loaded when its name is asked for, and no earlier."""

import sys

import pytest

from lightning_modules.losses.by_name import ByName


@pytest.fixture
def table(tmp_path, monkeypatch):
    (tmp_path / "rows_of_a_test").mkdir()
    for name, text in {"__init__": "", "one": "ROW = 1\n", "two": "ROW = 2\n", "broken": "raise SystemExit\n"}.items():
        (tmp_path / "rows_of_a_test" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield ByName("rows_of_a_test", "ROW")
    for name in [name for name in sys.modules if name.startswith("rows_of_a_test")]:
        del sys.modules[name]


def test_names_are_told_without_loading_a_row(table):
    assert list(table) == ["broken", "one", "two"] and len(table) == 3
    assert "two" in table and "three" not in table and "__init__" not in table
    assert not [name for name in sys.modules if name.startswith("rows_of_a_test.")]


def test_a_row_is_loaded_alone(table):
    assert table["one"] == 1 and table.get("three") is None
    assert [name for name in sys.modules if name.startswith("rows_of_a_test.")] == ["rows_of_a_test.one"]


def test_an_unknown_name_is_a_key_error(table):
    with pytest.raises(KeyError, match="three"):
        table["three"]
