"""Files written here byte by byte; the three real ones against their recorded ids where the data root has them."""

import json
import struct

import numpy as np
import pytest

from data.files.llama2c import EOS, PieceTokenizer, read_checkpoint, read_tokenizer
from data.files.sources import DataNotFoundError, locate

# Width 4, hidden 6, 2 layers, 2 heads, 1 key-value head, 5 pieces, 3 positions.
HEADER = (4, 6, 2, 2, 1, 5, 3)
COUNT = 5 * 4 + 8 + 2 * 16 + 2 * 8 + 2 * 8 + 2 * 16 + 8 + 2 * 24 + 2 * 24 + 2 * 24 + 4 + 3 + 3


def write(path, header, count):
    path.write_bytes(struct.pack("<7i", *header) + np.arange(count, dtype="<f4").tobytes())
    return path


def models(name):
    try:
        return locate(f"models/{name}")
    except DataNotFoundError:
        pytest.skip(f"the data root has no models/{name}")


def toy():
    """Pieces: every byte, then single characters and joins; a higher score joins first."""
    text = {b" ": -9.0, b"a": -9.0, b"b": -9.0, b"c": -9.0, b"ab": -2.0, b"bc": -1.0, b" a": -3.0, b"abc": -4.0}
    pieces = [b"<unk>", b"<s>", b"</s>", *(f"<0x{number:02X}>".encode() for number in range(256)), *text]
    return PieceTokenizer(pieces, [0.0] * 259 + list(text.values()), sha256="")


def test_arrays_lie_in_the_order_of_the_format(tmp_path):
    checkpoint = read_checkpoint(write(tmp_path / "model.bin", HEADER, COUNT))
    arrays = checkpoint.arrays
    assert checkpoint.sizes.head_width == 2 and arrays["embedding"].shape == (5, 4)
    # Embedding 20, attention norms 8: the first query matrix starts at 28; queries 32, keys 16: values at 76.
    assert arrays["query"][0, 0, 0] == 28 and arrays["value"][0, 0, 0] == 76
    assert arrays["key"].shape == (2, 2, 4) and arrays["down"].shape == (2, 4, 6)
    assert arrays["sines"].ravel()[-1] == COUNT - 1 and arrays["head"] is arrays["embedding"]


def test_a_negative_vocabulary_means_an_output_layer_of_its_own(tmp_path):
    own = read_checkpoint(write(tmp_path / "model.bin", (*HEADER[:5], -5, 3), COUNT + 20)).arrays["head"]
    assert own.shape == (5, 4) and own[0, 0] == COUNT


def test_cut_files_and_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="is cut or other"):
        read_checkpoint(write(tmp_path / "cut.bin", HEADER, COUNT - 1))
    with pytest.raises(ValueError, match="is no llama2"):
        read_checkpoint(write(tmp_path / "other.bin", (4, 6, 2, 3, 1, 5, 3), COUNT))
    (tmp_path / "short.bin").write_bytes(b"ab")
    with pytest.raises(ValueError, match="header of 28"):
        read_checkpoint(tmp_path / "short.bin")


def test_the_best_score_joins_first():
    """ " abc": bc (-1) joins before ab (-2) and " a" (-3); then a + bc is abc (-4), but " a" (-3) is better."""
    tokenizer = toy()
    assert tokenizer.pieces(tokenizer.encode("abc")) == [b" a", b"bc"]
    assert tokenizer.pieces(tokenizer.encode("abc", start=False)) == [b"abc"]


def test_unknown_characters_become_bytes_that_join_nothing():
    tokenizer = toy()
    ids = tokenizer.encode("aé", start=False)
    assert ids == [tokenizer.encode("a", start=False)[0], 0xC3 + 3, 0xA9 + 3]
    assert tokenizer.decode(ids) == "aé"


@pytest.mark.parametrize("text", ["abcabc", "  b é \n 漢 a", "<0x41>", "cab\x00"])
def test_every_text_comes_back(text):
    tokenizer = toy()
    assert tokenizer.decode(tokenizer.encode(text)) == " " + text
    assert tokenizer.decode(tokenizer.encode(text, start=False)) == text


def test_an_empty_text_has_no_token_and_reserved_ids_have_no_bytes():
    assert toy().encode("") == [] and toy().decode([1, EOS]) == ""


def test_a_tokenizer_of_another_checkpoint_is_refused(tmp_path):
    path = tmp_path / "tok.bin"
    path.write_bytes(struct.pack("<i", 1) + b"".join(struct.pack("<fi", 0.0, 1) + b"x" for _ in range(300)))
    assert len(read_tokenizer(path, vocabulary=300)) == 300
    with pytest.raises(ValueError, match="300 pieces where the checkpoint has 512"):
        read_tokenizer(path, vocabulary=512)
    path.write_bytes(path.read_bytes() + struct.pack("<fi", 0.0, 9) + b"x")
    with pytest.raises(ValueError, match="ends inside its piece number 300"):
        read_tokenizer(path, vocabulary=300)


@pytest.mark.parametrize("name", ["stories260k", "llama2xs", "aidreams260k"])
def test_recorded_ids_of_the_real_tokenizers(name):
    entry = json.loads(models("fixtures.json").read_text())[name]
    tokenizer = read_tokenizer(models(entry["tokenizer"]), vocabulary=entry["config"]["vocab"])
    assert entry["texts"]
    for row in entry["texts"]:
        assert [tokenizer.bos, *tokenizer.encode(row["text"])] == row["ids"]
        assert tokenizer.decode(row["ids"]) == " " + row["text"]
