"""The maths grader beside the package math-verify, on pairs whose verdicts were written by hand.

    python -m benchmarks.grader_vs_math_verify [--pairs tests/data/verifiers/pairs.jsonl] [--kind percent]

math-verify gets every final answer in a box, as its users hand it in, and responses as they are. Printed are how often
either agrees with the verdicts, by kind of pair, and each pair on which the two differ, with who is right, or by which
convention of ours the verdict is what it is: another grader may have another. Pairs of the kind "not read" say the same
and are refused by ours.
"""

import argparse
import json
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from data.verifiers.final_answer import correct, equivalent

PAIRS = Path(__file__).resolve().parent.parent / "tests" / "data" / "verifiers" / "pairs.jsonl"


class Pair(NamedTuple):
    """A gold answer and what was answered: a final answer, or a whole response.

    ``convention`` says by which rule of ours a verdict stands that others may see otherwise; "" for most.
    """

    kind: str
    gold: str
    said: str
    whole: bool
    right: bool
    convention: str


class Verdicts(NamedTuple):
    """What both graders say of a pair."""

    pair: Pair
    ours: bool
    theirs: bool


def read_pairs(path: Path = PAIRS) -> list[Pair]:
    """The pairs of a file, one JSON object a line: kind, gold, answer or response, right, convention."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Pair(
            row["kind"],
            row["gold"],
            row.get("response", row.get("answer")),
            "response" in row,
            row["right"],
            row.get("convention", ""),
        )
        for row in rows
    ]


def ours(pair: Pair) -> bool:
    """The verdict of ``data.verifiers.final_answer``."""
    return correct(pair.gold, pair.said) if pair.whole else equivalent(pair.gold, pair.said)


def theirs(pair: Pair) -> bool:
    """The verdict of math-verify."""
    from math_verify import parse, verify

    said = pair.said if pair.whole else f"\\boxed{{{pair.said}}}"
    return bool(verify(parse(f"\\boxed{{{pair.gold}}}"), parse(said)))


def compared(pairs: Iterable[Pair]) -> list[Verdicts]:
    """Both verdicts of every pair."""
    logging.disable(logging.ERROR)
    try:
        return [Verdicts(pair, ours(pair), theirs(pair)) for pair in pairs]
    finally:
        logging.disable(logging.NOTSET)


def report(found: Sequence[Verdicts]) -> str:
    """A table by kind, and one of the differences."""
    lines = [
        "| pairs | number | to accept | ours right | wrongly accepted | math-verify right | wrongly accepted |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in [*dict.fromkeys(one.pair.kind for one in found), ""]:
        rows = [one for one in found if kind in ("", one.pair.kind)]
        wanted = [one.pair.right for one in rows]
        cells: list[object] = [kind or "all", len(rows), sum(wanted)]
        for said in ([one.ours for one in rows], [one.theirs for one in rows]):
            pairs = list(zip(said, wanted, strict=True))
            cells += [sum(a == b for a, b in pairs), sum(a and not b for a, b in pairs)]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "| kind | gold | said | ours | math-verify | right, or convention |", "|---|---|---|---|---|---|"]
    for pair, mine, other in found:
        if mine != other:
            told = ["equal" if verdict else "differ" for verdict in (mine, other)]
            who = pair.convention or ("ours" if mine == pair.right else "math-verify")
            lines.append(f"| {pair.kind} | {_cell(pair.gold)} | {_cell(pair.said)} | {' | '.join(told)} | {who} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    shown = text.replace("\n", " ⏎ ").replace("|", "\\|")
    return f"`` {shown} ``" if shown.strip() else "(nothing)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report; 1 where our grader accepts a pair that it should not, 2 without math-verify."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pairs", type=Path, default=PAIRS)
    parser.add_argument("--kind", help="pairs of this kind alone")
    options = parser.parse_args(arguments)
    try:
        import math_verify  # noqa: F401
    except ImportError:
        print("benchmarks.grader_vs_math_verify compares with math-verify: pip install math-verify", file=sys.stderr)
        return 2
    found = compared(pair for pair in read_pairs(options.pairs) if options.kind in (None, pair.kind))
    print(report(found))
    return int(any(one.ours and not one.pair.right for one in found))


if __name__ == "__main__":
    sys.exit(main())
