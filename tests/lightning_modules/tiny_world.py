"""A world of short sums for tests of methods: "a + b =" is answered by the sum, all words of one vocabulary."""

from typing import NamedTuple

import pandas as pd

from data.loading.step_loader import StepLoader
from data.records.texts import Demonstration, PreferencePair
from data.worlds.vocabulary import Vocabulary
from lightning_modules.base import Optimiser
from lightning_modules.networks.decoder.config import TinyModel

LARGEST = 5


class Sum(NamedTuple):
    id: str
    prompt: str
    response: str


def sums():
    return [
        Sum(f"{one}+{other}", f"{one} + {other} =", f"is {one + other}")
        for one in range(LARGEST + 1)
        for other in range(LARGEST + 1)
    ]


class SumData:
    """The part of a data object that methods use. Train and test are the same 36 sums: what is tested is learning."""

    def __init__(self, *, pairs=False, batch_size=12, seed=0):
        self.vocabulary = Vocabulary(("+", "=", "is", *map(str, range(2 * LARGEST + 1))))
        self.pairs = pairs
        self.batch_size = batch_size
        self.seed = seed
        self.collate = None
        self.start_step = 0
        self.count_tokens = None

    def items(self, split, limit=None):
        if split == "train" and self.pairs:
            return [
                PreferencePair(one.id, one.prompt, one.response, f"is {(int(one.response[3:]) + 1) % 11}")
                for one in sums()
            ][:limit]
        return [Demonstration(*one) for one in sums()][:limit]

    def frame(self, completions):
        gold = {one.id: one.response for one in sums()}
        rows = [{"id": one.example_id, "accuracy": float(one.response == gold[one.example_id])} for one in completions]
        return pd.DataFrame(rows)

    @property
    def steps_per_epoch(self):
        return -(-len(self.items("train")) // self.batch_size)

    def train_dataloader(self):
        return StepLoader(
            self.items("train"),
            batch_size=self.batch_size,
            seed=self.seed,
            collate=self.collate,
            start_step=self.start_step,
        )


def tiny_model(*, rate=5e-3, **options):
    return TinyModel(
        optimiser=Optimiser(learning_rate=rate), **{"width": 32, "heads": 4, "layers": 2, "limit": 32, **options}
    )
