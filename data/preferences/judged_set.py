"""Instructions whose responses a judge compares with a baseline's (AlpacaEval 2), as a data object.

Without a judge the responses are written and measured, and no win is reported: never an invented number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from data.endpoints.judge import ChatJudge
from data.files.jsonl import lines_for, read_lines
from data.files.rows import columns, text
from data.files.sources import digest_of, read_rows
from data.files.stages import Stages
from data.loading.item_data import ItemData
from data.preferences.length_control import length_controlled
from data.records.builders import MadeBy
from data.records.texts import Completion, Demonstration

_FILE = "judgements.jsonl"


@columns(instruction=text, output=text)
def judged_row(row: dict[str, Any], index: int) -> Demonstration:
    """AlpacaEval: ``instruction``, and the baseline's ``output``."""
    return Demonstration(str(index), row["instruction"], row["output"])


class JudgedSet(ItemData):
    """See the module's text. It has the split test alone.

    Args:
        name: what the set is called in messages.
        files: ``test``: rows with ``instruction`` and the baseline's ``output``.
        judge: compares.
        limit: at most so many instructions; ``None``: all.
        batch_size, seed: as every data object has them; nothing is trained here.
    """

    scored_by: tuple[str, ...] = ("data.scoring.columns", "data.scoring.probes")

    def __init__(
        self,
        *,
        name: str,
        files: Mapping[str, str],
        judge: ChatJudge,
        batch_size: int,
        seed: int,
        limit: int | None = None,
    ) -> None:
        if set(files) != {"test"}:
            raise ValueError(f"{name} has the split test alone, got files for {', '.join(files) or 'none'}")
        if limit is not None and limit < 2:
            raise ValueError(f"data.limit must be at least 2, got {limit}")
        self.name, self.files, self.judge, self.limit = name, dict(files), judge, limit
        self.batch_size, self.seed = int(batch_size), int(seed)
        self._stages: Stages | None = None
        self._progress: Callable[[int, int], None] | None = None
        self._read: list[Demonstration] | None = None

    def prepare(self, stages: Stages, progress: Callable[[int, int], None] | None = None) -> None:
        """Note where judgements are kept: none is paid for twice."""
        self._stages, self._progress = stages, progress

    def items(self, split: str, limit: int | None = None) -> Sequence[Demonstration]:
        """Instructions with the baseline's response. ``ValueError`` for another split, or rows without the fields."""
        if split != "test":
            raise ValueError(f"{self.name} has no split {split!r}: it has test")
        if self._read is None:
            rows = read_rows(self.files["test"])[: self.limit]
            self._read = [judged_row(row, number) for number, row in enumerate(rows)]
        return self._read[:limit]

    def frame(self, completions: Sequence[Completion]) -> pd.DataFrame:
        """What was written as a frame, one row per instruction, of its first response.

        Columns: example_id, prompt, response, finished, response_tokens, response_bytes, baseline_bytes; with a judge
        also win_rate (share in which the response was preferred) and lc_win_rate (see ``length_controlled``).
        """
        known = {item.id: item for item in self.items("test")}
        first = [one for one in completions if one.sample == 0]
        frame = pd.DataFrame(
            {
                "example_id": [one.example_id for one in first],
                "prompt": [known[one.example_id].prompt for one in first],
                "response": [one.response for one in first],
                "finished": [float(one.finished) for one in first],
                "response_tokens": [one.tokens for one in first],
                "response_bytes": [len(one.response.encode()) for one in first],
                "baseline_bytes": [len(known[one.example_id].response.encode()) for one in first],
            }
        )
        if self.judge.endpoint is None:
            return frame
        wins = self._judged([(known[one.example_id], one.response) for one in first])
        apart = (frame["response_bytes"] - frame["baseline_bytes"]).tolist()
        return frame.assign(win_rate=wins, lc_win_rate=length_controlled(wins, apart))

    def _judged(self, asked: Sequence[tuple[Demonstration, str]]) -> list[float]:
        """Judgements in order, from a stage that goes on where an interrupted one stopped."""
        if self._stages is None:
            raise ValueError("where judgements are kept is not known: call data.prepare(stages) first")
        key = {
            "judge": self.judge.identity,
            "texts": digest_of([[item.prompt, response, item.response] for item, response in asked]),
        }

        def judge(number: int) -> float:
            item, response = asked[number]
            return self.judge.preference(item.prompt, response, item.response)

        build = lines_for(_FILE, len(asked), judge, self._progress)
        path = self._stages.get("judgements", key, MadeBy(build, (self.judge,))) / _FILE
        return [float(win) for win in read_lines(path)]
