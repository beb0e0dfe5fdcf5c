"""What the pages show of a measured table is what ``docs/results`` holds, and leads to commit, config and command."""

import json
import re
from pathlib import Path

import pytest

from sweeps.planning import definition
from sweeps.reporting.pages import index, pages, rewritten, unmarked_tables

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
PAPERS = ("re", "longrag", "amft", "infifpo", "implicit_reward")
WAITING = {"re": 4, "longrag": 12, "amft": 6, "infifpo": 2, "implicit_reward": 4}
"""Measured tables of a page that are not yet generated or marked ``<!-- no receipt: DATE -->``: may only fall."""


@pytest.mark.parametrize("page", pages(ROOT), ids=lambda page: page.name)
def test_generated_parts_are_what_the_data_give(page):
    text = page.read_text(encoding="utf-8")
    assert rewritten(text, page, RESULTS) == text, "run papergrid publish --pages"


def test_the_index_is_what_the_data_give():
    assert (RESULTS / "README.md").read_text(encoding="utf-8") == index(RESULTS), "run papergrid publish --pages"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_published_data_name_their_commit_config_and_command(path):
    data = json.loads(path.read_text(encoding="utf-8"))
    assert data["name"] == path.stem
    assert re.fullmatch(r"[0-9a-f]{40}", data["commit"]) and data["commit"] in data["commits"]
    assert re.match(rf"make {data['sweep'].replace('/', '-')} SCALE={data['scale']}", data["command"])
    assert (ROOT / data["config"]["file"]).is_file() and data["scale"] in definition.load(data["sweep"]).scales
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", data["date"]) and data["hardware"] and data["versions"]["python"]
    done = [cell for cell in data["cells"] if cell["status"] == "done"]
    assert done and all(cell["signature"] and cell["commit"] and cell["overrides"] and cell["scores"] for cell in done)
    assert len(done) == len(data["cells"]) or data["missing"]
    for name in (path.with_suffix(".csv").name, *data["figures"]):
        assert (RESULTS / name).is_file(), name


@pytest.mark.parametrize("page", [*pages(ROOT), RESULTS / "README.md"], ids=lambda page: page.name)
def test_linked_results_are_there(page):
    links = re.findall(r"\]\(([^()\s#]+\.(?:json|csv|svg|png))\)", page.read_text(encoding="utf-8"))
    lost = [link for link in links if "://" not in link and not (page.parent / link).is_file()]
    assert not lost


@pytest.mark.parametrize("name", PAPERS)
def test_a_measured_table_is_generated_or_says_that_it_has_no_receipt(name):
    found = unmarked_tables((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8"))
    assert len(found) <= WAITING.get(name, 0), f"docs/{name}.md: tables at lines {found}"
