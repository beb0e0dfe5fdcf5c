"""The paper's readers: their shapes on the meta device, and two layers of each with random weights."""

import pytest
import torch
from hydra.utils import instantiate

from tests.lightning_modules.networks.hub.test_paper_models import settings

READERS = {
    "gemma2_9b": 9.24e9,
    "gemma2_9b_it": 9.24e9,
    "mistral_nemo_12b": 12.25e9,
    "mistral_nemo_12b_instruct": 12.25e9,
    "qwen2_5_0_5b_reader": 0.494e9,
}
"""Parameters by the model cards."""

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL |= {"num_key_value_heads": 1, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}


@pytest.mark.parametrize("name", READERS)
def test_full_size_builds_without_storage(name):
    network = instantiate(settings(name)).skeleton()
    assert all(weight.is_meta for weight in network.parameters())
    assert sum(weight.numel() for weight in network.parameters()) == pytest.approx(READERS[name], rel=0.01)


@pytest.mark.parametrize("name", ["gemma2_9b_it", "mistral_nemo_12b", "qwen2_5_0_5b_reader"])
def test_two_layers_of_it_read_and_score(name, tokenizer):
    folder, size = tokenizer
    node = settings(name)
    sizes = {**SMALL, "vocab_size": size} | ({"head_dim": 16} if "head_dim" in node["architecture"] else {})
    node["architecture"] = {**node["architecture"], **sizes}
    node["prompt_wrapper"] = "{prompt}"  # this tokenizer has no chat template
    torch.manual_seed(0)
    model = instantiate({**node, "weights": None, "weights_dtype": "float32", "tokenizer": {"weights": str(folder)}})
    built = model.build_language_model()
    ids = torch.randint(4, size, (2, 9))
    with torch.no_grad():
        found = built.network.lm_head(built.network.hidden(ids))
        theirs = built.causal.model(ids).logits
    # The library's own forward pass caps where the model caps: so must ours.
    torch.testing.assert_close(found, theirs, atol=1e-5, rtol=1e-5)
    if "gemma" in name:
        states = 1e4 * torch.ones(1, 1, 32)
        assert built.network.lm_head(states).abs().max() <= 30.0
    node["prompt_limit"] = 12
    short = instantiate({**node, "weights": None, "weights_dtype": "float32", "tokenizer": {"weights": str(folder)}})
    reading = short.build_language_model()
    (ids,) = reading.codec.prompt_ids(["word " * 40])
    assert len(ids) > 40 and reading.network.limit == 12  # a budget must be able to count what exceeds it
    with pytest.raises(ValueError, match="limit of 12"):
        reading.check_lengths([ids], [[1]])
