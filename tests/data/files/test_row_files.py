"""Files of rows come back as they were written, whatever their values look like."""

import json

import pandas as pd
import pytest

from data.files.row_files import rows_of

TEXTS = ["5.0", "null", "true", '"quoted"', "[1]", "2018-02-03", "2018-02-03T10:00:00", "007", "NaN", " x ", ""]


@pytest.fixture
def written(tmp_path):
    def read(content, name="rows.jsonl"):
        (tmp_path / name).write_text(content, encoding="utf-8")
        return rows_of(tmp_path / name, name)

    return read


@pytest.mark.parametrize("other", [["a"], 7, {"a": 1}, "text", None])
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_stays_the_text_beside_anything_else(text, other, written):
    rows = [{"a": text, "b": 1, "c": [text]}, {"a": other, "b": 1.5}]
    assert written("".join(f"{json.dumps(row)}\n" for row in rows)) == rows
    assert written(json.dumps(rows)) == rows


def test_columns_that_look_like_dates_stay_text(written):
    rows = [{"a": f"2018-02-0{day}", "b": {"c": [f"2018-02-0{day}"]}} for day in (1, 2)]
    assert written("".join(f"{json.dumps(row)}\n" for row in rows)) == rows


def test_csv_is_text_and_empty_cells_are_none(written):
    found = written("id,answer,title\n007,28,\nNA,3.50,null\n", "rows.csv")
    assert found == [{"id": "007", "answer": "28", "title": None}, {"id": "NA", "answer": "3.50", "title": "null"}]


def test_rows_know_their_place_and_a_mark_of_byte_order_is_none_of_them(written, tmp_path):
    found = written('\ufeff{"a": 1}\n\n{"a": 2}\n')
    assert found == [{"a": 1}, {"a": 2}] and [row.place for row in found] == ["rows.jsonl, row 1", "rows.jsonl, row 2"]
    pd.DataFrame([{"a": [1]}]).to_parquet(tmp_path / "rows.parquet")
    assert rows_of(tmp_path / "rows.parquet", "mine")[0].place == "mine, row 1"


def test_an_object_over_several_lines_is_one_row(written):
    assert written(json.dumps({"a": 1, "b": [2]}, indent=1)) == [{"a": 1, "b": [2]}]
