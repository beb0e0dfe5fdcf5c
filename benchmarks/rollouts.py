"""Our sampler against transformers' ``generate``: the same weights, the same prompts, tokens per second.

    python -m benchmarks.rollouts            groups of 8 responses of 16 tokens to prompts of 7 and of 80 tokens, on one
                                             thread of a processor
    python -m benchmarks.rollouts --device cuda --width 512 --layers 8 --new 64                       on a GPU

The weights of a ``TinyDecoder`` are put into a Llama of the transformers library; that both compute the same logits
and write the same greedy tokens is checked before anything is timed. Nobody ends early (there is no end token), which
is the worse case for us: here finished rows would leave the batch, there they stay. Ours also returns
log-probabilities. The two take turns, so that a busy machine slows both; what counts is the ratio of the medians, and
the middle half of the ratios. On a GPU both are tried in several ways and the table compares our default with the
fastest way of ``generate``; the first call of each, in which a graph is made or code compiled, is told but not counted.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import GenerationConfig

from lightning_modules.networks.decoder.model import TinyDecoder
from lightning_modules.networks.decoder.to_transformers import as_llama
from lightning_modules.networks.language_model import LanguageModel
from lightning_modules.sampling.sampler import Sampler

VOCABULARY = 248
COPIES = 8
WARMED = 2
"""Calls after the first that are not counted either: a static cache is compiled in its second call."""

Call = Callable[[], object]


class NoEnd:
    """A codec whose end token no model writes."""

    padding, end, ends = 0, -1, frozenset({-1})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--width", type=int, default=64, help="of the network")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--new", type=int, default=16, help="tokens of a response")
    parser.add_argument("--groups", type=int, nargs="+", default=[64, 8], help="prompts per batch")
    parser.add_argument("--prompts", type=int, nargs="+", default=[7, 80], help="tokens of a prompt")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    decoder = TinyDecoder(
        VOCABULARY, width=options.width, layers=options.layers, heads=options.heads, limit=256, embedding_std=0.3
    ).to(options.device)
    llama = as_llama(decoder.eval())
    model = LanguageModel(decoder, NoEnd(), pretrained=False)
    size = sum(weight.numel() for weight in decoder.parameters())
    where = torch.cuda.get_device_name() if options.device == "cuda" else "one thread"
    print(f"{size:,} parameters, groups of {COPIES}, {options.new} new tokens, {where}, temperature 1")
    print("| prompt tokens | groups | ours, tokens/s | generate, tokens/s | ratio of medians | middle half of ratios |")
    print("|---|---|---|---|---|---|")
    others = []
    for length in options.prompts:
        for groups in options.groups:
            row, other = compare(model, llama, groups, length, options)
            print(row, flush=True)
            others.append(f"{length} tokens, {groups} groups: {other}")
    if options.device == "cuda":
        print("\nTokens/s of every way, and seconds of its first call", *others, sep="\n")


def compare(
    model: LanguageModel, llama: torch.nn.Module, groups: int, length: int, options: argparse.Namespace
) -> tuple[str, str]:
    """One row of the table, and what all ways of sampling gave."""
    ids = torch.randint(3, VOCABULARY, (groups, length))
    greedy, generator = Sampler(max_tokens=options.new, temperature=0.0, batch=10**6), torch.Generator().manual_seed(0)
    repeated = ids.repeat_interleave(COPIES, dim=0).to(options.device)
    everywhere = torch.ones_like(repeated)

    def ours(sampler: Sampler) -> torch.Tensor:
        return sampler.sample(model, ids.tolist(), copies=COPIES, generator=generator).tokens

    def theirs(**chosen: Any) -> torch.Tensor:
        plain = {"max_new_tokens": options.new, "eos_token_id": None, "pad_token_id": 0}
        config = GenerationConfig(**plain, **chosen)
        return llama.generate(input_ids=repeated, attention_mask=everywhere, generation_config=config)[:, length:]

    with torch.no_grad():
        ids_there = ids.to(options.device)
        apart = (model.network.lm_head(model.network.hidden(ids_there)) - llama(ids_there).logits).abs().max()
    assert apart < 1e-3, f"logits differ by {apart}"
    same = (ours(greedy) == theirs(do_sample=False)).float().mean()
    assert same > 0.99, f"only {same:.1%} of the greedy tokens agree"
    drawn = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    own = {"ours": lambda: ours(Sampler(max_tokens=options.new, batch=10**6))}
    peers = {"generate": lambda: theirs(**drawn)}
    if options.device == "cuda":
        own["ours, compiled"] = lambda: ours(Sampler(max_tokens=options.new, batch=10**6, compiled=True))
        own["ours, shapes as they come"] = lambda: ours(Sampler(max_tokens=options.new, batch=10**6, fixed=False))
        peers["generate, static cache"] = lambda: theirs(**drawn, cache_implementation="static")
    calls: dict[str, Call] = own | peers
    first = {name: clock(call, options.device) for name, call in calls.items()}
    for _ in range(WARMED if options.device == "cuda" else 0):
        for call in calls.values():
            call()
    turns = [{name: clock(call, options.device) for name, call in calls.items()} for _ in range(options.repeats)]
    medians = {name: statistics.median(turn[name] for turn in turns) for name in calls}
    best = min(peers, key=lambda name: medians[name])
    low, _, high = statistics.quantiles([turn[best] / turn["ours"] for turn in turns], n=4)
    tokens = groups * COPIES * options.new
    rates = f"{tokens / medians['ours']:,.0f} | {tokens / medians[best]:,.0f}"
    row = f"| {length} | {groups} | {rates} | {medians[best] / medians['ours']:.2f} | {low:.2f} to {high:.2f} |"
    return row, "; ".join(f"{name} {tokens / medians[name]:,.0f} ({first[name]:.1f} s)" for name in calls)


def clock(call: Call, device: str) -> float:
    """Seconds that a call takes, until the GPU is done with it."""
    begun = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
