"""Memory from shapes: parameters as the networks have them, and memory that moves with what causes it."""

import copy

import pytest

from sweeps.execution.ledger import prior_cost
from sweeps.planning.memory import peak_mebibytes, shape_of
from sweeps.planning.plan import Composer, resolve


def config_of(*overrides):
    return resolve(Composer().compose(overrides))[0]


@pytest.mark.parametrize(
    ("model", "published"),
    [
        ("llama2_7b", 6_738_415_616),
        ("mistral_7b_instruct", 7_241_732_096),
        ("flan_t5_base", 247_577_856),
        ("flan_t5_large", 783_150_080),
        ("flan_t5_xl", 2_849_757_184),
    ],
)
def test_parameters_are_those_that_the_models_publish(model, published):
    assert shape_of(config_of(f"model={model}")["model"]).parameters == pytest.approx(published, rel=1e-3)


@pytest.mark.parametrize("model", ["tiny_t5", "tiny_llama", "scratch_llama"])
def test_parameters_are_those_of_the_network_itself(model):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    from lightning_modules.networks.architecture import configuration

    described = config_of(f"model={model}")["model"]
    kind = AutoModelForSeq2SeqLM if described["kind"] == "seq2seq" else AutoModelForCausalLM
    with torch.device("meta"):
        network = kind.from_config(configuration(described["architecture"], None))
    counted = sum(parameter.numel() for parameter in network.parameters())
    assert shape_of(described).parameters == pytest.approx(counted, rel=0.01)


def test_four_bits_take_less_than_sixteen():
    quantised = config_of("model=llama2_7b", "trainer=qlora")
    whole = copy.deepcopy(quantised)
    whole["method"]["model"]["quantisation"] = None
    # 6.74 thousand million weights: 2 bytes each, or 0.57.
    assert peak_mebibytes(whole) - peak_mebibytes(quantised) == pytest.approx(6738 * (2 - 0.57) / 1.048576, rel=0.01)


def test_memory_grows_with_batch_and_with_training_alone():
    small, large = config_of("data.batch_size=8"), config_of("data.batch_size=64")
    assert peak_mebibytes(large) > peak_mebibytes(small) + 100
    assert peak_mebibytes(config_of("method.tune=false")) < peak_mebibytes(small)
    # AdamW and the gradient: twelve bytes for each trained weight.
    frozen = config_of("data.batch_size=8", "model.frozen_layers=3")
    layer = shape_of(small["model"]).layer_parameters * 12 / 2**20
    assert peak_mebibytes(small) - peak_mebibytes(frozen) > layer


def test_what_is_trained_takes_sixteen_bytes_however_it_came():
    chosen = ["model=qwen2_5_0_5b", "method=sft", "data=ultrachat", "evaluation=text", "trainer.precision=bf16-mixed"]
    half, whole = (config_of(*chosen, f"model.weights_dtype={name}") for name in ("bfloat16", "float32"))
    assert peak_mebibytes(half) == peak_mebibytes(whole)
    weights = shape_of(half["model"]).parameters / 2**20
    prompted = copy.deepcopy(half)
    prompted["method"]["tune"] = False
    # Trained: weight, gradient and two moments in fp32, and a copy in 16 bits to compute with; prompted: 2 bytes each.
    assert peak_mebibytes(half) - peak_mebibytes(prompted) > weights * (16 + 2 - 2)
    frozen = peak_mebibytes(prompted)
    prompted["method"]["model"]["weights_dtype"] = "float32"
    assert peak_mebibytes(prompted) - frozen == pytest.approx(2 * weights, rel=1e-6)


def test_a_method_without_a_network_keeps_the_figure_of_its_config():
    config = config_of("method=linear_svm")
    assert peak_mebibytes(config) is None
    assert prior_cost(config).mebibytes == config["method"]["cost"]["mebibytes"]


def test_a_network_that_states_no_shape_is_not_guessed():
    assert shape_of({"label": "remote"}) is None


def test_neighbours_in_the_prompt_and_the_base_model_count():
    simple, shown = config_of("base=none"), config_of("base=none", "retriever=sbert", "prompt=unlabelled")
    # Frozen layers' output on 6,995 prompts of 32 tokens a sentence, width 384, fp32: one sentence more.
    assert peak_mebibytes(shown) - peak_mebibytes(simple) > 6995 * 32 * 384 * 4 / 2**20
    reading = config_of("method.tune=false", "base=re/fewrel")
    assert peak_mebibytes(reading) > peak_mebibytes({**reading, "base": None})
