"""What a training step on long contexts costs: peak memory and seconds against length, beside the plain way.

    python -m benchmarks.long_context                                2k to 32k tokens, one thread
    python -m benchmarks.long_context --lengths 2048,8192 --device cuda --width 1024 --layers 8

Three ways through the same step (forward, backward, AdamW) of the same small decoder, every token scored:

    packed   several examples in one row that do not see each other, activations computed again in the backward pass,
             the vocabulary met by a few hundred tokens at a time
    single   the same with one example as long as the row
    plain    the packed row with all logits at once and all activations kept: the peer

Each is a process of its own, so that peaks do not mix. Memory is the peak during the step above what stood before it
(weights, rotary tables and tokens included there); on a GPU the allocator's. A plain step whose logits alone exceed
``--peer-memory`` is not run, and said so.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

WAYS = ("packed", "single", "plain")
LENGTHS = (2048, 4096, 8192, 16384, 32768)
GIB = 2**30


class Step(NamedTuple):
    """What one step cost.

    Attributes:
        peak: bytes above what stood before the step.
        process: bytes of the whole process at its peak, Python and libraries included; on a GPU all that was allocated.
        seconds: of the step.
    """

    peak: int
    process: int
    seconds: float


def training_step(
    way: str, length: int, *, vocabulary: int, width: int, layers: int, examples: int, chunk: int
) -> tuple[nn.Module, Callable[[str], Tensor]]:
    """The network, and a function that computes the mean loss of one row of ``length`` tokens.

    Args:
        way: one of ``WAYS``; weights and tokens are the same for all.
        length: tokens of the row, a multiple of ``examples``.
        vocabulary, width, layers: of the decoder.
        examples: sequences in a packed row.
        chunk: tokens that meet the vocabulary at a time.
    """
    import torch

    from lightning_modules.losses.sft import sft_loss
    from lightning_modules.networks.decoder.model import TinyDecoder
    from lightning_modules.networks.language_model import LanguageModel
    from lightning_modules.networks.token_batch import packed_batch, padded_batch

    plain = way == "plain"
    count = 1 if way == "single" else examples
    if length % count:
        raise ValueError(f"a row of {length} tokens does not hold {count} examples of equal length")
    torch.manual_seed(0)
    network = TinyDecoder(
        vocabulary,
        width=width,
        layers=layers,
        heads=max(1, width // 16),
        limit=length,
        tied=False,
        convolution=4,
        gradient_checkpointing=not plain,
    )
    model = LanguageModel(network, _NO_TEXT, pretrained=False)
    tokens = torch.randint(3, vocabulary, (count, length // count)).tolist()
    prompts, responses = [row[:1] for row in tokens], [row[1:] for row in tokens]
    if count == 1:
        batch = padded_batch(prompts, responses, padding=0)
    else:
        batch = packed_batch(prompts, responses, row_length=length, padding=0)

    def loss(device: str) -> Tensor:
        logps, mask = model.response_logps(batch.to(torch.device(device)), chunk=None if plain else chunk)
        return sft_loss(logps, mask, per_sequence="mean").mean()

    return model, loss


def measured(way: str, length: int, *, device: str, **sizes: int) -> Step:
    """One step in this process."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    model, loss = training_step(way, length, **sizes)
    model.to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    before = _memory(device)
    _forget_peak(device)
    begun = time.perf_counter()
    loss(device).backward()
    optimiser.step()
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - begun
    peak = _peak(device)
    return Step(max(0, peak - before), peak, seconds)


def _status(name: str) -> int:
    """A figure of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _memory(device: str) -> int:
    import torch

    return torch.cuda.memory_allocated() if device == "cuda" else _status("VmRSS")


def _forget_peak(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the kernel's peak starts again from what is there


def _peak(device: str) -> int:
    import torch

    return torch.cuda.max_memory_allocated() if device == "cuda" else _status("VmHWM")


class _NoText:
    """Stands where a vocabulary would: this benchmark has tokens and no text."""

    padding, end = 0, 2


_NO_TEXT: Any = _NoText()


def in_own_process(way: str, length: int, options: argparse.Namespace) -> Step | str:
    """The step's cost, or why there is none."""
    logits = 3 * 4 * length * options.vocabulary  # logits, their log-softmax, their gradient
    if way == "plain" and logits > options.peer_memory * GIB:
        return f"not run: its logits take {logits / GIB:.1f} GiB"
    asked = [f"--step={way}:{length}", *(f"--{name}={getattr(options, name)}" for name in (*SIZES, "device"))]
    done = subprocess.run([sys.executable, "-m", "benchmarks.long_context", *asked], capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        return f"failed: {reason[-1] if reason else f'killed by signal {-done.returncode}'}"
    return Step(**json.loads(done.stdout))


def slopes(found: dict[int, Step]) -> list[float]:
    """Bytes of peak memory for each token more, from one length to the next."""
    lengths = sorted(found)
    return [(found[more].peak - found[less].peak) / (more - less) for less, more in itertools.pairwise(lengths)]


def verdict(way: str, found: dict[int, Step], memory: float) -> str:
    """Whether memory grows with length alone, and stays below the limit."""
    growth = slopes(found)
    if not growth:
        return f"{way}: one length says nothing about growth"
    linear = max(growth) <= 1.5 * max(min(growth), 1.0)
    told = ", ".join(f"{slope / 1024:.1f}" for slope in growth)
    peak = max(step.process for step in found.values())
    return (
        f"{way}: KiB for each token more, from one length to the next: {told}: "
        f"{'linear' if linear else 'not linear'} (steepest at most 1.5 times the flattest); largest process "
        f"{peak / GIB:.2f} GiB, {'below' if peak < memory * GIB else 'NOT below'} {memory:g} GiB"
    )


SIZES = {"vocabulary": 8192, "width": 64, "layers": 2, "examples": 4, "chunk": 512}


def main(arguments: list[str] | None = None) -> int:
    """Prints the table; status 1 where a step failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", default=",".join(map(str, LENGTHS)), help="tokens of the row")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--memory", type=float, default=12.0, help="GiB that no step should need")
    parser.add_argument("--peer-memory", type=float, default=12.0, help="GiB of logits that the plain way may take")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    for name, size in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    options = parser.parse_args(arguments)
    if options.step:
        way, _, length = options.step.partition(":")
        sizes = {name: getattr(options, name) for name in SIZES}
        print(json.dumps(measured(way, int(length), device=options.device, **sizes)._asdict()))
        return 0
    ways, lengths = options.ways.split(","), [int(length) for length in options.lengths.split(",")]
    if set(ways) - set(WAYS):
        parser.error(f"--ways are some of {', '.join(WAYS)}")
    print("| tokens | way | peak above the start, MiB | whole process, MiB | seconds | tokens/s |", flush=True)
    print("|---|---|---|---|---|---|", flush=True)
    failed, table = False, {way: dict[int, Step]() for way in ways}
    for length in lengths:
        for way in ways:
            step = in_own_process(way, length, options)
            if isinstance(step, str):
                failed |= step.startswith("failed")
                print(f"| {length:,} | {way} | {step} | | | |", flush=True)
                continue
            table[way][length] = step
            figures = f"{step.peak / 2**20:.0f} | {step.process / 2**20:.0f} | {step.seconds:.1f}"
            print(f"| {length:,} | {way} | {figures} | {length / step.seconds:,.0f} |", flush=True)
    print()
    for way in ways:
        print(verdict(way, table[way], options.memory))
    if {"packed", "plain"} <= set(ways):
        for length in sorted(set(table["packed"]) & set(table["plain"])):
            ours, theirs = table["packed"][length], table["plain"][length]
            print(
                f"{length:,} tokens: packed needs {ours.peak / max(theirs.peak, 1):.2f} of plain's memory and "
                f"{ours.seconds / theirs.seconds:.2f} of its time"
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
