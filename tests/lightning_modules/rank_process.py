"""Trainings on two processes: the test's own is rank 0, and ``python -m tests.lightning_modules.rank_process`` rank 1.

Rank 1 reads one JSON task a line and answers each with "done", or with the error it ended in.
"""

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from data.files.stages import TemporaryStages
from lightning_modules.distributed.processes import Group
from lightning_modules.losses.sft import sft_loss
from lightning_modules.networks.hub.pretrained import Lora
from lightning_modules.preference.module import PreferenceOptimisation
from lightning_modules.relations.re import RelationGenerator
from lightning_modules.sampling.sampler import Sampler
from lightning_modules.sft.sft import Sft
from lightning_modules.training.fit import fit
from tests.lightning_modules.objectives import objective
from tests.lightning_modules.resume_process import LinesLogger
from tests.lightning_modules.tiny_models import Corpus, tiny
from tests.lightning_modules.tiny_world import SumData

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 3
BATCH = 3
"""Ten sentences in batches of 3, 3, 3 and 1: shares of 2 and 1, and in the last batch nothing for rank 1."""

STEPS = EPOCHS * 4


class Broken(Exception):
    pass


class Breakable(RelationGenerator):
    """Ends in every process alike before a step, or spoils the loss in one process."""

    break_at = None
    spoilt_rank = None

    def losses(self, batch):
        if self.global_step == self.break_at:
            raise Broken
        losses, tokens = super().losses(batch)
        return losses * (float("nan") if self.spoilt_rank == self.global_rank else 1.0), tokens


def train(
    folder, tokenizer, kind, *, strategy="auto", group=None, break_at=None, spoilt_rank=None, lora=False, half=False,
    precision="32-true",
):  # fmt: skip
    """Trains without dropout; ``half`` weights were stored in 16 bits. Returns the module."""
    torch.set_num_threads(1)
    folder = Path(folder)
    options = {"lora": Lora(r=2, alpha=4, dropout=0.0, target_modules=["q_proj", "v_proj"])} if lora else {}
    if kind in METHODS:
        module, data = METHODS[kind](tiny("causal", tokenizer, **options))
    else:
        module, data = Breakable(model=tiny(kind, tokenizer, **options), seed=3), Corpus(seed=3, batch_size=BATCH)
        module.break_at, module.spoilt_rank = break_at, spoilt_rank
    module.attach(data)
    if half:
        module.network.to(torch.bfloat16)
    if isinstance(module, PreferenceOptimisation):
        module.prepare(data, TemporaryStages())
    for part in module.network.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if hasattr(part, "dropout") and isinstance(part.dropout, float):
            part.dropout = 0.0
    fit(
        module,
        data,
        folder=folder,
        max_epochs=EPOCHS,
        precision=precision,
        accelerator="cpu",
        devices=2 if group else 1,
        strategy=strategy,
        checkpoint_every=0.0001,
        log_every=1,
        loggers=[] if group and group.rank else [LinesLogger(folder / "log.jsonl")],
        group=group,
    )
    return module


def sft(model):
    return Sft(model=model, seed=3, sampler=Sampler(max_tokens=3), loss=sft_loss, packing=64), SumData(seed=3)


def dpo(model):
    options = {"seed": 3, "sampler": Sampler(max_tokens=3), "objective": objective("dpo"), "chunk": 7}
    return PreferenceOptimisation(model=model, **options), SumData(pairs=True, seed=3)


METHODS = {"sft": sft, "dpo": dpo}


class SecondRank:
    """Rank 1, kept for many trainings: to import everything takes it longer than to train."""

    def __init__(self):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.lightning_modules.rank_process"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._meetings = 0

    def train(self, folder, tokenizer, kind, **options):
        """Trains on both ranks. Returns rank 0's module, or the exception it ended in, and rank 1's answer."""
        self._meetings += 1
        folder.mkdir(parents=True, exist_ok=True)
        meeting = folder.parent / f"meeting-{self._meetings}"
        task = {"folder": str(folder), "tokenizer": [str(tokenizer[0]), tokenizer[1]], "kind": kind, **options}
        self._process.stdin.write(json.dumps({**task, "meeting": str(meeting)}) + "\n")
        self._process.stdin.flush()
        try:
            outcome = train(folder, tokenizer, kind, group=Group(0, meeting), **options)
        except Exception as error:
            outcome = error
        if not select.select([self._process.stdout], [], [], 60)[0]:
            self._process.kill()
            return outcome, "no answer in a minute"
        return outcome, self._process.stdout.readline().strip()

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def main():
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        task = json.loads(line)
        group = Group(1, Path(task.pop("meeting")))
        try:
            train(task.pop("folder"), tuple(task.pop("tokenizer")), task.pop("kind"), group=group, **task)
            print("done", file=answers)
        except Exception as error:
            print(f"{type(error).__name__}: {error}".splitlines()[0], file=answers)


if __name__ == "__main__":
    main()
