"""The models of the implicit-reward paper's scale: built without storage, with the sizes that their makers state."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

CONF = Path(__file__).resolve().parents[4] / "conf"


def settings(name):
    with initialize_config_dir(str(CONF), version_base=None):
        node = OmegaConf.to_container(compose("config", overrides=[f"model={name}"]), resolve=True)["model"]
    return {key: value for key, value in node.items() if key not in {"label", "cost"}}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # Embedding and head 2 V H (one of them where tied), layers L (2 H^2 + 2 H K + 3 H F + 2 H), last norm H, with
        # K the width of all key heads; Qwen's three projections have biases, H + 2 K a layer.
        ("llama3_8b", 2 * 128256 * 4096 + 32 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336 + 2 * 4096) + 4096),
        ("mistral_7b", 2 * 32000 * 4096 + 32 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336 + 2 * 4096) + 4096),
        ("qwen2_5_0_5b", 151936 * 896 + 24 * (2 * 896**2 + 2 * 896 * 128 + 3 * 896 * 4864 + 3 * 896 + 256) + 896),
    ],
)
def test_parameters_on_the_meta_device(name, parameters):
    network = instantiate(settings(name)).skeleton()
    found = list(network.parameters())
    assert all(one.is_meta for one in found)
    assert sum(one.numel() for one in found) == parameters


def test_the_makers_own_counts():
    """8.03, 7.24 and 0.49 billion, as the model cards say."""
    for name, billions in (("llama3_8b", 8.03), ("mistral_7b", 7.24), ("qwen2_5_0_5b", 0.49)):
        count = sum(one.numel() for one in instantiate(settings(name)).skeleton().parameters())
        assert count / 1e9 == pytest.approx(billions, abs=0.005)


@pytest.mark.parametrize("name", ["llama3_8b", "mistral_7b"])
def test_the_wrapper_leaves_the_start_token_to_the_tokenizer(name):
    wrapper = settings(name)["prompt_wrapper"]
    assert wrapper.count("{prompt}") == 1
    assert not wrapper.startswith(("<s>", "<|begin_of_text|>")) and not wrapper.endswith(("</s>", "{prompt}"))


INSTRUCTED = [
    "gemma2_9b_it", "llama3_8b_instruct", "mistral_7b_instruct", "mistral_nemo_12b_instruct", "qwen2_5_0_5b",
    "qwen2_5_0_5b_instruct", "qwen2_5_0_5b_reader", "qwen2_5_math_7b", "smollm2_135m_instruct",
]  # fmt: skip


@pytest.mark.parametrize("name", INSTRUCTED)
def test_models_whose_tokenizer_has_a_chat_template_are_spoken_to_by_it(name):
    assert settings(name)["prompt_wrapper"] is None and settings(name)["system"] is None


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "model").glob("*.yaml")))
def test_no_other_model_is_left_without_a_format(name):
    with initialize_config_dir(str(CONF), version_base=None):
        node = compose("config", overrides=[f"model={name}"]).model
    if "prompt_wrapper" in node and name not in INSTRUCTED:
        assert node["prompt_wrapper"].count("{prompt}") == 1


@pytest.mark.parametrize("name", ["llama3_8b", "qwen2_5_0_5b"])
def test_an_instructed_model_is_its_base_with_other_weights(name):
    base, instructed = settings(name), settings(f"{name}_instruct")
    base.pop("prompt_wrapper"), instructed.pop("prompt_wrapper")  # a base may have no template of its own
    assert base.pop("weights") != instructed.pop("weights") and base == instructed
