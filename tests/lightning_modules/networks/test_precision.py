"""Weights that are trained are kept in 32 bits however they came; frozen ones stay as they are; what computes how."""

import math
import warnings
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file

from data.files.stages import TemporaryStages
from data.loading.step_loader import StepLoader
from data.reasoning.verified_problems import VerifiedProblems
from data.records.texts import PreferencePair
from data.worlds.cards.countdown import Countdown
from lightning_modules.evaluation.policy_probe import PolicyProbe
from lightning_modules.losses.sft import sft_loss
from lightning_modules.networks.hub.pretrained import Lora, Pretrained
from lightning_modules.networks.precision import computing, keep_trained_in_32_bits, slowdown_on_cpu
from lightning_modules.preference.module import PreferenceOptimisation
from lightning_modules.relations.re import RelationGenerator
from lightning_modules.rl.terms import Ppo
from lightning_modules.sampling.sampler import Sampler, evaluating
from lightning_modules.sft.f_sft import FSft
from lightning_modules.sft.neftune import Neftune
from lightning_modules.sft.sft import Sft
from lightning_modules.sft.sft_kl import SftKl
from lightning_modules.sft_rl.amft import Amft
from lightning_modules.sft_rl.controller import Mixer
from lightning_modules.sft_rl.module import Mixing
from lightning_modules.training import fit as fitting
from lightning_modules.training.fit import check_options, fit
from tests.lightning_modules.objectives import objective
from tests.lightning_modules.tiny_models import Corpus, optimiser, tiny
from tests.lightning_modules.tiny_world import SumData

RATE = 5e-7
TARGETS = {"causal": ["q_proj", "v_proj"], "seq2seq": ["q", "v"]}
SAMPLER = Sampler(max_tokens=4)
WORLD = Countdown(seed=0, highest_rank=5, cap=4, lowest_target=1, highest_target=9, largest=20)


class Easy(VerifiedProblems):
    """What is right is easy to hit: half of all texts."""

    def solved(self, example_id, response):
        return sum(map(ord, response)) % 2 == 0


def problems():
    return Easy(world=WORLD, seed=0, demonstrations=8, validation=8, test=2, ood=2, batch_size=4, steps=4)


def mixing(mixer, rl=None):
    return lambda model: Mixing(
        model=model, seed=0, mixer=mixer(), rl=rl and rl(), optimiser=model.optimiser, sampler=SAMPLER,
        rollouts=2, rollout_tokens=4, samples=1, kl=0.01,
    )  # fmt: skip


METHODS = {
    "sft": (Sft, {"loss": sft_loss, "packing": 64}, SumData),
    "sft_kl": (SftKl, {}, SumData),
    "neftune": (Neftune, {}, SumData),
    "f_sft": (FSft, {"value": "learned", "divergence": "jensen_shannon"}, SumData),
    "dpo": (PreferenceOptimisation, {"objective": objective("dpo")}, lambda: SumData(pairs=True)),
    "grpo": (mixing(Mixer), None, problems),
    "ppo": (mixing(Mixer, partial(Ppo, critic_warmup=0)), None, problems),
    "amft": (mixing(partial(Amft, meta_every=1, validation_prompts=4, validation_rollouts=2)), None, problems),
    "re": (RelationGenerator, {}, Corpus),
    "re_seq2seq": (RelationGenerator, {}, Corpus),
}


@pytest.fixture(scope="module")
def stored(tokenizer, tmp_path_factory):
    """Folders of small models whose weights are stored in 16 bits, by kind."""
    found = {}
    for kind in ("causal", "seq2seq"):
        torch.manual_seed(0)
        model = tiny(kind, tokenizer).build().model
        found[kind] = tmp_path_factory.mktemp("stored") / kind
        model.to(torch.bfloat16).save_pretrained(found[kind])
    return found


def model_of(stored, tokenizer, kind="causal", *, dtype="bfloat16", lora=False, **options):
    chosen = {"learning_rate": RATE, "new_learning_rate": RATE, "warmup": 0.0, "schedule": "constant"}
    return Pretrained(
        kind=kind, weights=str(stored[kind]), tokenizer={"weights": str(tokenizer[0])}, prompt_limit=128,
        prompt_wrapper="{prompt}", architecture={"model_type": "t5" if kind == "seq2seq" else "llama"},
        weights_dtype=dtype,
        optimiser=optimiser(**chosen, weight_decay=0.0, **options),
        lora=Lora(r=2, alpha=4, dropout=0.0, target_modules=TARGETS[kind]) if lora else None,
    )  # fmt: skip


def attached(name, stored, tokenizer, *, precision="32-true", **options):
    kind, given, source = METHODS[name]
    model = model_of(stored, tokenizer, "seq2seq" if "seq2seq" in name else "causal", **options)
    if given is None:
        method = kind(model)
    else:
        given = given if kind is RelationGenerator else {"sampler": SAMPLER, **given}
        method = kind(model=model, seed=0, **given)
    data = source()
    method.attach(data)
    method.compute_in(precision)
    if hasattr(method, "prepare"):
        method.prepare(data, TemporaryStages())
    return method, data


def trained(name, folder, stored, tokenizer, *, precision="32-true", **options):
    method, data = attached(name, stored, tokenizer, precision=precision, **options)
    before = {key: value.detach().clone() for key, value in method.network.named_parameters()}
    fit(method, data, folder=folder, max_steps=3, precision=precision, accelerator="cpu", checkpoint_every=None)
    return method, before


@pytest.mark.parametrize("name", METHODS)
def test_weights_stored_in_16_bits_train_as_those_in_32(name, stored, tokenizer, tmp_path):
    """The same values, kept in 32 bits from the start: every loss, gradient and step is the same, to the last bit."""
    half, before = trained(name, tmp_path / "half", stored, tokenizer)
    full, _ = trained(name, tmp_path / "full", stored, tokenizer, dtype="float32")
    expected = dict(full.network.named_parameters())
    moved = 0
    for key, value in half.network.named_parameters():
        assert value.dtype == torch.float32 and torch.equal(value, expected[key]), key
        moved += int((value != before[key]).sum())
    # Steps of 5e-7: in 16 bits next to no weight would have moved. Embeddings of words that no text has do not.
    counted = [value.numel() for key, value in before.items() if "embed" not in key and "shared" not in key]
    assert moved > 0.9 * sum(counted)
    moments = [state["exp_avg_sq"] for state in half.optimizers(use_pl_optimizer=False).state.values()]
    assert moments and all(one.dtype == torch.float32 for one in moments)
    assert all(value.dtype == torch.float32 for value in load_file(tmp_path / "half" / "model.safetensors").values())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", METHODS)
def test_adapters_train_in_32_bits_on_frozen_weights_in_16(name, precision, stored, tokenizer, tmp_path):
    method, before = trained(name, tmp_path, stored, tokenizer, precision=precision, lora=True)
    for key, value in method.network.named_parameters():
        assert value.dtype == (torch.float32 if value.requires_grad else torch.bfloat16), key
        assert value.requires_grad or torch.equal(value, before[key])
    tuned = {key: value for key, value in method.network.named_parameters() if value.requires_grad}
    still = [key for key, value in tuned.items() if torch.equal(value, before[key])]
    # V has no gradient as long as policy and reference are the same, to the seventh digit.
    assert tuned and not [key for key in still if "value_head" not in key], still


@pytest.mark.parametrize("name", METHODS)
def test_mixed_precision_keeps_weights_in_32_bits(name, stored, tokenizer, tmp_path):
    method, before = trained(name, tmp_path, stored, tokenizer, precision="bf16-mixed")
    moved = sum(int((value != before[key]).sum()) for key, value in method.network.named_parameters())
    assert all(value.dtype == torch.float32 for value in method.network.parameters())
    assert moved > 0.5 * sum(value.numel() for key, value in before.items() if "embed" not in key)


def test_what_was_trained_is_not_rounded_when_a_frozen_model_takes_it(stored, tokenizer, tmp_path):
    trained("sft", tmp_path, stored, tokenizer)
    probe = PolicyProbe(model=model_of(stored, tokenizer), seed=0, sampler=SAMPLER)
    probe.attach(SumData())
    assert {value.dtype for value in probe.network.parameters()} == {torch.bfloat16}  # frozen: as it is stored
    probe.load_weights(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    for key, value in probe.network.named_parameters():
        assert torch.equal(value, weights[key]), key


def test_weights_of_16_bits_load_into_those_of_32(stored, tokenizer, tmp_path):
    method, _ = attached("sft", stored, tokenizer)
    half = {key: value.detach().bfloat16() + 1 for key, value in method.network.named_parameters()}
    save_file(half, tmp_path / "model.safetensors")
    method.load_weights(tmp_path)
    for key, value in method.network.named_parameters():
        assert value.dtype == torch.float32 and torch.equal(value, half[key].float())


def test_a_training_in_mixed_precision_resumes_in_the_same_bits(stored, tokenizer, tmp_path):
    class Stop(Exception):
        pass

    def stop(done, total):
        if done == 3:
            raise Stop

    def run(folder, progress=None):
        method, data = attached("dpo", stored, tokenizer, precision="bf16-mixed")
        options = {"max_steps": 5, "precision": "bf16-mixed", "accelerator": "cpu", "checkpoint_every": 1e-4}
        fit(method, data, folder=folder, progress=progress, **options)

    run(tmp_path / "whole")
    with pytest.raises(Stop):
        run(tmp_path / "broken", stop)
    run(tmp_path / "broken")
    whole, broken = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(whole[key], broken[key]) for key in whole)


def test_what_is_scored_is_computed_and_named_by_the_precision(stored, tokenizer):
    """References, pivots and samples come from the precision of the training, and stages of two are not mixed up."""
    named = []

    class Noting:
        def __init__(self):
            self._stages = TemporaryStages()

        def get(self, kind, key, build):
            named.append((kind, key))
            return self._stages.get(kind, key, build)

    found = []
    for precision in ("32-true", "bf16-mixed"):
        method, data = attached("dpo", stored, tokenizer, precision=precision)
        method.prepare(data, Noting())
        pair = data.items("train")[0]
        with computing(method.network), torch.no_grad():
            found.append((method.score([pair]).sums, method._reference[pair][0], method.network.precision))
    (full, full_cached, _), (mixed, mixed_cached, name) = found
    assert name == "bf16-mixed"
    assert full[0].tolist() == pytest.approx(full_cached.tolist(), abs=1e-4)
    assert mixed[0].tolist() == pytest.approx(mixed_cached.tolist(), abs=0.05) and not torch.equal(full, mixed)
    keys = [key for kind, key in named if kind == "reference_logps"]
    assert len(keys) == 2 and keys[0] != keys[1] and keys[1]["precision"] == "bf16-mixed"
    assert {**keys[0], "precision": "bf16-mixed"} == keys[1]


def test_evaluation_computes_as_the_training_does(stored, tokenizer):
    method, _ = attached("sft", stored, tokenizer, precision="bf16-mixed")
    with evaluating(method.network):
        assert torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")
    method.compute_in("32-true")
    with evaluating(method.network):
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(
    ("precision", "said"),
    [
        ("bf16-true", "would train weights of 16 bits, where small steps are lost: set bf16-mixed"),
        ("16-true", "would train weights of 16 bits, where small steps are lost: set 16-mixed or 32-true"),
        ("bf16", "must be one of 32-true, 16-mixed, bf16-mixed, got 'bf16'"),
    ],
)
def test_precisions_that_would_train_half_weights_are_refused_in_one_line(precision, said):
    with pytest.raises(ValueError, match=said) as caught:
        check_options(max_steps=1, precision=precision)
    assert "\n" not in str(caught.value)


def test_half_precision_that_costs_time_is_said(monkeypatch):
    times = slowdown_on_cpu(size=64, seconds=0.002)
    assert math.isfinite(times) and times > 0
    monkeypatch.setattr(fitting, "slowdown_on_cpu", lambda: 2.5)
    with pytest.warns(UserWarning, match=r"take 2\.5 times as long as in fp32 on this CPU"):
        fitting._advise("bf16-mixed", "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitting._advise("32-true", "cpu")
        monkeypatch.setattr(fitting, "slowdown_on_cpu", lambda: 0.4)
        fitting._advise("bf16-mixed", "cpu")


def test_only_what_is_trained_is_raised():
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)).to(torch.bfloat16)
    network[0].requires_grad_(False)
    network.register_buffer("scale", torch.ones(1, dtype=torch.bfloat16))
    keep_trained_in_32_bits(network)
    assert (network[0].weight.dtype, network[1].weight.dtype) == (torch.bfloat16, torch.float32)
    assert network.scale.dtype == torch.bfloat16
    network[0].requires_grad_(True)
    keep_trained_in_32_bits(network)
    assert network[0].weight.dtype == network.scale.dtype == torch.float32


class Pairs:
    """The same pairs in every step."""

    collate, start_step, count_tokens, steps_per_epoch = None, 0, None, 1
    texts = (
        ("Name a colour of the sky.", "Blue, and in the evening red or even violet.", "The number 7 is my favourite!"),
        ("What is 2 + 2?", "It is 4, as two and two make four.", "Perhaps five; nobody can know for sure."),
        ("Say hello to Anna.", "Hello, Anna! How was your journey to Rome?", "Goodbye. # print(x[0]) returns None"),
        ("Which animals lay eggs?", "Birds do, most fish, frogs and many reptiles.", "Cars, chairs & Monday mornings."),
    )

    def items(self, split, limit=None):
        return [PreferencePair(str(row), *texts) for row, texts in enumerate(self.texts)]

    def train_dataloader(self):
        rows = self.items("train")
        return StepLoader(rows, batch_size=4, seed=0, collate=self.collate, start_step=self.start_step)


class Losses:
    def __init__(self):
        self.values = []

    def log_metrics(self, metrics, step):
        self.values.append(metrics["train/loss"])


@pytest.mark.slow
def test_smollm2_stored_in_16_bits_learns_preferences_at_5e_7(smollm2_folder, tmp_path):
    """Eight steps, as in fp32: with 16-bit weights a thousandth of the weights moved, and the loss did not fall."""
    falls = {}
    for dtype in ("bfloat16", "float32"):
        model = Pretrained(
            kind="causal", weights=str(smollm2_folder), architecture={"model_type": "llama"}, prompt_limit=512,
            weights_dtype=dtype, optimiser=optimiser(learning_rate=RATE, warmup=0.0, weight_decay=0.0),
        )  # fmt: skip
        method, data, losses = (
            PreferenceOptimisation(model=model, seed=0, sampler=SAMPLER, objective=objective("dpo")),
            Pairs(),
            Losses(),
        )
        method.attach(data)
        method.prepare(data, TemporaryStages())
        before = {key: value.detach().clone() for key, value in method.network.named_parameters()}
        options = {"max_steps": 8, "accelerator": "cpu", "log_every": 1, "checkpoint_every": None}
        fit(method, data, folder=tmp_path / dtype, loggers=[losses], gradient_clip=None, **options)
        moved = sum(int((value != before[key]).sum()) for key, value in method.network.named_parameters())
        assert moved > 0.99 * sum(value.numel() for value in before.values()), dtype
        falls[dtype] = losses.values[0] - losses.values[-1]
    assert falls["float32"] > 0.02
    assert falls["bfloat16"] == pytest.approx(falls["float32"], rel=0.2)
