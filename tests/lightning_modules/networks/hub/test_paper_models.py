"""The paper-scale configs with two layers and random weights: the same code path, from config to trained answer."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lightning_modules.relations.re import RelationGenerator
from lightning_modules.training.fit import fit
from tests.lightning_modules.tiny_models import LABELS, Corpus

CONF = Path(__file__).resolve().parents[4] / "conf"
SMALL = {
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
    "llama": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
}
SMALL["t5"] |= {"pad_token_id": 0, "eos_token_id": 3}
SMALL["llama"] |= {"num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
SMALL["mistral"] = {**SMALL["llama"], "num_key_value_heads": 1}
PAPER = ["flan_t5_large", "flan_t5_xl", "flan_t5_xxl", "llama2_7b", "mistral_7b_instruct"]


def settings(name):
    with initialize_config_dir(str(CONF), version_base=None):
        node = OmegaConf.to_container(compose("config", overrides=[f"model={name}"]), resolve=True)["model"]
    return {key: value for key, value in node.items() if key not in {"label", "cost"}}


def shrunk(name, tokenizer):
    """The config's own model but for its sizes, and for what random weights on a CPU cannot have: weights, 4 bits."""
    folder, size = tokenizer
    node = settings(name)
    kind = node["architecture"]["model_type"]
    node["architecture"] = {**node["architecture"], **SMALL[kind], "vocab_size": size}
    plain = {} if node["prompt_wrapper"] else {"prompt_wrapper": "{prompt}"}  # this tokenizer has no chat template
    node |= {"weights": None, "quantisation": None, "tokenizer": {"weights": str(folder)}, **plain}
    return instantiate(node)


@pytest.mark.parametrize("name", PAPER)
def test_the_paper_fine_tunes_in_four_bits_with_lora(name):
    model = instantiate(settings(name))
    quantisation = model.quantisation_config()
    assert quantisation.load_in_4bit and quantisation.bnb_4bit_quant_type == "nf4"
    assert quantisation.bnb_4bit_compute_dtype == model.weights_dtype and not quantisation.bnb_4bit_use_double_quant
    assert model.lora.r in (4, 8) and model.lora.alpha == 32
    assert instantiate({**settings(name), "quantisation": None}).quantisation_config() is None


@pytest.mark.parametrize("name", PAPER)
def test_two_layers_of_it_train_save_load_and_answer(name, tokenizer, tmp_path):
    data = Corpus()
    method = RelationGenerator(model=shrunk(name, tokenizer), seed=0, predict_batch=4)
    method.attach(data)
    before = {key: value.clone() for key, value in method.network.named_parameters()}
    data.collate = method.collate
    options = {"max_epochs": None, "max_steps": 2, "precision": "32-true", "accelerator": "cpu", "devices": 1}
    fit(method, data, folder=tmp_path, loggers=[], strategy="auto", gradient_clip=0.3, checkpoint_every=60.0, **options)
    moved = {key for key, value in method.network.named_parameters() if not torch.equal(value, before[key])}
    assert moved and all("lora_" in key for key in moved)
    again = RelationGenerator(model=shrunk(name, tokenizer), seed=0, predict_batch=4)
    again.attach(data)
    again.load_weights(tmp_path)
    found = [one.predict(data, split="train", limit=4) for one in (method, again)]
    assert found[0] == found[1] and all(one.prediction in LABELS for one in found[0])
    free = RelationGenerator(model=shrunk(name, tokenizer), seed=0, decoding="free", max_answer_tokens=3)
    free.attach(data)
    assert all(one.prediction in ("", *LABELS) for one in free.predict(data, split="train", limit=2))
