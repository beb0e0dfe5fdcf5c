"""What it costs to score preference pairs with the sources, against the preference trainings that read the scores.

    python -m benchmarks.source_scoring outputs/sweeps/infifpo-main-tiny       a table whose cells are on this machine

Reads the seconds that cells and stages have recorded; runs nothing. Scores are stages: built once for a seed's pairs,
and read by every row that fuses sources.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", type=Path, help="folder of a sweep's table, with its receipt.json")
    folder: Path = parser.parse_args().table
    try:
        rows = json.loads((folder / "receipt.json").read_text(encoding="utf-8"))["rows"]
    except FileNotFoundError:
        print(f"{folder} has no receipt.json: give the folder of a finished table", file=sys.stderr)
        return 2
    root = folder.parent.parent
    scored: dict[str, dict[str, float]] = defaultdict(dict)
    trained: dict[str, dict[str, float]] = defaultdict(dict)
    readers: dict[str, int] = defaultdict(int)
    for cells in rows.values():
        for seed, signature in cells.items():
            done = json.loads((root / "runs" / signature / "done.json").read_text(encoding="utf-8"))
            own = f"training/{done['training']}"
            sampled = any(stage.startswith("preference_candidates/") for stage in done["stages"])
            if own not in done["stages"] or not sampled:
                continue  # a model that is only looked at, or one that never saw a pair
            scores = [stage for stage in done["stages"] if stage.startswith("source_logps/")]
            trained[seed][own] = _seconds(root, own)
            readers[seed] += bool(scores)
            scored[seed].update((stage, _seconds(root, stage)) for stage in scores)
    print("| seed | preference trainings | that read scores | seconds of training | of scoring | scoring / training |")
    print("|---|---|---|---|---|---|")
    for seed in sorted(trained, key=int):
        training, scoring = sum(trained[seed].values()), sum(scored[seed].values())
        count = len(trained[seed])
        print(f"| {seed} | {count} | {readers[seed]} | {training:.1f} | {scoring:.1f} | {scoring / training:.1%} |")
    return 0


def _seconds(root: Path, stage: str) -> float:
    stored: dict[str, Any] = json.loads((root / "stages" / stage / "stage.json").read_text(encoding="utf-8"))
    return float(stored["seconds"])


if __name__ == "__main__":
    sys.exit(main())
