"""What the pages name is there: files, links, commands, sweeps. Their form is held where a form was agreed."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from sweeps.cli import COMMANDS
from sweeps.planning import definition

ROOT = Path(__file__).resolve().parent.parent
LAB = ROOT / "docs/LAB.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
# Lab notes keep the names of their day, and so does the list of changes.
CURRENT = [page for page in PAGES if page != LAB and page.name != "CHANGELOG.md"]
FOLDERS = ("conf", "data", "docs", "lightning_modules", "sweeps", "tests", "benchmarks", "hydra_plugins")
MAKE = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
MADE = MAKE | {name.replace("/", "-") for name in definition.names()}
each_page = pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.stem)


def code(text: str) -> list[str]:
    """Fenced blocks line by line, then what stands between backticks in prose."""
    blocks = re.findall(r"^```.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`]+)`", prose)


def expanded(path: str) -> list[str]:
    """``a_{b,c}.yaml`` as ``a_b.yaml`` and ``a_c.yaml``."""
    found = re.search(r"\{([^{}]*,[^{}]*)\}", path)
    if not found:
        return [path]
    return [one for part in found[1].split(",") for one in expanded(path[: found.start()] + part + path[found.end() :])]


def paths(text: str) -> list[str]:
    """What begins with a folder of the repository, and file names of Python in prose, which need their folder."""
    text = re.sub(r"^[├└│ ]*\w+\.py .*$|^  +.*/ .*$", "", text, flags=re.MULTILINE)  # lines of a drawn tree
    words = [word.strip(",;:()").split("::")[0] for piece in code(text) for word in piece.split()]
    looks = [word for word in words if re.fullmatch(r"[\w.*{},<>/-]+", word)]
    return [
        one
        for word in looks
        if word.startswith(tuple(f"{name}/" for name in FOLDERS)) or word.endswith(".py")
        for one in expanded(word)
    ]


def missing(path: str) -> bool:
    """A placeholder in angle brackets stands for anything; the folder before it has to be there."""
    return not any(ROOT.glob(re.sub(r"<\w+>", "*", path).rstrip("/")))


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_a_path_is_recognised_and_a_missing_one_is_seen():
    text = (
        "See `data/nowhere.py::test_x`, `data/{records,nothing}/`, `conf/model/<name>.yaml`, `loose.py` and `re/main`."
    )
    assert paths(text) == ["data/nowhere.py", "data/records/", "data/nothing/", "conf/model/<name>.yaml", "loose.py"]
    assert [path for path in paths(text) if missing(path)] == ["data/nowhere.py", "data/nothing/", "loose.py"]


@each_page
def test_paths_are_there(page):
    gone = [path for path in paths(page.read_text()) if missing(path)]
    assert not gone, f"{page.name} names {gone}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists() and other.is_relative_to(ROOT), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", other.read_text(), re.MULTILINE)
            assert anchor in map(slug, headings), f"{page.name} links to {target}"


@each_page
def test_commands_and_sweeps_are_there(page):
    text = page.read_text()
    pieces = code(text)
    for piece in pieces:
        for target in re.findall(r"(?:^|[\s;&])make ([\w<>-]+)", piece):
            assert "<" in target or target in MADE, f"{page.name}: make {target}"
        for command in re.findall(r"(?:^|[\s/])papergrid +([a-z]+)", piece):
            assert command in {*COMMANDS, "help"}, f"{page.name}: papergrid {command}"
        for name in re.findall(r"\bsweep=([\w/]+)", piece):
            assert name in definition.names(), f"{page.name}: sweep={name}"
        for module in re.findall(r"python -m ((?:sweeps|data|benchmarks)[\w.]*)", piece):
            assert (ROOT / f"{module.replace('.', '/')}.py").exists(), f"{page.name}: python -m {module}"
    papers = {name.split("/")[0] for name in definition.names()}
    for piece in pieces:
        if re.fullmatch(r"\w+/\w+", piece) and piece.split("/")[0] in papers:
            assert piece in definition.names(), f"{page.name} names the sweep {piece}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_page_needs_what_is_not_in_the_repository(page):
    text = page.read_text()
    assert not re.search(r"\bsheets?\b", text, re.IGNORECASE), "say which page or which table of the paper"
    outside = [word for word in re.findall(r"[\w./~-]*\.\./[\w./-]+", text) if not (page.parent / word).exists()]
    assert not outside and "../shared" not in text, f"{page.name} names {outside or '../shared'}"


def test_lab_notes_are_newest_first_and_each_heading_says_what_came_out():
    headings = re.findall(r"^## (.*)$", LAB.read_text(), re.MULTILINE)
    assert headings
    for heading in headings:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \S.*[:?] \S.*", heading), f"no verdict after a colon: {heading}"
    dates = [heading[:10] for heading in headings]
    assert all(later >= earlier for later, earlier in pairwise(dates)), "the newest entry goes first"


def test_readme_is_short():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) < 150
    assert max(map(len, lines)) <= 160
