"""A GRPO step of ours against TRL's GRPOTrainer: the same weights, problems and rewards.

    python -m benchmarks.grpo_vs_trl         64 problems of Countdown x 8 rollouts of at most 24 tokens, on one thread
                                             of a processor
    python -m benchmarks.grpo_vs_trl --device cuda --width 512 --layers 8                     on a GPU

Needs the extra ``benchmarks``: pip install -e '.[benchmarks]'.

A step is all that a training pays for: sampling, grading, the loss of the same tokens, gradients, clipping, Adam. The
weights of a ``TinyDecoder`` are put into a Llama of the transformers library; that both compute the same logits is
checked first. TRL gets what suits it: no reference model (beta 0), no logging or saving, one generation per step, all
completions in one micro-batch. Both take the mean over all tokens and divide by the group's standard deviation. The
weights are random, so that next to nobody ends early, which would favour us: here finished rows leave the batch. The
two take turns, so that a busy machine slows both; the first step of each turn is not counted. On a GPU both are in
fp32, TRL is tried with a cache that grows and with a static one, and the ratio is that to the faster of the two. Its
continuous batching took several times as long (docs/LAB.md) and is left out, as is vLLM.

Random weights solve nothing, so rewards are made up, alike for both: answers to a share of the problems (``--equal``)
earn nothing, others a coin that their text decides. Half is what ``amft/main`` has in training (0.46 to 0.54 of RL's
groups over five seeds). Groups with equal rewards have advantage 0: by default we leave them out of the pass with
gradients, which changes no gradient (``method.skip_equal_groups``); "every rollout passed" is ours without that.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from data.reasoning.verified_problems import VerifiedProblems
from data.worlds.cards.countdown import Countdown
from lightning_modules.base import Optimiser
from lightning_modules.networks.decoder.config import TinyModel
from lightning_modules.networks.decoder.to_transformers import as_llama
from lightning_modules.sampling.sampler import Sampler
from lightning_modules.sft_rl.controller import Mixer
from lightning_modules.sft_rl.module import Mixing
from lightning_modules.training.fit import fit

Steps = Callable[[], list[float]]
"""Runs one turn; seconds of its steps."""

RATE = 2e-4
ROOM = 24


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=int, default=64, help="of the network")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--problems", type=int, default=64, help="of a step")
    parser.add_argument("--copies", type=int, default=8, help="rollouts of a problem")
    parser.add_argument("--equal", type=float, default=0.5, help="share of problems whose answers all earn the same")
    parser.add_argument("--steps", type=int, default=5, help="of one turn, after one that is not counted")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    try:
        import trl
    except ModuleNotFoundError:
        print("TRL is not installed: pip install -e '.[benchmarks]'", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    problems = countdown(options.problems, options.equal)
    check(ours(problems, options), problems)
    ways: dict[str, Steps] = {"ours": partial(our_steps, problems, options)}
    ways["ours, every rollout passed"] = partial(our_steps, problems, options, skip_equal_groups=False)
    ways["GRPOTrainer"] = partial(trl_steps, problems, options)
    if options.device == "cuda":
        ways["GRPOTrainer, static cache"] = partial(trl_steps, problems, options, cache_implementation="static")
    found: dict[str, list[float]] = {}
    for _ in range(options.turns):
        for name, steps in ways.items():
            found.setdefault(name, []).extend(steps())
    size = sum(weight.numel() for weight in ours(problems, options).parameters())
    rollouts = options.problems * options.copies
    shape = f"{options.problems} problems x {options.copies} rollouts"
    where = torch.cuda.get_device_name() if options.device == "cuda" else "one thread"
    print(f"{size:,} parameters, {shape}, {where}, TRL {trl.__version__}")
    print("| | seconds a step, median | middle half | rollouts/s |")
    print("|---|---|---|---|")
    medians = {name: statistics.median(found[name]) for name in ways}
    for name, middle in medians.items():
        low, _, high = statistics.quantiles(found[name], n=4)
        print(f"| {name} | {middle:.3f} | {low:.3f} to {high:.3f} | {rollouts / middle:,.0f} |")
    best = min(middle for name, middle in medians.items() if name.startswith("GRPOTrainer"))
    for name in ("ours", "ours, every rollout passed"):
        print(f"ratio of medians, {name}: {best / medians[name]:.2f} ({len(found[name])} steps each)")
    return 0


class MadeUpRewards(VerifiedProblems):
    """Countdown whose answers earn a coin, but for a share of problems, which earn nothing."""

    equal = 0.5

    def solved(self, example_id: str, response: str) -> bool:
        """Whether the coin says so: the same for the same problem and text."""
        place = int(example_id.rsplit("/", 1)[1])
        return place % 100 >= 100 * self.equal and zlib.crc32(f"{example_id} {response}".encode()) % 2 == 0


def countdown(batch_size: int, equal: float) -> VerifiedProblems:
    problems = MadeUpRewards(world=Countdown(seed=0), seed=0, demonstrations=1000, batch_size=batch_size)
    problems.equal = equal
    return problems


def ours(problems: VerifiedProblems, options: argparse.Namespace, **choices: Any) -> Mixing:
    """Our method, attached; the same weights every time."""
    rate = Optimiser(learning_rate=RATE, weight_decay=0.0, warmup=0.0, schedule="constant")
    model = TinyModel(
        optimiser=rate, width=options.width, layers=options.layers, heads=options.heads, embedding_std=0.3
    )
    module = Mixing(
        model=model, seed=0, mixer=Mixer(), optimiser=rate, sampler=Sampler(max_tokens=ROOM), rollouts=options.copies,
        rollout_tokens=ROOM, **choices,
    )  # fmt: skip
    module.attach(problems)
    return module


def check(module: Mixing, problems: VerifiedProblems) -> None:
    """Both networks compute the same."""
    decoder: Any = module.network.causal
    ids = torch.randint(3, len(problems.vocabulary), (4, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        apart = (decoder.lm_head(decoder.hidden(ids)) - as_llama(decoder)(ids).logits).abs().max()
    assert apart < 1e-3, f"logits differ by {apart}"


def our_steps(problems: VerifiedProblems, options: argparse.Namespace, **choices: Any) -> list[float]:
    """Seconds of the steps of one turn."""
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        fit(
            ours(problems, options, **choices), problems, folder=Path(folder), max_steps=options.steps + 1,
            accelerator=options.device, checkpoint_every=None, progress=lambda *_: ends.append(now(options)),
        )  # fmt: skip
    return [after - before for before, after in itertools.pairwise(ends)]


def now(options: argparse.Namespace) -> float:
    """Seconds on a clock, once the GPU is done with all it was given."""
    if options.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def trl_steps(problems: VerifiedProblems, options: argparse.Namespace, **generating: Any) -> list[float]:
    """The same of TRL's trainer, with further options of its config."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(now(options))

    def reward(completions: list[str], example_id: list[str], **_: Any) -> list[float]:
        return [float(problems.solved(name, text)) for name, text in zip(example_id, completions, strict=True)]

    items = problems.items("train")
    rows = Dataset.from_list([{"prompt": item.prompt, "example_id": item.id} for item in items])
    decoder: Any = ours(problems, options).network.causal
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            folder, per_device_train_batch_size=options.problems * options.copies, num_generations=options.copies,
            max_completion_length=ROOM, max_steps=options.steps + 1, learning_rate=RATE, lr_scheduler_type="constant",
            weight_decay=0.0, beta=0.0, temperature=1.0, top_k=0, top_p=1.0, loss_type="dapo", scale_rewards="group",
            steps_per_generation=1, num_iterations=1, max_grad_norm=1.0, bf16=False,
            use_cpu=options.device == "cpu", dataloader_pin_memory=options.device == "cuda",
            gradient_checkpointing=False, report_to="none", logging_strategy="no", save_strategy="no",
            disable_tqdm=True, **generating,
        )  # fmt: skip
        trainer = GRPOTrainer(
            model=as_llama(decoder), reward_funcs=reward, args=config, train_dataset=rows, callbacks=[Clock()],
            processing_class=word_tokenizer(problems.vocabulary.pieces),
        )  # fmt: skip
        trainer.train()
    return [after - before for before, after in itertools.pairwise(ends)]


def word_tokenizer(pieces: tuple[str, ...]) -> Any:
    """The world's vocabulary as a tokenizer of the transformers library: the same ids, every prompt begun alike."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    pad, start, end = pieces[:3]
    inner = Tokenizer(WordLevel({piece: index for index, piece in enumerate(pieces)}, unk_token=pad))
    inner.pre_tokenizer = WhitespaceSplit()
    inner.post_processor = TemplateProcessing(single=f"{start} $A", special_tokens=[(start, pieces.index(start))])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=pad, bos_token=start, eos_token=end, unk_token=pad, padding_side="left"
    )


if __name__ == "__main__":
    sys.exit(main())
