"""Every format of a table: golden files, the same numbers everywhere, and text that no format takes as a command."""

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.scoring.registry import all_scores
from sweeps.reporting.figures import intervals as figures
from sweeps.reporting.formats.wording import cell_text, claim_text, column_of, footnotes, number, p_value, signed
from sweeps.reporting.render import FORMATS, render, write_all
from sweeps.reporting.table import Column, RowRuns, build_table
from tests.sweeps.example_table import GOLDEN, LABELLED, example_table, golden_texts, rows

SCORES = all_scores()

PERCENT, RATIO = Column("f1", True, True), Column("loss", False, False)


@pytest.fixture(scope="module")
def table():
    return example_table()


def readable(text: str) -> str:
    """Text of any format with its minus signs, escapes and line breaks made alike."""
    text = text.replace("$-$", "-").replace("\u2212", "-").replace("\\", "").replace("{[}", "[")
    text = text.replace("&lt;", "<").replace("<b>", "").replace("</b>", "").replace('<span class="interval">', "")
    text = text.replace('<div class="interval">', " ").replace("textless{}", "<")
    return " ".join(text.split())


@pytest.mark.parametrize("style", FORMATS)
def test_golden_files(style):
    name = f"table.{style}.txt"
    assert golden_texts()[name] == (GOLDEN / name).read_text(encoding="utf-8"), (
        "this format has changed: python -m tests.sweeps.example_table writes the golden files anew"
    )


@pytest.mark.parametrize("style", ["markdown", "latex", "html"])
def test_the_same_numbers_in_every_format(table, style):
    shown = readable(render(table, style))
    for row in table.cells:
        for cell, column in zip(row, table.columns, strict=True):
            said = cell_text(cell, column, footnotes(table))
            for part in (said.ours, said.paper, said.gap):
                assert readable(part) in shown
    for result in table.claims:
        said = claim_text(result, column_of(table, result.claim.column))
        for part in (said.verdict, said.difference, said.p, said.detectable, said.plan, said.text):
            assert readable(part) in shown


def test_the_same_numbers_in_the_terminal(table):
    shown = readable(render(table, "terminal", width=100, colour=False))
    for row in table.cells:
        for cell, column in zip(row, table.columns, strict=True):
            assert readable(cell_text(cell, column, footnotes(table)).ours) in shown
    for result in table.claims:
        said = claim_text(result, column_of(table, result.claim.column))
        for part in (said.difference.partition(" ")[0], said.difference.partition(" ")[2], said.p, said.detectable):
            assert readable(part) in shown


def test_the_same_numbers_in_csv(table):
    cells = pd.read_csv(StringIO(render(table, "csv")))
    assert len(cells) == len(table.rows) * len(table.columns)
    for found, cell in zip(cells.itertuples(), (cell for row in table.cells for cell in row), strict=True):
        assert (found.row, found.column, found.seeds) == (cell.row, cell.column, cell.seeds)
        if cell.ours:
            assert [found.ours, found.low] == pytest.approx([cell.ours.value, cell.ours.low], rel=1e-5)
        else:
            assert pd.isna(found.ours) and found.missing
        if cell.difference is not None:
            assert found.difference == pytest.approx(cell.difference, rel=1e-5)
    claims = pd.read_csv(StringIO(render(table, "claims_csv")))
    for found, result in zip(claims.itertuples(), table.claims, strict=True):
        assert (found.claim, found.verdict) == (result.claim.id, result.verdict)
        if result.difference:
            assert found.high == pytest.approx(result.difference.high, rel=1e-5)
        if result.p_adjusted is not None:
            assert found.p_holm == pytest.approx(result.p_adjusted, rel=1e-5)
        else:
            assert pd.isna(found.p) and pd.isna(found.p_holm)


def test_files_are_byte_identical(table, tmp_path):
    first, second = (write_all(table, tmp_path / name) for name in ("first", "second"))
    assert {"rows.png", "rows.svg", "claims.png", "claims.svg", *FORMATS} - {"terminal"} == set(first)
    for name, path in first.items():
        assert path.read_bytes() == second[name].read_bytes(), name
        assert path.stat().st_size > 500


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_terminal_keeps_to_its_width_and_says_verdicts_in_words(table, width):
    plain = render(table, "terminal", width=width, colour=False)
    assert max(map(len, plain.split("\n"))) <= width
    assert "\x1b" not in plain
    coloured = render(table, "terminal", width=width, colour=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured).split() == plain.split()
    for word in ("\u2714 holds", "\u2718 fails", "? undecided"):
        assert word in plain


def test_many_columns_go_below_each_other():
    names = ["macro_f1", "accuracy", "invalid_rate", "micro_f1", "other_f1"]
    shown = render(build_table("t", "q", names, rows(), [], [], SCORES), "terminal", width=100, colour=False)
    assert max(map(len, shown.split("\n"))) <= 100
    assert shown.count("Constant class") == 2


def test_a_table_without_results_is_shown():
    empty = build_table("t", "q", ["accuracy"], [RowRuns("a", {}, (0, 1))], [], [], SCORES, command="papergrid sweep")
    for style in FORMATS:
        assert isinstance(render(empty, style), str)
    assert "papergrid sweep" in render(empty, "terminal")


def test_claims_on_scores_of_different_units_have_panels_of_their_own(table):
    half = len(table.claims) // 2
    mixed = [
        replace(result, claim=replace(result.claim, column="accuracy" if index < half else "invalid_rate"))
        for index, result in enumerate(table.claims)
        if result.difference
    ]
    drawn = figures.claims(replace(table, claims=tuple(mixed))).axes
    assert [axes.get_xlabel().split(",")[0].split(" (")[0] for axes in drawn] == [
        "difference in accuracy",
        "difference in invalid_rate",
    ]
    assert sum(len(axes.get_yticks()) for axes in drawn) == len(mixed) > 1


def test_a_table_without_results_has_no_figures(tmp_path):
    empty = build_table("t", "q", ["accuracy"], [RowRuns("a", {}, (0, 1))], [], [], SCORES)
    assert not [name for name in write_all(empty, tmp_path) if name.endswith(("png", "svg"))]


class _Balance(HTMLParser):
    """Counts open tags and notes what would be loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.outside += [value for name, value in attrs if name in ("src", "href")] + ([tag] if tag == "script" else [])
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_is_well_formed_and_alone(table):
    parser = _Balance()
    text = render(table, "html")
    parser.feed(text)
    assert (parser.open, parser.outside) == ([], [])
    assert text.count("<svg") == sum(result.difference is not None for result in table.claims)
    assert "prefers-color-scheme: dark" in text


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=1, max_size=20))
def test_names_stay_names_in_every_format(name):
    table = replace(SMALL, title=name, rows=(name,))
    parser = _Balance()
    parser.feed(render(table, "html"))
    assert parser.open == []
    body = render(table, "latex").split(r"\midrule")[1].replace(" & ", "")
    assert re.search(r"(?<!\\)[&#%_$](?!-\$)", body) is None
    first = render(table, "markdown").split("\n")[6]
    assert len(re.findall(r"(?<!\\)\|", first)) == 4


SMALL = build_table("t", "q", ["accuracy"], [RowRuns("x", rows()[0].runs, (0,))], [], [], SCORES)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(table, tmp_path):
    preamble = r"\documentclass{article}\usepackage{array,booktabs}\begin{document}"
    (tmp_path / "main.tex").write_text(preamble + render(table, "latex") + r"\end{document}", encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


def test_latex_escapes_every_special_character(table):
    text = render(table, "latex")
    assert r"\& 5\% \textless{}noise\textgreater{}\_x" in text
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert LABELLED not in text


@pytest.mark.parametrize(
    ("value", "column", "plain", "with_sign"),
    [
        (84.06, PERCENT, "84.1", "+84.1"),
        (-6.44, PERCENT, "\u22126.4", "\u22126.4"),
        (-0.04, PERCENT, "0.0", "0.0"),
        (0.12345, RATIO, "0.123", "+0.123"),
    ],
)
def test_wording_of_numbers(value, column, plain, with_sign):
    assert (number(value, column), signed(value, column)) == (plain, with_sign)


def test_wording_of_p_values():
    assert (p_value(0.0004), p_value(0.0316)) == ("< 0.001", "0.032")


def test_unknown_format_is_refused(table):
    with pytest.raises(ValueError, match=r"'pdf'.*markdown"):
        render(table, "pdf")
