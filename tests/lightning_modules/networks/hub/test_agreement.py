"""Every family says here what it says in the transformers library: heads, windows, layouts, and what is refused."""

from functools import partial

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from lightning_modules.losses.logps import IGNORED
from lightning_modules.networks.hub import agreement as hub_agreement
from lightning_modules.networks.hub import causal_lm as hub_causal
from lightning_modules.networks.hub import masks as hub_masks
from lightning_modules.networks.hub.agreement import check_agreement, differences
from lightning_modules.networks.hub.causal_lm import HubCausal
from lightning_modules.networks.hub.pretrained import Lora, Pretrained
from lightning_modules.networks.language_model import LanguageModel
from lightning_modules.networks.token_batch import packed_batch, padded_batch, shared_prompt_batch
from lightning_modules.sampling.sampler import Sampler
from tests.lightning_modules.tiny_models import optimiser, tiny

V = 97
SIZES = {"vocab_size": V, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 64}
SIZES |= {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
HEADS = {"num_key_value_heads": 2, "head_dim": 8}
WINDOW = 6
FAMILIES = {
    "llama": HEADS,
    "mistral": {**HEADS, "sliding_window": WINDOW},
    "mixtral": {**HEADS, "sliding_window": WINDOW, "num_local_experts": 4},
    "phi3": {"num_key_value_heads": 2, "sliding_window": WINDOW},
    "qwen2": {"num_key_value_heads": 2, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    "qwen3": {**HEADS, "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    "gemma2": {**HEADS, "sliding_window": WINDOW, "final_logit_softcapping": 1.5, "attn_logit_softcapping": 2.0},
    "gemma3_text": {
        **HEADS,
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention"],
        "final_logit_softcapping": 1.5,
    },
    "cohere": {"num_key_value_heads": 2, "logit_scale": 0.25},
    "cohere2": {
        "num_key_value_heads": 2,
        "logit_scale": 0.25,
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "granite": {"num_key_value_heads": 2, "logits_scaling": 4.0, "embedding_multiplier": 3.0},
    "gpt_oss": {**HEADS, "sliding_window": WINDOW, "num_local_experts": 4, "num_experts_per_tok": 2},
    "llama4_text": {
        **HEADS,
        "intermediate_size_mlp": 64,
        "num_local_experts": 2,
        "attention_chunk_size": WINDOW,
        "layer_types": ["chunked_attention", "full_attention"],
    },
    "gpt_neox": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
}
"""Two small layers of each; windows and chunks that the texts below pass, scales and caps that cannot be overlooked."""


def longer(family):
    """Windows as real models have them, which no short text passes."""
    return {key: 4096 for key in ("sliding_window", "attention_chunk_size") if key in FAMILIES[family]}


WINDOWED = [name for name in FAMILIES if longer(name)]
SCALED = ["granite", "gemma2", "gemma3_text", "cohere", "cohere2"]


def network_of(family, **changed):
    known = AutoConfig.for_model(family)
    sizes = {key: value for key, value in SIZES.items() if hasattr(known, key)}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**sizes, **FAMILIES[family], **changed}))
    with torch.no_grad():  # as drawn, attention and head would hardly tell tokens apart
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return model.eval()


class Ids:
    """A codec whose texts are lists of characters."""

    padding, end, ends = 0, 2, frozenset({2})

    def response_ids(self, texts):
        return [[*(3 + ord(letter) % (V - 3) for letter in text), self.end] for text in texts]


def language_model(model, limit=64):
    return LanguageModel(HubCausal(model, limit=limit, padding=0), Ids(), pretrained=True).eval()


PROMPT, CHOSEN, REJECTED = ([*range(first, first + 4 * count, 4)] for first, count in ((3, 14), (5, 9), (4, 7)))
TEXTS = [(PROMPT, CHOSEN), (PROMPT, REJECTED), (REJECTED, CHOSEN)]


def plain(model, prompt, response):
    """The library's own log-probabilities: the model called on one row, and nothing else given."""
    logits = model(input_ids=torch.tensor([prompt + response])).logits[0].log_softmax(-1)
    return [float(logits[len(prompt) + place - 1, token]) for place, token in enumerate(response)]


def check(model, batch, expected, *, chunk=None, tolerance=1e-4):
    found, mask = model.response_logps(batch, chunk=chunk)
    for row, real, wanted in zip(found, mask, expected, strict=True):
        assert row[real].tolist() == pytest.approx(wanted, abs=tolerance)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_all_four_layouts_say_what_the_library_says(family):
    theirs = network_of(family)
    expected = [plain(theirs, *text) for text in TEXTS]
    ours = language_model(theirs)
    prompts, responses = zip(*TEXTS, strict=True)
    check(ours, padded_batch(prompts, responses, padding=0), expected)
    check(ours, padded_batch(prompts, responses, padding=0), expected, chunk=5)
    check(ours, packed_batch(prompts, responses, row_length=60, padding=0), expected)
    check(ours, shared_prompt_batch([PROMPT], [CHOSEN], [REJECTED], padding=0), expected[:2])


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_what_is_written_has_the_log_probabilities_of_what_is_read(family):
    theirs = network_of(family)
    ours = language_model(theirs)
    options = {"copies": 2, "generator": torch.Generator().manual_seed(0)}
    written = Sampler(max_tokens=12).sample(ours, [PROMPT, REJECTED], **options)
    for row, ids in enumerate(written.rows()):
        expected = plain(theirs, PROMPT if row < 2 else REJECTED, ids)
        assert written.logps[row, : len(ids)].tolist() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_greedy_text_is_that_of_generate(family):
    theirs = network_of(family)
    greedy = Sampler(max_tokens=12, temperature=0.0)
    ours = greedy.sample(language_model(theirs), [PROMPT, REJECTED], generator=torch.Generator()).rows()
    for prompt, written in zip((PROMPT, REJECTED), ours, strict=True):
        ids = torch.tensor([prompt])
        settings = GenerationConfig(max_new_tokens=12, do_sample=False, eos_token_id=2, pad_token_id=0)
        found = theirs.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        assert found[0, len(prompt) :].tolist() == written


@pytest.mark.parametrize("family", FAMILIES)
def test_the_comparison_at_build_finds_them_equal_also_with_long_windows(family):
    theirs = network_of(family, **longer(family))
    ours = language_model(theirs).train()
    apart = differences(ours)
    assert set(apart) == {"padded", "chunked", "packed", "shared", "written"}
    assert max(difference.largest for difference in apart.values()) < 1e-4
    check_agreement(ours, name=family, kept=torch.float32)
    assert not ours.causal.refused and theirs.training
    assert all(getattr(theirs.config, key) == 4096 for key in longer(family))


@pytest.mark.parametrize("family", SCALED)
def test_a_head_without_its_scale_is_refused_at_build(family, monkeypatch):
    monkeypatch.setattr(hub_causal, "own_logits", lambda model, states: model.get_output_embeddings()(states))
    ours = language_model(network_of(family))
    with pytest.raises(ValueError, match=rf"^{family} read here differs by .* nats a token .*choose another") as caught:
        check_agreement(ours, name=family, kept=torch.float32)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", WINDOWED)
def test_layouts_that_drop_windows_are_refused_and_others_are_not(family, monkeypatch):
    def without_windows(layout, mask):
        return lambda batch, head, query, key: layout.seen[batch, query, key]

    monkeypatch.setattr(hub_masks.Layout, "over", without_windows)
    ours = language_model(network_of(family, **longer(family)))
    check_agreement(ours, name=family, kept=torch.float32)
    assert set(ours.causal.refused) == {"packed", "shared"}
    with torch.no_grad():
        ours.response_logps(padded_batch([PROMPT], [CHOSEN], padding=0))
    for batch, said in (
        (
            packed_batch([PROMPT], [CHOSEN], row_length=60, padding=0),
            r"packed rows differs .* set method\.packing=null",
        ),
        (shared_prompt_batch([PROMPT], [CHOSEN], [REJECTED], padding=0), r"shared prompt differs .*share_prompt=false"),
    ):
        with pytest.raises(ValueError, match=said) as caught:
            ours.response_logps(batch)
        assert "\n" not in str(caught.value)


@torch.no_grad()
def test_a_model_that_makes_no_masks_of_pairs_is_read_in_padded_rows_alone():
    """A Mamba's state runs through the row: what is packed behind something else would remember it."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": V, "state_size": 4, "time_step_rank": 2}
    mamba = AutoModelForCausalLM.from_config(AutoConfig.for_model("mamba", **sizes)).eval()
    ours = language_model(mamba)
    with pytest.raises(ValueError, match=r"makes its masks itself: set method\.packing=null"):
        ours.response_logps(packed_batch([PROMPT], [CHOSEN], row_length=60, padding=0))
    check_agreement(ours, name="mamba", kept=torch.float32)
    assert {"packed", "shared"} <= set(ours.causal.refused)
    check(ours, padded_batch(*zip(*TEXTS, strict=True), padding=0), [plain(mamba, *text) for text in TEXTS])
    with pytest.raises(ValueError, match="token by token"):
        ours.network.open([PROMPT], copies=1, room=2)


@torch.no_grad()
def test_a_hybrid_is_read_in_padded_rows_and_written():
    """States of linear attention run through the row, and are kept with what is written."""
    linear = {"linear_num_key_heads": 2, "linear_num_value_heads": 2}
    linear |= {"linear_key_head_dim": 8, "linear_value_head_dim": 8}
    sizes = {key: value for key, value in SIZES.items() if key != "intermediate_size"} | HEADS | linear
    torch.manual_seed(0)
    layers = ["linear_attention", "full_attention"]
    config = AutoConfig.for_model("qwen3_5_text", **sizes, intermediate_size=64, layer_types=layers)
    theirs = AutoModelForCausalLM.from_config(config).eval()
    for weight in theirs.parameters():
        weight.add_(0.2 * torch.randn_like(weight))
    ours = language_model(theirs)
    check_agreement(ours, name="qwen3_5", kept=torch.float32)
    assert set(ours.causal.refused) == {"packed", "shared"}
    expected = [plain(theirs, *text) for text in TEXTS]
    check(ours, padded_batch(*zip(*TEXTS, strict=True), padding=0), expected, tolerance=1e-3)
    options = {"copies": 2, "generator": torch.Generator().manual_seed(0)}
    written = Sampler(max_tokens=12, leave_share=0.01).sample(ours, [PROMPT, REJECTED], **options)
    for row, ids in enumerate(written.rows()):
        expected = plain(theirs, PROMPT if row < 2 else REJECTED, ids)
        assert written.logps[row, : len(ids)].tolist() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("family", ["granite", "mistral"])
def test_gradients_are_those_of_the_library(family):
    theirs = network_of(family)
    ours = language_model(theirs)
    found = []
    for packed in (False, True):
        theirs.zero_grad()
        if packed:
            batch = packed_batch([PROMPT, PROMPT], [CHOSEN, REJECTED], row_length=60, padding=0)
            loss = ours.response_logps(batch, chunk=4)[0].sum()
        else:
            loss = 0
            for response in (CHOSEN, REJECTED):
                ids = torch.tensor([PROMPT + response])
                labels = torch.tensor([[IGNORED] * len(PROMPT) + response])
                loss = loss - theirs(input_ids=ids, labels=labels).loss * len(response)
        loss.backward()
        found.append({name: value.grad.clone() for name, value in theirs.named_parameters()})
    for name, wanted in found[0].items():
        torch.testing.assert_close(found[1][name], wanted, atol=1e-4, rtol=1e-3, msg=name)


def described(family, tokenizer, **options):
    known = AutoConfig.for_model(family)
    sizes = {key: value for key, value in SIZES.items() if hasattr(known, key)}
    architecture = {"model_type": family, **sizes, **FAMILIES[family], "vocab_size": tokenizer[1]}
    architecture["max_position_embeddings"] = 256
    shared = {"prompt_limit": 128, "optimiser": optimiser(), "tokenizer": {"weights": str(tokenizer[0])}}
    shared["prompt_wrapper"] = "{prompt}"
    return Pretrained(kind="causal", weights=None, architecture=architecture, **{**shared, **options})


@pytest.mark.parametrize("family", SCALED)
def test_a_config_of_any_kind_has_the_models_own_head(family, tokenizer):
    """Also without a reader's class of its own: caps and scales were lost but for Gemma's readers."""
    torch.manual_seed(0)
    built = described(family, tokenizer).build_language_model()
    built.eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        theirs = built.causal.model(input_ids=ids).logits
        torch.testing.assert_close(built.network.lm_head(built.network.hidden(ids)), theirs, atol=1e-5, rtol=1e-5)


def test_adapters_also_in_the_head_are_read(tokenizer):
    lora = Lora(r=2, alpha=4, dropout=0.0, target_modules=["q_proj", "lm_head"])
    built = described("granite", tokenizer, lora=lora).build_language_model().eval()
    with torch.no_grad():
        for name, weight in built.named_parameters():
            if "lora_B" in name:
                weight.add_(torch.randn_like(weight))
        ids = torch.tensor([[5, 6, 7, 8]])
        theirs = built.causal.model(input_ids=ids).logits
        torch.testing.assert_close(built.network.lm_head(built.network.hidden(ids)), theirs, atol=1e-4, rtol=1e-4)


def test_a_model_is_compared_once_a_process(tokenizer, monkeypatch):
    compared = []
    both = {name: getattr(hub_agreement, name) for name in ("differences", "answer_differences")}
    for name, own in both.items():
        monkeypatch.setattr(hub_agreement, name, partial(lambda own, model: compared.append(own) or own(model), own))
    monkeypatch.setattr(hub_agreement, "_agreed", {})
    for _ in range(2):
        described("llama", tokenizer).build_language_model()
        described("llama", tokenizer).build()
    assert compared == [both["differences"], both["answer_differences"]]
    described("llama", tokenizer, lora=Lora(r=2, alpha=4, dropout=0.0, target_modules=["q_proj"])).build()
    assert len(compared) == 3


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_answers_that_differ_from_the_library_are_refused_at_build(kind, tokenizer, monkeypatch):
    model = tiny(kind, tokenizer)
    made = type(model.build())
    monkeypatch.setattr(hub_agreement, "_agreed", {})
    own = made.answer_logps
    monkeypatch.setattr(made, "answer_logps", lambda self, batch: (2 * own(self, batch)[0], own(self, batch)[1]))
    with pytest.raises(ValueError, match=r"read here differs by .* nats a token from the transformers library's own"):
        model.build()
    monkeypatch.setattr(made, "answer_logps", own)
    scored = made.score_ids
    monkeypatch.setattr(
        made, "score_ids", lambda self, *ids: scored(self, *ids)._replace(sums=2 * scored(self, *ids).sums)
    )
    with pytest.raises(ValueError, match=r"several answers differs .*: set evaluation\.decoding=free"):
        model.build().score(["cause"], ["effect"])
