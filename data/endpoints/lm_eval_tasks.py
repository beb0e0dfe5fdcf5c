"""Public benchmarks as a data object: which tasks of the lm-eval harness are asked, and which of its metrics counts.

The harness (https://github.com/EleutherAI/lm-evaluation-harness) loads the tasks' data itself, by hub id; a task of
one's own is a YAML file in a folder (``include``). InfiFPO's authors used OpenCompass and EvalPlus with edited prompts:
numbers of the same benchmark under another harness stand beside theirs, not for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from data.files.rows import anything, columns, maybe, placed, spelt, text, unfit
from data.files.sources import PROJECT
from data.records.benchmarks import BenchmarkAnswer


@columns(filter=text, doc_id=spelt, filtered_resps=anything, metrics=maybe(anything))
def _logged(row: dict[str, Any]) -> dict[str, Any]:
    """What the harness logs of one question; its metrics are columns of their own names."""
    return row


def _score(value: Any, path: str) -> float:
    """A metric of the harness: any number of Python or numpy, true and false too."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise unfit(value, path, "a number") from None


class LmEvalTasks:
    """Tasks of the harness.

    Args:
        tasks: names of tasks or of groups of them.
        metric: which metric of a question is its score, such as "acc" or "exact_match"; one that all tasks have.
        filter: of answers, such as "flexible-extract", where a task has several; ``None``: its first.
        shots: examples in the prompt; ``None``: what the task says.
        include: folder with task files, relative to the project; ``None``: the harness's own tasks only.
        unsafe_code: let tasks run code that the model wrote (HumanEval, MBPP). Best in a container.
        name: what the data are called in tables.
        seed: of the examples in prompts.
    """

    scored_by: tuple[str, ...] = ("data.scoring.columns",)

    def __init__(
        self,
        *,
        tasks: Sequence[str],
        metric: str,
        filter: str | None = None,
        shots: int | None = None,
        include: str | None = None,
        unsafe_code: bool = False,
        name: str = "lm_eval",
        seed: int = 0,
    ) -> None:
        if not tasks:
            raise ValueError("data.tasks names no task: give at least one, such as [gsm8k]")
        if shots is not None and shots < 0:
            raise ValueError(f"data.shots must be at least 0, or null for the task's own, got {shots}")
        folder = None if include is None else (PROJECT / include).resolve()
        if folder is not None and not folder.is_dir():
            raise ValueError(f"data.include is {include!r}, which is no folder: give one with task files, or null")
        self.tasks = tuple(tasks)
        self.metric = metric
        self.filter = filter
        self.shots = shots
        self.include = folder
        self.unsafe_code = bool(unsafe_code)
        self.name = name
        self.seed = int(seed)

    def prepare(self, stages: Any, progress: Any = None) -> None:
        """Nothing: the harness loads what it needs."""

    def answers(self, samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[BenchmarkAnswer]:
        """What the harness logged of each question, with the metric that counts.

        Args:
            samples: by task, as ``lm_eval.simple_evaluate`` returns them.

        Raises:
            ValueError: no question, or a task without the metric or the filter.
        """
        found = []
        for task, rows in samples.items():
            logged = [_logged(row) for row in placed(rows, f"task {task}")]
            filters = list(dict.fromkeys(row["filter"] for row in logged))
            if self.filter is not None and self.filter not in filters:
                raise ValueError(f"task {task} has the filters {', '.join(filters)}, data.filter is {self.filter!r}")
            for place, row in enumerate(logged, start=1):
                if row["filter"] != (self.filter or filters[0]):
                    continue
                if self.metric not in row:
                    known = sorted(row.get("metrics") or ())
                    raise ValueError(f"task {task} has the metrics {', '.join(known)}, data.metric is {self.metric!r}")
                score = _score(row[self.metric], f"task {task}, row {place}: the metric {self.metric}")
                response = str(row["filtered_resps"])[:2000]
                found.append(BenchmarkAnswer(f"{task}/{row['doc_id']}", task, response, score))
        if not found:
            raise ValueError(f"the harness asked no question of {', '.join(self.tasks)}: raise evaluation.limit")
        return found

    def frame(self, answers: Sequence[BenchmarkAnswer]) -> pd.DataFrame:
        """One row for each question: example_id, task, response, success (its score, in [0, 1])."""
        columns = {"id": "example_id", "score": "success"}
        return pd.DataFrame([one._asdict() for one in answers]).rename(columns=columns)
