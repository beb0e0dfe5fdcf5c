"""What of a network is sharded, and how a whole one is put together again."""

import pytest
import torch
from torch import nn

from lightning_modules.distributed.fsdp import blocks, fill, gather, outline, root
from lightning_modules.networks.hub.pretrained import Lora
from tests.lightning_modules.tiny_models import tiny

LORA = Lora(r=2, alpha=4, dropout=0.0, target_modules=["q_proj", "v_proj"])


@pytest.mark.parametrize(
    ("kind", "options", "layers"),
    # T5 has two layers in the encoder and two in the decoder.
    [("causal", {}, ["LlamaDecoderLayer"] * 2), ("seq2seq", {}, ["T5Block"] * 4), ("causal", {"lora": LORA}, None)],
)
def test_a_network_is_sharded_by_its_layers(kind, options, layers, tokenizer):
    network = tiny(kind, tokenizer, **options).build()
    assert root(network) is network.model
    assert [type(block).__name__ for block in blocks(network.model)] == (layers or ["LlamaDecoderLayer"] * 2)


def test_a_language_model_is_sharded_as_layers_and_the_rest_with_its_head(tokenizer):
    model = tiny("causal", tokenizer).build_language_model()
    assert root(model) is model.causal
    assert [type(block).__name__ for block in blocks(root(model))] == ["LlamaDecoderLayer"] * 2
    model.value_head = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="LanguageModel is not"):
        root(model)


def test_what_cannot_be_sharded_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"trainer.strategy=ddp"):
        root(tiny("marked", tokenizer).build())
    network = tiny("causal", tokenizer).build()
    network.head = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="CausalAnswerer is not"):
        root(network)
    del network.head
    network.model.codes = nn.Parameter(torch.zeros(3, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(ValueError, match="quantised"):
        root(network)
    with pytest.raises(ValueError, match="names no layers"):
        blocks(nn.Linear(2, 2))


@pytest.mark.parametrize(("kind", "options"), [("seq2seq", {}), ("causal", {"lora": LORA})])
def test_a_filled_outline_is_the_network(kind, options, tokenizer):
    torch.manual_seed(0)
    network = tiny(kind, tokenizer, **options).build().eval()
    outlined = outline(network)
    assert all(weight.is_meta for weight in outlined.parameters())
    assert not any(weight.is_meta for weight in network.parameters())
    prompts, labels = ["The fire led to loss."], ["Other", "Cause-Effect(e1,e2)"]
    expected = network.score(prompts, labels).sums
    taken = gather(network, keep=True)
    assert gather(network, keep=False) == {}
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
    whole = fill(outlined, taken)
    assert torch.equal(whole.score(prompts, labels).sums, expected)
    theirs = dict(network.named_parameters(remove_duplicate=False))
    ours = dict(whole.named_parameters(remove_duplicate=False))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].requires_grad == theirs[name].requires_grad for name in ours)
    # T5's embeddings are one table under several names.
    assert len({id(weight) for weight in ours.values()}) == len({id(weight) for weight in theirs.values()})
