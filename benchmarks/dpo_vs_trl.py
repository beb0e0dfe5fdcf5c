"""Training throughput of our DPO against TRL's DPOTrainer with precomputed reference log-probabilities.

    python -m benchmarks.dpo_vs_trl           needs TRL: pip install -c constraints.txt -e '.[benchmarks]'
    python -m benchmarks.dpo_vs_trl --device cuda --width 512 --layers 8 --batch 16 --steps 30 --skip 10     on a GPU

One random Llama, the same pairs in the same batches and order, AdamW with the same rate and clipping, fp32 (or both in
bf16 with ``--bf16``), on one thread of a processor or on a GPU.
Both compute the reference before they train; only training steps are timed, the first ones left out. Ours goes through
``fitting.fit`` (Lightning), theirs through ``Trainer``. Tokens are those of prompt and response of both sides, padding
not counted, whether or not a prompt was read once for both: the ratio of tokens per second is that of the times. They
take turns, so that a busy machine slows both; processor time is printed too, which other processes disturb less. That
both do the same work is shown by the largest difference of their losses, step by step.

What the ratio is depends on the texts: long prompts with short responses gain by reading a prompt once, short prompts
hardly do; the third row (prompts read twice) tells how much of it that is. On a CPU, TRL 1.16 scores all positions
against the vocabulary; on a GPU only those of responses, as we do everywhere.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from data.files.stages import TemporaryStages
from data.loading.item_data import ItemData
from data.records.texts import PreferencePair
from lightning_modules.base import Optimiser
from lightning_modules.networks.hub.causal_lm import HubCausal
from lightning_modules.networks.language_model import LanguageModel
from lightning_modules.preference.module import PreferenceOptimisation
from lightning_modules.preference.objectives.dpo import Dpo
from lightning_modules.sampling.sampler import Sampler
from lightning_modules.training.fit import fit

VOCABULARY, LIMIT = 4096, 2048
PADDING, END, FIRST = 0, 1, 2
BETA = 0.1


class Result(NamedTuple):
    """One training: tokens per second of clock and of processor time, and the loss of every step."""

    wall: float
    cpu: float
    losses: list[float]


class Words:
    """A codec of texts like ``w7 w12``: one token a word, nothing before a prompt, one end token after a response."""

    padding, end = PADDING, END

    def prompt_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [[int(word[1:]) for word in text.split()] for text in texts]

    def response_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [[*row, END] for row in self.prompt_ids(texts)]

    def texts(self, rows: Sequence[Sequence[int]]) -> list[str]:
        return [" ".join(f"w{one}" for one in row if one != END) for row in rows]


class SameLlama:
    """Config of the random Llama that all contenders begin with."""

    def __init__(self, state: dict[str, torch.Tensor], options: argparse.Namespace) -> None:
        self.optimiser = Optimiser(learning_rate=options.learning_rate, weight_decay=0.01, warmup=0.0)
        self.state, self.options = state, options

    def build_language_model(self, vocabulary: Any = None) -> LanguageModel:
        model = llama(self.options)
        model.load_state_dict(self.state)
        return LanguageModel(HubCausal(model, limit=LIMIT, padding=PADDING), Words(), pretrained=False)


class Pairs(ItemData):
    """The pairs, in batches of like length."""

    def __init__(self, pairs: Sequence[PreferencePair], batch_size: int) -> None:
        self.pairs, self.batch_size, self.seed = pairs, batch_size, 0

    def items(self, split: str, limit: int | None = None) -> Sequence[PreferencePair]:
        return self.pairs[:limit]

    def item_length(self) -> Callable[[Any], int]:
        return lambda pair: len(pair.prompt) + max(len(pair.chosen), len(pair.rejected))


class Clock:
    """Times of step ends."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def tick(self, *_: Any) -> None:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())

    def rates(self, tokens: Sequence[int], skip: int) -> tuple[float, float]:
        """Tokens per second over the steps behind the first ``skip``."""
        count = sum(tokens[skip:])
        return count / (self.wall[-1] - self.wall[skip - 1]), count / (self.cpu[-1] - self.cpu[skip - 1])


def llama(options: argparse.Namespace) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=options.width,
            intermediate_size=options.width * 8 // 3,
            num_hidden_layers=options.layers,
            num_attention_heads=options.heads,
            num_key_value_heads=options.heads,
            max_position_embeddings=LIMIT,
            tie_word_embeddings=True,
            pad_token_id=PADDING,
            bos_token_id=None,
            eos_token_id=END,
        )
    )


def ours(model: SameLlama, batches: Sequence[Sequence[PreferencePair]], skip: int, *, share_prompt: bool) -> Result:
    """Our module through our training loop."""
    clock, losses = Clock(), []

    class Recorded(PreferenceOptimisation):
        def losses(self, batch: Any) -> Any:
            values, read = super().losses(batch)
            losses.append(values.detach().mean())
            return values, read

    data = Pairs([pair for batch in batches for pair in batch], len(batches[0]))
    method = Recorded(
        model=model,
        seed=0,
        sampler=Sampler(max_tokens=1),
        objective=Dpo(beta=BETA, label_smoothing=0.0, summed=True, reads_sources=False, blended=False),
        share_prompt=share_prompt,
        start_tolerance=1e-2 if model.options.bf16 else 1e-4,
    )
    method.attach(data)
    method.prepare(data, TemporaryStages())
    data.train_dataloader = lambda: map(data.collate, batches)  # type: ignore[assignment,method-assign,arg-type]
    with tempfile.TemporaryDirectory() as folder:
        fit(
            method,
            data,
            folder=Path(folder),
            max_steps=len(batches),
            accelerator=model.options.device,
            precision="bf16-mixed" if model.options.bf16 else "32-true",
            gradient_clip=1.0,
            checkpoint_every=None,
            progress=clock.tick,
        )
    return Result(*clock.rates(_tokens(batches), skip), [float(one) for one in losses])


def theirs(model: SameLlama, batches: Sequence[Sequence[PreferencePair]], skip: int) -> Result:
    """TRL's trainer on the same batches in the same order."""
    import datasets
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, PrinterCallback, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    clock, losses = Clock(), []

    class Recorded(DPOTrainer):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().compute_loss(*args, **kwargs)
            losses.append(loss.detach())
            return loss

    class Times(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.tick()

    words = {"[PAD]": PADDING, "</s>": END, **{f"w{one}": one for one in range(FIRST, VOCABULARY)}}
    plain = Tokenizer(models.WordLevel(words, unk_token="[PAD]"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", eos_token="</s>")
    pairs = [pair for batch in batches for pair in batch]
    rows = datasets.Dataset.from_list(
        [{"prompt": one.prompt, "chosen": f" {one.chosen}", "rejected": f" {one.rejected}"} for one in pairs]
    )
    policy = llama(model.options)
    policy.load_state_dict(model.state)
    with tempfile.TemporaryDirectory() as folder:
        config = DPOConfig(
            output_dir=folder,
            use_cpu=model.options.device == "cpu",
            bf16=model.options.bf16,
            gradient_checkpointing=False,
            beta=BETA,
            precompute_ref_log_probs=True,
            max_length=None,
            per_device_train_batch_size=len(batches[0]),
            max_steps=len(batches),
            learning_rate=model.options.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=0,
            weight_decay=0.01,
            max_grad_norm=1.0,
            optim="adamw_torch_fused",
            train_sampling_strategy="sequential",
            logging_steps=10,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=model.options.device == "cuda",
        )
        trainer = Recorded(
            model=policy, args=config, train_dataset=rows, processing_class=tokenizer, callbacks=[Times()]
        )
        trainer.remove_callback(PrinterCallback)
        codec = Words()
        for row, pair in zip(trainer.train_dataset, pairs, strict=True):
            read = (row["prompt_ids"], row["chosen_ids"], row["rejected_ids"])
            own = (
                codec.prompt_ids([pair.prompt]),
                *(codec.response_ids([one]) for one in (pair.chosen, pair.rejected)),
            )
            assert read == tuple(ids[0] for ids in own), f"TRL reads {pair.id} as other tokens"
        assert not policy.is_gradient_checkpointing, "TRL would compute activations twice"
        trainer.train()
    return Result(*clock.rates(_tokens(batches), skip), [float(one) for one in losses])


def _tokens(batches: Sequence[Sequence[PreferencePair]]) -> list[int]:
    """Tokens of each batch: prompt and response of both sides, ends included."""
    return [
        sum(2 * len(one.prompt.split()) + len(one.chosen.split()) + len(one.rejected.split()) + 2 for one in batch)
        for batch in batches
    ]


def drawn(prompt: int, response: int, options: argparse.Namespace) -> list[list[PreferencePair]]:
    """Batches of random pairs; lengths are uniform between half and one and a half of the means."""
    rng = random.Random(0)

    def text(mean: int) -> str:
        length = rng.randint(max(1, mean // 2), mean * 3 // 2)
        return " ".join(f"w{rng.randrange(FIRST, VOCABULARY)}" for _ in range(length))

    count = options.steps * options.batch
    pairs = Pairs(
        [PreferencePair(f"{one}", text(prompt), text(response), text(response)) for one in range(count)], options.batch
    )
    pairs.collate = list
    return list(pairs.train_dataloader())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shapes", nargs="+", default=["256x32", "96x96"], help="mean tokens of prompt x response")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--bf16", action="store_true", help="both train in bf16 with fp32 weights")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--batch", type=int, default=4, help="pairs")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--skip", type=int, default=2, help="first steps, which are not timed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    options = parser.parse_args()
    if not 1 <= options.skip < options.steps:
        parser.error("--skip must be at least 1 and below --steps")
    os.environ |= {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}  # nothing but the table is printed, nothing is asked
    try:
        import trl
    except ImportError:
        parser.error("TRL is not installed: pip install -c constraints.txt -e '.[benchmarks]'")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    begun = llama(options)
    size = sum(weight.numel() for weight in begun.parameters())
    model = SameLlama(begun.state_dict(), options)
    where = torch.cuda.get_device_name() if options.device == "cuda" else "one thread"
    precision = "bf16" if options.bf16 else "fp32"
    print(f"{size:,} parameters, {options.batch} pairs a step, {precision}, {where}, TRL {trl.__version__}")
    for shape in options.shapes:
        prompt, response = map(int, shape.split("x"))
        compare(model, drawn(prompt, response, options), shape, options)


def compare(model: SameLlama, batches: list[list[PreferencePair]], shape: str, options: argparse.Namespace) -> None:
    """The table of one shape, and the largest difference of the losses."""
    contenders: dict[str, Callable[[], Result]] = {
        "TRL": lambda: theirs(model, batches, options.skip),
        "ours": lambda: ours(model, batches, options.skip, share_prompt=True),
        "ours, prompts read twice": lambda: ours(model, batches, options.skip, share_prompt=False),
    }
    found: dict[str, list[Result]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, run in contenders.items():
            found[name].append(run())
    print(f"\nprompts of {shape.replace('x', ' tokens, responses of ')} tokens on average; medians of {options.rounds}")
    print("| | tokens/s | ratio | tokens/s of processor time | ratio | largest difference of the losses |")
    print("|---|---|---|---|---|---|")
    for name, results in found.items():
        cells = []
        for field in ("wall", "cpu"):
            rates = [getattr(one, field) for one in results]
            ratios = [rate / getattr(base, field) for rate, base in zip(rates, found["TRL"], strict=True)]
            cells += [f"{statistics.median(rates):,.0f}", f"{statistics.median(ratios):.2f}"]
        apart = max(abs(one - other) for one, other in zip(results[0].losses, found["TRL"][0].losses, strict=True))
        print(f"| {name} | {' | '.join(cells)} | {apart:.1e} |", flush=True)
    first, last = found["TRL"][0].losses[0], found["TRL"][0].losses[-1]
    print(f"loss of TRL from {first:.4f} to {last:.4f}")


if __name__ == "__main__":
    main()
