"""Published small models as language models: the library's Llama computes what their own network computes."""

import json

import numpy as np
import pytest
import torch

from data.files.llama2c import Checkpoint, PieceTokenizer, Sizes, _shapes, read_tokenizer
from data.files.llama2c_files import CheckpointFiles
from data.files.sources import DataNotFoundError, locate
from lightning_modules.base import Optimiser
from lightning_modules.losses.logps import token_logps
from lightning_modules.networks.hub.llama2c import PieceCodec, SmallLlama, llama_of
from lightning_modules.networks.hub.llama2c_network import Llama2c

FILES = {
    "stories260k": ("stories260k/stories260K.bin", "stories260k/tok512.bin"),
    "llama2xs": ("llama2xs/model.bin", "stories260k/tok512.bin"),
    "aidreams260k": ("aidreams260k/aidreams260K.bin", "aidreams260k/tok512.bin"),
}


def random_checkpoint(own_head=False):
    """Width 16, four query heads on two key and value heads, with the format's own turning tables."""
    sizes = Sizes(16, 24, 2, 4, 2, 262, 12)
    generator = np.random.default_rng(0)
    arrays = {
        name: generator.normal(size=shape).astype("f4") for name, shape in _shapes(sizes, own_head=own_head).items()
    }
    angles = np.outer(np.arange(12), 10_000.0 ** (-np.arange(0, 4, 2) / 4))
    arrays |= {"cosines": np.cos(angles).astype("f4"), "sines": np.sin(angles).astype("f4")}
    arrays.setdefault("head", arrays["embedding"])
    return Checkpoint(sizes, arrays, "digest")


class RandomFiles:
    """A random model with the bytes and three pieces for a tokenizer."""

    def read(self):
        pieces = [b"<unk>", b"<s>", b"</s>", *(f"<0x{byte:02X}>".encode() for byte in range(256)), b"a", b"b", b"ab"]
        return random_checkpoint(), PieceTokenizer(pieces, [0.0] * 262, sha256="digest")


def model(**options):
    return SmallLlama(source=RandomFiles(), optimiser=Optimiser(learning_rate=1e-3), **options)


@pytest.mark.parametrize("own_head", [False, True])
@torch.no_grad()
def test_the_librarys_llama_computes_what_the_formats_network_computes(own_head):
    checkpoint = random_checkpoint(own_head)
    ids = torch.tensor([[1, 260, 100, 7, 259, 31, 2], [1, 5, 261, 8, 44, 90, 3]])
    own, theirs = Llama2c(checkpoint.sizes, checkpoint.arrays).eval(), llama_of(checkpoint).eval()
    torch.testing.assert_close(theirs(input_ids=ids).logits, own(ids), rtol=1e-4, atol=1e-4)
    tied = theirs.lm_head.weight.data_ptr() == theirs.model.embed_tokens.weight.data_ptr()
    assert tied is not own_head


@pytest.mark.parametrize("name", sorted(FILES))
@torch.no_grad()
def test_recorded_log_probabilities(name):
    """To four digits: the format's tables of cosines are rounded otherwise than the library's."""
    checkpoint, tokenizer = FILES[name]
    files = {"checkpoint": f"models/{checkpoint}", "tokenizer": f"models/{tokenizer}"}
    try:
        entry = json.loads(locate("models/fixtures.json").read_text())[name]
        found = SmallLlama(source=CheckpointFiles(files=files), optimiser=Optimiser(learning_rate=1e-3))
        language_model = found.build_language_model()
    except DataNotFoundError:
        pytest.skip(f"the data root has no models/{name}")
    language_model.eval()
    network, codec = language_model.network, language_model.codec
    for row in entry["texts"]:
        assert codec.prompt_ids([row["text"]]) == [row["ids"]]
        ids = torch.tensor([row["ids"]])
        logps = token_logps(network.lm_head(network.hidden(ids)), ids)[0]
        torch.testing.assert_close(logps, torch.tensor(row["logprobs"]), rtol=0, atol=2e-4)
    assert network.limit == {"stories260k": 512, "llama2xs": 256, "aidreams260k": 128}[name]


def test_prompts_begin_once_responses_end_once_and_texts_come_back():
    built = model(prompt_wrapper="{prompt}=").build_language_model()
    codec = built.codec
    assert isinstance(codec, PieceCodec) and built.pretrained and not built.is_new("any")
    # BOS, the document's first space, "{" and "}" as bytes, "=".
    assert codec.prompt_ids(["{}"]) == [[1, 3 + 32, 3 + ord("{"), 3 + ord("}"), 3 + ord("=")]]
    (response,) = codec.response_ids(["ab"])
    assert response == [261, 2]
    assert codec.texts([response, [261, 2, 259], [259]]) == ["ab", "ab", "a"]


@pytest.mark.parametrize("name", ["stories260k", "aidreams260k"])
def test_words_encode_as_whole_texts_do(name):
    try:
        tokenizer = read_tokenizer(locate(f"models/{FILES[name][1]}"), vocabulary=512)
    except DataNotFoundError:
        pytest.skip(f"the data root has no models/{name}")
    codec = PieceCodec(tokenizer, prompt_wrapper="Instruction: {prompt}\nResponse: ")
    texts = ["Tom and  Sam went\n\n to the park. ", " é", "", "the", " ", "a   b", "1 + 2 = 3, {x}\ttab"]
    for text in texts * 2:  # the second time from memory
        whole = tokenizer.encode(f"Instruction: {text}\nResponse: ")
        assert codec.prompt_ids([text]) == [[1, *whole]]
        assert codec.response_ids([text]) == [[*tokenizer.encode(text, start=False), 2]]


def test_a_piece_with_a_space_inside_is_not_cut():
    pieces = [
        b"<unk>",
        b"<s>",
        b"</s>",
        *(f"<0x{byte:02X}>".encode() for byte in range(256)),
        b"a",
        b" ",
        b"a a",
        b"a ",
    ]
    tokenizer = PieceTokenizer(pieces, [0.0] * 263, sha256="digest")
    assert PieceCodec(tokenizer, prompt_wrapper="{prompt}").response_ids(["a a"]) == [[261, 2]]


def test_it_samples_what_its_own_log_probabilities_say():
    from lightning_modules.sampling.sampler import Sampler

    built = model().build_language_model().eval()
    prompts = built.codec.prompt_ids(["b", "ab"])
    rollouts = Sampler(max_tokens=4, temperature=1.0).sample(
        built, prompts, copies=2, generator=torch.Generator().manual_seed(0)
    )
    assert rollouts.tokens.shape[0] == 4 and (rollouts.logps[rollouts.mask] < 0).all()


def test_entry_checks():
    with pytest.raises(ValueError, match=r"must hold \{prompt\} once"):
        model(prompt_wrapper="no place")
    with pytest.raises(ValueError, match=r"model\.limit must be at least 2"):
        model(limit=1)
    with pytest.raises(ValueError, match="files of a model are checkpoint and tokenizer, got weights"):
        CheckpointFiles(files={"weights": "x"})
