"""The instruction world asked for values: prefixes, good and corrupted, and what the responses after them are worth."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from data.records.values import PrefixPair, ValueReading
from data.worlds.instructions.data import InstructionData
from data.worlds.instructions.world import DIALECTS, framed, spelt


class InstructionValues(InstructionData):
    """``InstructionData`` whose frame holds what ``data.scoring.values`` compares."""

    scored_by: tuple[str, ...] = ("data.scoring.values",)

    def prefixes(self, split: str, limit: int | None = None) -> list[PrefixPair]:
        """A pair for every example: the right and polite answer up to a digit that its number in the split chooses."""
        pairs = []
        for index, problem in enumerate(self._problems(split, limit)):
            dialect, _, right = problem.hidden
            cut = index % len(right)
            # The digits of a dialect are its words; another digit is any of the nine others.
            other = (right[cut] + 1 + index % 9) % 10
            assert dialect in DIALECTS
            before = framed(dialect, "polite", ()).removesuffix(" .").rstrip()
            good = " ".join([before, spelt(dialect, right[: cut + 1])])
            corrupted = " ".join([before, spelt(dialect, (*right[:cut], other))])
            pairs.append(PrefixPair(problem.id, problem.prompt, good, corrupted))
        return pairs

    def frame(self, readings: Sequence[Any]) -> pd.DataFrame:
        """Readings as a frame, one row per example.

        Columns: good_value, corrupted_value (estimates at the ends of prefixes), good_return, corrupted_return (mean
        gold reward of the responses that follow), separates (1 where the good prefix has the higher estimate, half for
        equal ones), reward_concordance (share of the pairs of responses of different gold reward that the estimated
        reward puts in the right order; NaN without any), end and way (estimates after the end and on the way; NaN
        where there are none), end_square and way_square (means of squares); good_values and corrupted_values (lists).
        """
        readings = list[ValueReading](readings)
        known = {problem.id: problem for split in ("dev", "test") for problem in self._problems(split)}
        rows = []
        for reading in readings:
            problem = known[reading.example_id]

            def gold(texts: Sequence[str], problem: Any = problem) -> np.ndarray:
                return np.array([self.world.gold_reward(problem, text).total for text in texts])

            good, corrupted = reading.good[-1], reading.corrupted[-1]
            ends, ways = np.array(reading.ends or (np.nan,)), np.array(reading.ways or (np.nan,))
            rows.append(
                {
                    "example_id": reading.example_id,
                    "good_value": good,
                    "corrupted_value": corrupted,
                    "good_return": gold(reading.from_good).mean(),
                    "corrupted_return": gold(reading.from_corrupted).mean(),
                    "separates": float(good > corrupted) + 0.5 * float(good == corrupted),
                    "reward_concordance": concordance(reading.rewards, gold(reading.written)),
                    "end": ends.mean(),
                    "end_square": np.square(ends).mean(),
                    "way": ways.mean(),
                    "way_square": np.square(ways).mean(),
                    "good_values": list(reading.good),
                    "corrupted_values": list(reading.corrupted),
                }
            )
        return pd.DataFrame(rows)


def concordance(estimates: Sequence[float], truth: Sequence[float] | np.ndarray) -> float:
    """Share of the pairs of different truth that the estimates order alike, half for equal estimates; NaN for none."""
    found = [
        0.5
        if estimates[one] == estimates[other]
        else float((estimates[one] > estimates[other]) == (truth[one] > truth[other]))
        for one, other in itertools.combinations(range(len(truth)), 2)
        if truth[one] != truth[other]
    ]
    return float(np.mean(found)) if found else float("nan")
