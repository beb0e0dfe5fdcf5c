"""Our sampler against transformers' ``generate``: the same weights, the same prompts, one thread, tokens per second.

    python -m benchmarks.rollouts            groups of 8 responses of 16 tokens to prompts of 7 and of 80 tokens

The weights of a ``TinyDecoder`` are put into a Llama of the transformers library; that both compute the same logits
and write the same greedy tokens is checked before anything is timed. Nobody ends early (there is no end token), which
is the worse case for us: here finished rows would leave the batch, there they stay. Ours also returns
log-probabilities. The two take turns, so that a busy machine slows both; what counts is the ratio of the medians, and
the middle half of the ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from transformers import GenerationConfig

from lightning_modules.generation import Sampler
from lightning_modules.networks.as_llama import as_llama
from lightning_modules.networks.language_model import LanguageModel
from lightning_modules.networks.tiny_decoder import TinyDecoder

VOCABULARY = 248
COPIES = 8
NEW = 16


class NoEnd:
    """A codec whose end token no model writes."""

    padding, end = 0, -1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=int, default=64, help="of the network; it has two layers")
    parser.add_argument("--groups", type=int, nargs="+", default=[64, 8], help="prompts per batch")
    parser.add_argument("--prompts", type=int, nargs="+", default=[7, 80], help="tokens of a prompt")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    decoder = TinyDecoder(VOCABULARY, width=options.width, layers=2, heads=4, limit=256, embedding_std=0.3).eval()
    llama = as_llama(decoder)
    model = LanguageModel(decoder, NoEnd(), pretrained=False)
    size = sum(weight.numel() for weight in decoder.parameters())
    print(f"{size:,} parameters, groups of {COPIES}, {NEW} new tokens, one thread, temperature 1")
    print("| prompt tokens | groups | ours, tokens/s | generate, tokens/s | ratio of medians | middle half of ratios |")
    print("|---|---|---|---|---|---|")
    for length in options.prompts:
        for groups in options.groups:
            print(compare(model, llama, groups, length, options.repeats), flush=True)


def compare(model: LanguageModel, llama: torch.nn.Module, groups: int, length: int, repeats: int) -> str:
    """One row of the table."""
    ids = torch.randint(3, VOCABULARY, (groups, length))
    repeated = ids.repeat_interleave(COPIES, dim=0)
    everywhere = torch.ones_like(repeated)
    greedy, sampled = Sampler(max_tokens=NEW, temperature=0.0, batch=10**6), Sampler(max_tokens=NEW, batch=10**6)
    generator = torch.Generator().manual_seed(0)
    plain = {"max_new_tokens": NEW, "eos_token_id": None, "pad_token_id": 0}
    chosen = GenerationConfig(do_sample=False, **plain)
    drawn = GenerationConfig(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, **plain)

    def ours(sampler: Sampler = sampled) -> torch.Tensor:
        return sampler.sample(model, ids.tolist(), copies=COPIES, generator=generator).tokens

    def theirs(config: GenerationConfig = drawn) -> torch.Tensor:
        return llama.generate(input_ids=repeated, attention_mask=everywhere, generation_config=config)[:, length:]

    with torch.no_grad():
        apart = (model.network.lm_head(model.network.hidden(ids)) - llama(ids).logits).abs().max()
    assert apart < 1e-3, f"logits differ by {apart}"
    same = (ours(greedy) == theirs(chosen)).float().mean()
    assert same > 0.99, f"only {same:.1%} of the greedy tokens agree"
    pairs = [(clock(ours), clock(theirs)) for _ in range(repeats + 1)][1:]
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    low, _, high = statistics.quantiles([slow / fast for fast, slow in pairs], n=4)
    tokens = groups * COPIES * NEW
    rates = f"{tokens / mine:,.0f} | {tokens / other:,.0f} | {other / mine:.2f} | {low:.2f} to {high:.2f}"
    return f"| {length} | {groups} | {rates} |"


def clock(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
