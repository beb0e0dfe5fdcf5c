"""A small sweep whose outcomes follow from arithmetic alone, so that its files are the same everywhere.

python -m tests.sweeps.example_table      # writes the golden files anew; look at the difference before keeping them
"""

from pathlib import Path

import pandas as pd

from data.scoring.registry import all_scores
from sweeps.reporting.render import FORMATS, render
from sweeps.reporting.table import Claim, Published, RowRuns, Table, build_table

SCORES = all_scores()

LABELS = ("Cause-Effect(e1,e2)", "Component-Whole(e2,e1)", "Message-Topic(e1,e2)", "Entity-Origin(e1,e2)", "Other")
EXAMPLES = 400
LABELLED = "Fine-tuned, + labelled neighbour & 5% <noise>_x"  # characters that some format takes as a command


def frame(seed: int, arm: int, right: int) -> pd.DataFrame:
    """Examples of which about `right` in 1000 are answered rightly: half of an answer is the example's, half chance."""
    lines = []
    for number in range(EXAMPLES):
        gold = LABELS[(number * 7) % len(LABELS)]
        ease = (number * 7919 + 13) % 1000
        chance = (number * 104_729 + seed * 7_907 + arm * 3_571 + number * number * (seed + 3 * arm + 1)) % 1000
        luck = (seed * 37 + arm * 11) % 20 - 10
        wrong = LABELS[(number * 7 + 1 + chance % 4) % len(LABELS)] if chance % 17 else ""
        lines.append((f"{number:04d}", gold, gold if (ease + chance) / 2 < right + luck else wrong, "", ""))
    return pd.DataFrame(lines, columns=["example_id", "gold", "prediction", "output", "retrieved"])


def rows() -> list[RowRuns]:
    seeds = (0, 1, 2, 3, 4)
    return [
        RowRuns("Constant class", {0: frame(0, 9, 100)}, (0,), deterministic=True),
        RowRuns("Zero-shot, simple", {0: frame(0, 1, 340)}, (0,), deterministic=True),
        RowRuns("Fine-tuned, simple", {seed: frame(seed, 2, 640) for seed in seeds}, seeds),
        RowRuns("Fine-tuned, + unlabelled neighbour", {seed: frame(seed, 3, 645) for seed in seeds}, seeds),
        RowRuns(LABELLED, {seed: frame(seed, 4, 720) for seed in seeds[:3]}, seeds, ("seeds 3, 4: out of memory",)),
        RowRuns("Fine-tuned, k = 10", {}, seeds),
    ]


PUBLISHED = (
    Published("Zero-shot, simple", "macro_f1", 12.9, "released outputs, rescored", "measured"),
    Published("Fine-tuned, simple", "macro_f1", 90.5, "abstract of 2406.14745v1", "third-party summary"),
    Published("Fine-tuned, + unlabelled neighbour", "macro_f1", None, "table 4 of 2406.14745v1", "not seen"),
    Published(
        LABELLED,
        "accuracy",
        86.59,
        "results/metrics of the release",
        "measured",
        comparable=False,
        note="F1 of the single class no_relation",
    ),
)
CLAIMS = (
    Claim(
        "tuning",
        "Fine-tuning beats zero-shot",
        "greater",
        "Fine-tuned, simple",
        "Zero-shot, simple",
        "macro_f1",
        "90.5 against 12.9",
    ),
    Claim(
        "retrieval",
        "Retrieval helps the fine-tuned model",
        "greater",
        "Fine-tuned, + unlabelled neighbour",
        "Fine-tuned, simple",
        "macro_f1",
        "+1.5",
    ),
    Claim(
        "label",
        "The labelled neighbour beats the unlabelled one",
        "greater",
        LABELLED,
        "Fine-tuned, + unlabelled neighbour",
        "accuracy",
    ),
    Claim("yardstick", "Fine-tuning reaches 84", "at_least", "Fine-tuned, simple", 84.0, "macro_f1"),
    Claim(
        "same",
        "An unlabelled neighbour changes nothing (within 5 points)",
        "equal_within",
        "Fine-tuned, + unlabelled neighbour",
        "Fine-tuned, simple",
        "macro_f1",
        margin=5.0,
    ),
    Claim("more", "Ten neighbours beat one", "greater", "Fine-tuned, k = 10", "Fine-tuned, simple", "macro_f1"),
)


def example_table() -> Table:
    return build_table(
        "Relation extraction, simple against retrieval-augmented (smoke scale)",
        "Does a retrieved sentence in the prompt help, before and after fine-tuning?",
        ["macro_f1", "accuracy", "invalid_rate"],
        rows(),
        PUBLISHED,
        CLAIMS,
        SCORES,
        command="papergrid sweep sweep=re/main scale=tiny",
        notes=["The test is its open half (1,363 of 2,717 sentences)."],
    )


GOLDEN = Path(__file__).parent / "golden"


def golden_texts() -> dict[str, str]:
    return {f"table.{style}.txt": render(example_table(), style, width=100, colour=False) for style in FORMATS}


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, text in golden_texts().items():
        (GOLDEN / name).write_text(text, encoding="utf-8")
