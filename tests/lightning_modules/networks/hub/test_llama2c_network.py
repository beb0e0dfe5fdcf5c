"""The three real models against recorded log-probabilities; small random ones for what needs no file."""

import json

import numpy as np
import pytest
import torch

from data.files.llama2c import Sizes, _shapes, read_checkpoint, read_tokenizer
from data.files.sources import DataNotFoundError, locate
from lightning_modules.losses.logps import token_logps
from lightning_modules.networks.hub.llama2c_network import Llama2c

FILES = {"stories260k": "stories260K.bin", "llama2xs": "model.bin", "aidreams260k": "aidreams260K.bin"}


def recorded(name):
    try:
        entry = json.loads(locate("models/fixtures.json").read_text())[name]
        checkpoint = read_checkpoint(locate(f"models/{name}/{FILES[name]}"))
        path = locate(f"models/{entry['tokenizer']}")
    except DataNotFoundError:
        pytest.skip(f"the data root has no models/{name}")
    assert checkpoint.sha256 == entry["sha256"]
    tokenizer = read_tokenizer(path, vocabulary=checkpoint.sizes.vocabulary)
    return entry, Llama2c(checkpoint.sizes, checkpoint.arrays).eval(), tokenizer


def random_network(own_head=False):
    sizes = Sizes(8, 12, 2, 4, 2, 11, 6)
    generator = np.random.default_rng(0)
    arrays = {
        name: generator.normal(size=shape).astype("f4") for name, shape in _shapes(sizes, own_head=own_head).items()
    }
    arrays.setdefault("head", arrays["embedding"])
    return Llama2c(sizes, arrays)


@pytest.mark.parametrize("name", sorted(FILES))
@torch.no_grad()
def test_recorded_log_probabilities(name):
    """To the five printed digits."""
    entry, network, _ = recorded(name)
    for row in entry["texts"]:
        ids = torch.tensor([row["ids"]])
        logps = token_logps(network(ids), ids)[0]
        torch.testing.assert_close(logps, torch.tensor(row["logprobs"]), rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", sorted(FILES))
@torch.no_grad()
def test_recorded_greedy_continuations(name):
    entry, network, tokenizer = recorded(name)
    ids = [tokenizer.bos, *tokenizer.encode(entry["greedy"]["prompt"])]
    while len(ids) < len(entry["greedy"]["ids"]):
        ids.append(int(network(torch.tensor([ids]))[0, -1].argmax()))
    assert ids == entry["greedy"]["ids"] and tokenizer.decode(ids) == entry["greedy"]["text"]


@torch.no_grad()
def test_padding_on_the_right_and_later_tokens_change_nothing_before():
    network = random_network()
    ids = torch.tensor([[1, 4, 7, 2, 9]])
    torch.testing.assert_close(network(ids)[:, :3], network(ids[:, :3]), rtol=1e-5, atol=1e-5)


def test_tied_weights_are_one_parameter_and_own_ones_are_two():
    tied, own = random_network(), random_network(own_head=True)
    assert tied.weights["head"] is tied.weights["embedding"]
    assert own.weights["head"] is not own.weights["embedding"]
    assert len(list(own.parameters())) == len(list(tied.parameters())) + 1


def test_texts_beyond_the_last_position_are_refused():
    with pytest.raises(ValueError, match="7 tokens, the network reads at most 6"):
        random_network()(torch.zeros(1, 7, dtype=torch.long))
