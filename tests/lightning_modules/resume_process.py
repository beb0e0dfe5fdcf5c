"""A training in a process of its own, to be killed: run as a module with FOLDER, TOKENIZER, its SIZE and KIND.

Writes ``steps.jsonl`` (the example ids of every step, flushed as they are collated) and ``log.jsonl`` (metrics).
"""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch.loggers import Logger

from lightning_modules.networks.hub.pretrained import Lora
from lightning_modules.relations.re import RelationGenerator
from lightning_modules.training.fit import fit
from tests.lightning_modules.tiny_models import Corpus, tiny

EPOCHS = 8


class LinesLogger(Logger):
    """Appends every row to a file."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    name = "lines"
    version = "0"

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step=None):
        with self.path.open("a") as stream:
            stream.write(json.dumps({"step": step, **metrics}, sort_keys=True) + "\n")


class RecordedGenerator(RelationGenerator):
    """Records which examples each step sees."""

    def collate(self, items):
        with (self.folder / "steps.jsonl").open("a") as stream:
            stream.write(json.dumps([item.example_id for item in items]) + "\n")
        return super().collate(items)


def train(folder, tokenizer, kind, *, checkpoint_every=0.0001, progress=None):
    """Trains to the end in ``folder`` (from its checkpoint, if any) and returns the module."""
    torch.set_num_threads(1)
    options = {"decoder_dropout": 0.2, "dropout": 0.1} if kind == "marked" else {}
    if kind == "causal":
        options["lora"] = Lora(r=2, alpha=4, dropout=0.1, target_modules=["q_proj", "v_proj"])
    module = RecordedGenerator(model=tiny(kind, tokenizer, **options), seed=3)
    module.folder = folder
    data = Corpus(seed=3, batch_size=4)
    module.attach(data)
    fit(
        module,
        data,
        folder=folder,
        max_epochs=EPOCHS,
        accelerator="cpu",
        checkpoint_every=checkpoint_every,
        log_every=1,
        loggers=[LinesLogger(folder / "log.jsonl")],
        progress=progress,
    )
    return module


if __name__ == "__main__":
    train(Path(sys.argv[1]), (Path(sys.argv[2]), int(sys.argv[3])), sys.argv[4])
