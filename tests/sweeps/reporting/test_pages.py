"""Generated parts of pages: what they show, that rewriting them again changes nothing, and what is refused."""

import json

import pytest

from sweeps.errors import UserError
from sweeps.reporting.pages import rewritten, unmarked_tables

COLUMNS = [{"name": f"s{number}", "percent": number == 0, "higher_is_better": True} for number in range(7)]


def score(value, paper=None):
    ours = {"value": value, "low": value - 1, "high": value + 1}
    published = {"value": paper, "source": "Table 2", "comparable": True} if paper is not None else None
    return {"ours": ours, "published": published}


DATA = {
    "name": "re-main-tiny",
    "title": "A title",
    "commits": ["abcdef0123456789"],
    "dirty": False,
    "date": "2026-11-29",
    "command": "make re-main SCALE=tiny",
    "missing": [],
    "columns": COLUMNS,
    "rows": [
        {
            "row": "a | b",
            "seeds": [0, 1],
            "expected_seeds": [0, 1, 2],
            "scores": {column["name"]: score(20.04, 90.5 if column["name"] == "s0" else None) for column in COLUMNS},
        }
    ],
    "claims": [
        {
            "text": "A beats B",
            "column": "s0",
            "published": "+2",
            "verdict": "undecided",
            "estimate": {"value": 1.0, "low": -1.0, "high": 3.0},
            "p": 0.5,
            "smallest_detectable": 4.0,
            "note": "",
        }
    ],
    "figures": ["re-main-tiny-claims.svg", "re-main-tiny-rows.svg"],
}


@pytest.fixture
def page(tmp_path):
    results = tmp_path / "docs" / "results"
    results.mkdir(parents=True)
    (results / "re-main-tiny.json").write_text(json.dumps(DATA))

    def write(words, name="docs/re.md"):
        text = f"Before.\n\n<!-- results: {words} -->\nold\n<!-- end -->\n\nAfter.\n"
        made = rewritten(text, tmp_path / name, results)
        assert rewritten(made, tmp_path / name, results) == made
        assert made.startswith("Before.\n") and made.endswith("\nAfter.\n") and "old" not in made
        return made

    return write


def test_a_table_has_at_most_six_columns_and_says_its_gaps(page):
    lines = [line for line in page("re-main-tiny table").split("\n") if line.startswith("|")]
    assert lines[0] == "|  | s0 (%) | s1 | s2 | s3 | s4 |"
    assert "a \\| b (2/3) | 20.0 [19.0, 21.0] (paper 90.5) | 20.040 [19.040, 21.040]" in lines[2]


def test_chosen_columns_are_shown_in_their_order(page):
    assert "|  | s6 | s0 (%) |" in page("re-main-tiny table columns=s6,s0")


def test_verdicts_have_claim_paper_ours_verdict(page):
    made = page("re-main-tiny verdicts")
    assert "| claim | paper | ours | verdict |" in made
    assert "| A beats B | +2 | +1.0 [\u22121.0, 3.0] s0 | **undecided**, p 0.500; could have seen 4.0 |" in made


@pytest.mark.parametrize("kind", ["table", "verdicts", "figure", "provenance"])
def test_every_part_ends_with_where_it_comes_from(page, kind):
    last = "Commit `abcdef0`; 2026-11-29; seeds 0, 1; `make re-main SCALE=tiny`; "
    assert f"{last}[data](results/re-main-tiny.json)\n\n<!-- end -->" in page(f"re-main-tiny {kind}")
    assert f"{last}[data](docs/results/re-main-tiny.json)\n\n" in page(f"re-main-tiny {kind}", "README.md")


def test_a_figure_is_linked_from_where_the_page_lies(page):
    assert "](results/re-main-tiny-claims.svg)" in page("re-main-tiny figure")
    assert "](docs/results/re-main-tiny-rows.svg)" in page("re-main-tiny figure rows", "README.md")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("re-main-tiny", "is no part"),
        ("re-main-tiny tables", "is no part"),
        ("re-main-tin table", "re-main-tiny"),
        ("re-main-tiny table columns=s9", "no column 's9'"),
        ("re-main-tiny table columns=s0,s1,s2,s3,s4,s5", "up to 5 names"),
        ("re-main-tiny figure curves", "no figure 'curves'"),
        ("re-main-tiny verdicts all", "takes nothing more"),
    ],
)
def test_a_marker_that_names_nothing_is_refused_by_line(page, words, told):
    with pytest.raises(UserError, match=told) as error:
        page(words)
    assert "re.md, line 3" in str(error.value)


@pytest.mark.parametrize("text", ["", "\n\n<!-- results: re-main-tiny table -->\n<!-- end -->"])
def test_a_part_without_an_end_is_refused(tmp_path, page, text):
    with pytest.raises(UserError, match="has no end"):
        rewritten(
            f"<!-- results: re-main-tiny verdicts -->{text}\n", tmp_path / "docs/re.md", tmp_path / "docs/results"
        )


TABLE = "| row | a | b |\n|---|---|---|\n| x | {} | {} |\n"


@pytest.mark.parametrize(
    "cells", [("1.0", "2"), ("**58.7** [1, 2]", "-0.1"), (".36", "200 MiB"), ("\u22121.4", "3 of 3")]
)
def test_a_measured_table_counts_until_it_is_generated_or_marked(cells):
    table = TABLE.format(*cells)
    assert unmarked_tables(f"text\n{table}") == [2]
    assert unmarked_tables(f"<!-- no receipt: 2026-11-28 -->\n\n{table}") == []
    assert unmarked_tables(f"<!-- no receipt: 2026-11-28 20c3f6a -->\n{table}") == []
    assert unmarked_tables(f"<!-- no receipt -->\n{table}") == [2]
    assert unmarked_tables(f"<!-- results: a table -->\n{table}<!-- end -->\n\n{table}") == [7]


def test_a_table_of_words_is_not_measured():
    assert unmarked_tables(TABLE.format("beta is 0.1", "2.5")) == []
