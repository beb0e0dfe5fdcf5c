"""Record of one question of a public benchmark."""

from __future__ import annotations

from typing import NamedTuple


class BenchmarkAnswer(NamedTuple):
    """What a model made of a question.

    Attributes:
        id: "<task>/<number>".
        task: of the harness.
        response: what was judged, as text; for tasks with choices the log-probability of each and whether it is greedy.
        score: in [0, 1].
    """

    id: str
    task: str
    response: str
    score: float
