"""Generated parts of the pages: tables, verdicts and figures between markers, written from ``docs/results``.

A part begins with ``<!-- results: re-main-tiny table -->`` (or ``verdicts``, ``figure``, ``provenance``; behind
``table`` may stand ``columns=a,b``, behind ``figure`` its name) and ends with ``<!-- end -->``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeps.errors import UserError, nearest
from sweeps.execution.ledger import read_json
from sweeps.execution.stages import write_atomically
from sweeps.preflight.plan_view import say
from sweeps.reporting.formats.wording import number, p_value, signed
from sweeps.reporting.table import Column
from sweeps.signatures.signature import ROOT

KINDS = ("table", "verdicts", "figure", "provenance")
SCORES = 5
"""Scores of a table in a page, beside its rows: more do not fit a page's width."""
_BEGIN = re.compile(r"<!-- results: *(?P<words>[^\n]*?) *-->")
_END = "<!-- end -->"
_NO_RECEIPT = re.compile(r"<!-- no receipt: \d{4}-\d\d-\d\d(?: [0-9a-f]{7,40})? -->")
_NUMBER = re.compile(r"[*\[]*[-+\u2212]?\.?\d")


def pages(root: Path = ROOT) -> list[Path]:
    """The pages that may hold generated parts."""
    return sorted([path for path in (root / "README.md", *(root / "docs").glob("*.md")) if path.is_file()])


def write_pages(root: Path = ROOT) -> int:
    """Rewrites the generated parts of all pages, and the index of results."""
    results = root / "docs" / "results"
    texts = {path: rewritten(path.read_text(encoding="utf-8"), path, results) for path in pages(root)}
    if any(results.glob("*.json")):
        texts[results / "README.md"] = index(results)
    for path, text in texts.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_atomically(path, text)
            say(f"written: {path.relative_to(root)}")
    return 0


def rewritten(text: str, page: Path, results: Path) -> str:
    """A page with its generated parts as the data give them.

    Raises:
        UserError: a marker of no known kind, table, column or figure, or one without an end.
    """
    lines, out, number_of = text.split("\n"), list[str](), 0
    while number_of < len(lines):
        line = lines[number_of]
        out.append(line)
        number_of += 1
        found = _BEGIN.fullmatch(line.strip())
        if not found:
            continue
        where = f"{page.name}, line {number_of}"
        rest = [index for index in range(number_of, len(lines)) if lines[index].strip() == _END]
        end = rest[0] if rest else len(lines)
        if not rest or any(_BEGIN.fullmatch(lines[index].strip()) for index in range(number_of, end)):
            raise UserError(f"{where}: the part has no end: write {_END} on a line of its own behind it")
        out += ["", *_part(found["words"].split(), where, page, results), "", _END]
        number_of = end + 1
    return "\n".join(out)


def _part(words: Sequence[str], where: str, page: Path, results: Path) -> list[str]:
    if len(words) not in (2, 3) or words[1] not in KINDS:
        raise UserError(f"{where}: {' '.join(words)!r} is no part: write <!-- results: NAME {'|'.join(KINDS)} -->")
    name, kind, option = words[0], words[1], words[2] if len(words) == 3 else ""
    if option and kind not in ("table", "figure"):
        raise UserError(f"{where}: {kind} takes nothing more, not {option!r}")
    known = sorted(path.stem for path in results.glob("*.json"))
    if name not in known:
        raise UserError(f"{where}: docs/results has no {name!r}: {nearest(name, known)}")
    data = read_json(results / f"{name}.json")
    link = Path(os.path.relpath(results, page.parent)).as_posix()
    made = {
        "table": lambda: _table(data, _columns(data, option, where)),
        "verdicts": lambda: _verdicts(data),
        "figure": lambda: _figure(data, option, link, where),
        "provenance": list[str],
    }[kind]()
    return [*made, *([""] if made else []), provenance(data, link)]


def _columns(data: Mapping[str, Any], option: str, where: str) -> list[Column]:
    known = {one["name"]: Column(one["name"], one["percent"], one["higher_is_better"]) for one in data["columns"]}
    if not option:
        return list(known.values())[:SCORES]
    key, _, value = option.partition("=")
    names = value.split(",")
    if key != "columns" or len(names) > SCORES:
        raise UserError(f"{where}: {option!r} is no choice of columns: write columns= and up to {SCORES} names")
    for name in names:
        if name not in known:
            raise UserError(f"{where}: {data['name']} has no column {name!r}: {nearest(name, known)}")
    return [known[name] for name in names]


def _table(data: Mapping[str, Any], columns: Sequence[Column]) -> list[str]:
    head = ["", *(f"{column.name} (%)" if column.percent else column.name for column in columns)]
    lines = [_line(head), "|---" * len(head) + "|"]
    for row in data["rows"]:
        gaps = "" if row["seeds"] == row["expected_seeds"] else f" ({len(row['seeds'])}/{len(row['expected_seeds'])})"
        shown = [_score(row["scores"][column.name], column) for column in columns]
        lines.append(_line([_plain(row["row"]) + gaps, *shown]))
    return lines


def _score(score: Mapping[str, Any], column: Column) -> str:
    ours, paper = score["ours"], score["published"]
    text = f"{number(ours['value'], column)} {_interval(ours, column)}" if ours else ""
    if paper and paper["value"] is not None:
        apart = "" if paper["comparable"] else ", not comparable"
        text += f" (paper {paper['value']:g}{apart})"
    return text.strip()


def _interval(found: Mapping[str, float], column: Column) -> str:
    return f"[{number(found['low'], column)}, {number(found['high'], column)}]"


def _verdicts(data: Mapping[str, Any]) -> list[str]:
    if not data["claims"]:
        return ["This table answers no claim."]
    columns = {one["name"]: Column(one["name"], one["percent"], one["higher_is_better"]) for one in data["columns"]}
    lines = [_line(["claim", "paper", "ours", "verdict"]), "|---|---|---|---|"]
    for claim in data["claims"]:
        column, found = columns[claim["column"]], claim["estimate"]
        ours = f"{signed(found['value'], column)} {_interval(found, column)} {column.name}" if found else ""
        verdict = f"**{claim['verdict']}**"
        if claim["p"] is not None:
            verdict += f", p {p_value(claim['p'])}"
        if claim["verdict"] == "undecided":
            seen = claim["smallest_detectable"]
            verdict += f"; could have seen {number(seen, column)}" if seen is not None else ""
            verdict += f"; {_plain(claim['note'])}" if claim["note"] else ""
        lines.append(_line([_plain(claim["text"]), _plain(claim["published"]), ours, verdict]))
    return lines


def _figure(data: Mapping[str, Any], option: str, link: str, where: str) -> list[str]:
    kinds = [name.removeprefix(f"{data['name']}-").removesuffix(".svg") for name in data["figures"]]
    kind = option or ("claims" if "claims" in kinds else "rows")
    if kind not in kinds:
        raise UserError(f"{where}: {data['name']} has no figure {kind!r}: {nearest(kind, kinds)}")
    return [f"![{_plain(data['title'])}: {kind}]({link}/{data['name']}-{kind}.svg)"]


def provenance(data: Mapping[str, Any], link: str) -> str:
    """Where a part comes from, in one line."""
    seeds = sorted({seed for row in data["rows"] for seed in row["seeds"]})
    commits = ", ".join(f"`{commit[:7]}`" for commit in data["commits"])
    unclean = " with uncommitted changes" if data["dirty"] else ""
    parts = [
        f"Commit{'s' if len(data['commits']) > 1 else ''} {commits}{unclean}",
        data["date"],
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}",
        f"`{data['command']}`",
        *([f"{len(data['missing'])} rows with gaps"] if data["missing"] else []),
        f"[data]({link}/{data['name']}.json)",
    ]
    return "; ".join(parts)


def index(results: Path) -> str:
    """The page of all published tables."""
    lines = [
        "# Published results",
        "",
        "Every table with its data (JSON, CSV): cells, scores, claims, commit, command, versions.",
        "This page is generated; `papergrid publish sweep=<paper>/<table> scale=<scale>` adds to it.",
        "",
        _line(["table", "scale", "claims", "commit", "date", "data"]),
        "|---|---|---|---|---|---|",
    ]
    for path in sorted(results.glob("*.json")):
        data = read_json(path)
        verdicts = [claim["verdict"] for claim in data["claims"]]
        counts = ", ".join(f"{verdicts.count(kind)} {kind}" for kind in ("holds", "fails", "undecided"))
        state = f"`{data['commit'][:7]}`{' (dirty)' if data['dirty'] else ''}"
        changed = f" with {' '.join(data['config']['changed'])}" if data["config"]["changed"] else ""
        gaps = " (partial)" if data["missing"] else ""
        files = f"[JSON]({path.name}), [CSV]({path.with_suffix('.csv').name})"
        name = _plain(f"{data['sweep']}{changed}{gaps}")
        lines.append(_line([name, data["scale"], counts, state, data["date"], files]))
    return "\n".join(lines) + "\n"


def unmarked_tables(text: str) -> list[int]:
    """Lines (from 1) of the measured tables that are neither generated nor marked ``<!-- no receipt: DATE -->``.

    A table is measured when one of its rows has two cells, behind the first, that begin with a number.
    """
    found, generated, lines = [], False, text.split("\n")
    for place, line in enumerate(lines):
        generated = bool(_BEGIN.fullmatch(line.strip())) or (generated and line.strip() != _END)
        starts = line.lstrip().startswith("|") and (place == 0 or not lines[place - 1].lstrip().startswith("|"))
        if not starts or generated:
            continue
        length = next((n for n, one in enumerate(lines[place:]) if not one.lstrip().startswith("|")), len(lines))
        rows = [[cell.strip() for cell in one.strip().strip("|").split("|")] for one in lines[place : place + length]]
        measured = any(sum(bool(_NUMBER.match(cell)) for cell in row[1:]) >= 2 for row in rows[2:])
        above = [one.strip() for one in lines[max(0, place - 2) : place] if one.strip()]
        if measured and not (above and _NO_RECEIPT.fullmatch(above[-1])):
            found.append(place + 1)
    return found


def _line(parts: Sequence[str]) -> str:
    return f"| {' | '.join(parts)} |"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


if __name__ == "__main__":
    sys.exit(write_pages())
