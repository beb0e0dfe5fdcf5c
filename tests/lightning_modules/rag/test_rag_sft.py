"""The reader: where its losses lie in a row of several questions, and that training makes it answer."""

import pytest
import torch

from data.records.readings import ReadingItem, Turn
from data.worlds.vocabulary import Vocabulary
from lightning_modules.base import Optimiser
from lightning_modules.losses.sft import sft_loss
from lightning_modules.networks.decoder.config import TinyModel
from lightning_modules.networks.hub.pretrained import Pretrained
from lightning_modules.rag.rag_sft import RagSft
from lightning_modules.sampling.sampler import Sampler
from tests.lightning_modules.chat_tokenizers import LOSSLESS, TEMPLATES, save_model

WORDS = Vocabulary(["red", "blue", "sky", "rose", "is", "?"])


class Data:
    vocabulary = WORDS

    def items(self, split, limit=None):
        return [ReadingItem("one", "sky is blue sky ?", "blue"), ReadingItem("two", "rose is red rose ?", "red")]


def reader(**changes):
    model = TinyModel(optimiser=Optimiser(learning_rate=1e-2), width=16, heads=2, limit=32, tied=False, convolution=4)
    method = RagSft(
        model=model,
        seed=0,
        sampler=Sampler(max_tokens=3, temperature=0.0),
        loss=lambda logps, mask: sft_loss(logps, mask, per_sequence="mean"),
        **changes,
    )
    method.attach(Data())
    return method


def test_every_response_of_a_row_is_scored_after_its_own_question():
    method = reader()
    item = ReadingItem("a", "sky is blue sky ?", "blue", (Turn("rose ?", "red"),))
    batch = method.collate([ReadingItem("b", "sky ?", "red blue"), item])
    encode = WORDS.encode
    row = [WORDS.start, *encode("sky is blue sky ? blue"), WORDS.end, *encode("rose ? red"), WORDS.end]
    assert batch.ids[1].tolist() == row and int(batch.read) == len(row) + 6
    for number, words in enumerate(("red blue", "blue", "red")):
        wanted = [*encode(words), WORDS.end]
        assert batch.targets[number, : len(wanted)].tolist() == wanted
        # The state that predicts a token stands just before it.
        following = batch.ids.flatten()[batch.sources[number, : len(wanted)] + 1]
        assert following.tolist() == wanted


@pytest.mark.parametrize("template", ["chatml", "llama2", "llama3", "gemma", "phi3"])
@pytest.mark.parametrize("maker", LOSSLESS)
def test_a_lesson_of_a_chat_model_is_a_conversation(maker, template, tmp_path):
    """Further questions are turns: the row is the template's, and none of their words are lost."""
    tokenizer = LOSSLESS[maker](chat_template=TEMPLATES[template])
    save_model(tmp_path, tokenizer)
    model = Pretrained(
        kind="causal",
        weights=str(tmp_path),
        architecture={"model_type": "llama"},
        prompt_limit=200,
        optimiser=Optimiser(learning_rate=1e-2),
    )
    method = RagSft(
        model=model,
        seed=0,
        sampler=Sampler(max_tokens=3, temperature=0.0),
        loss=lambda logps, mask: sft_loss(logps, mask, per_sequence="mean"),
    )
    method.attach(Data())
    turns = (Turn("the river?", "the sea"), Turn("a lamp?", "a stone"))
    batch = method.collate([ReadingItem("b", "a?", "b"), ReadingItem("a", "What is this?", "Paris", turns)])
    said = ["What is this?", "Paris", "the river?", "the sea", "a lamp?", "a stone"]
    talk = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(said)]
    whole = tokenizer.apply_chat_template(talk, return_dict=False)
    codec = method.network.codec
    row = batch.ids[1].tolist()
    length = int(batch.read) - sum(map(len, (codec.prompt_ids(["a?"])[0], codec.response_ids(["b"])[0])))
    assert row[:length] == whole[:length] and row[length - 1] == codec.end and codec.end not in whole[length:]
    for number, text in enumerate(said[1::2], start=1):
        wanted = codec.response_ids([text])[0]
        assert batch.targets[number, : len(wanted)].tolist() == wanted
        assert batch.ids.flatten()[batch.sources[number, : len(wanted)] + 1].tolist() == wanted


def test_losses_are_those_of_the_rows_read_alone():
    method = reader()
    items = Data().items("train")
    together, _ = method.losses(method.collate(items))
    alone = torch.cat([method.losses(method.collate([item]))[0] for item in items])
    torch.testing.assert_close(together, alone)


def test_packed_items_do_not_see_each_other():
    items = [
        *Data().items("train"),
        ReadingItem("three", "sky is red sky ?", "red", (Turn("rose ?", "blue"),)),
        ReadingItem("four", "rose ?", "blue red"),
    ]
    apart, packed = reader(), reader(packing=24)
    batch = packed.collate(items)
    assert len(batch.ids) == 2 and batch.segments is not None and int(batch.read) == int(apart.collate(items).read)
    torch.testing.assert_close(packed.losses(batch)[0], apart.losses(apart.collate(items))[0])
    with pytest.raises(ValueError, match=r"method\.packing"):
        reader(packing=4).collate(items)


def test_training_makes_it_answer_what_it_was_taught():
    method = reader()
    items = Data().items("train")
    said = [one.response for one in method.predict(Data(), split="test")]
    assert said != ["blue", "red"]
    optimiser = torch.optim.AdamW(method.network.parameters(), lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        method.losses(method.collate(items))[0].mean().backward()
        optimiser.step()
    assert [one.response for one in method.predict(Data(), split="test")] == ["blue", "red"]


def test_a_row_that_the_network_cannot_read_is_refused():
    with pytest.raises(ValueError, match="limit"):
        reader().collate([ReadingItem("a", " ".join(["sky"] * 40), "blue")])
    with pytest.raises(ValueError, match="chunk"):
        reader(chunk=0)
