"""Tokenizers of the transformers library: control tokens are marks, text is text, and nothing of a text is lost."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from data.records.texts import Demonstration
from lightning_modules.losses.logps import sequence_logps
from lightning_modules.networks.hub.causal_lm import HubCausal
from lightning_modules.networks.hub.chat_format import ChatFormat
from lightning_modules.networks.hub.tokenizer import HubTokenizer, byte_of_character
from lightning_modules.networks.language_model import LanguageModel
from lightning_modules.networks.token_batch import padded_batch
from lightning_modules.preference.source_models import Author
from lightning_modules.preference.source_scores import ScoringPolicy, encode_scored, score_texts
from tests.lightning_modules.chat_tokenizers import LOSSLESS, TEMPLATES, gpt2, unigram, wordpiece

TEXTS = [("What is 17 + 10?", " It is 27.\n"), ("Gr\u00fc\u00dfe?", "na\u00efve \u2713 \U0001f600"), ("a", "b  c ")]
POLICY = ScoringPolicy(terminator="one")


@pytest.mark.parametrize("maker", LOSSLESS)
def test_pieces_spell_every_text_that_goes_on(maker):
    tokenizer = HubTokenizer(LOSSLESS[maker]())
    for text in (*(response for _, response in TEXTS), "</s> <s>x", "\n\n", " "):
        for after in ("", "and so\n", "x"):
            (ids,) = tokenizer.continued([tokenizer.veiled(text)], after=after)
            (marked,) = tokenizer.continued([tokenizer.written(tokenizer.veiled(text))], after=after)
            assert b"".join(tokenizer.pieces(marked)) == text.encode(), (maker, text, after)
            assert ids == marked or "<" in text


@pytest.mark.parametrize("maker", [*LOSSLESS, "unigram", "wordpiece"])
def test_ordinary_texts_are_cut_as_the_library_cuts_them(maker):
    made = {**LOSSLESS, "unigram": unigram, "wordpiece": wordpiece}[maker]()
    texts = ["The river runs to the sea.", " a\n\n b", "", "Gr\u00fc\u00dfe \u6f22"]
    tokenizer = HubTokenizer(made)
    assert tokenizer.ids(texts) == made(texts, add_special_tokens=False)["input_ids"]
    mark = tokenizer.mark("</s>") or tokenizer.mark("[SEP]")
    spelt = tokenizer.spelling(mark)
    assert (
        tokenizer.ids([f"the sea{mark}river"]) == made([f"the sea{spelt}river"], add_special_tokens=False)["input_ids"]
    )
    assert made.convert_tokens_to_ids(spelt) not in tokenizer.ids([f"the sea{spelt}river"])[0]


def test_the_table_of_bytes_has_each_byte_once():
    assert sorted(byte_of_character().values()) == list(range(256)) and byte_of_character()["\u0120"] == 32


def test_a_tokenizer_that_loses_text_is_refused():
    plain = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    plain.decoder = decoders.WordPiece()
    with pytest.raises(ValueError, match="loses text"):
        HubTokenizer(PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="[UNK]")).pieces([])
    with pytest.raises(ValueError, match="loses text"):
        author(wordpiece())


def test_a_control_token_of_one_letter_is_a_letter():
    tokenizer = gpt2(pad_token="!")
    ids = HubTokenizer(tokenizer).ids(["a! b"])
    assert ids == tokenizer(["a! b"], add_special_tokens=False)["input_ids"]


def test_texts_that_hold_the_marks_themselves_are_refused():
    tokenizer = HubTokenizer(gpt2())
    with pytest.raises(ValueError, match=r"kept for marks"):
        tokenizer.veiled("x" + tokenizer.mark("</s>"))
    braille = "\u283f\u2801\u28ff"
    assert b"".join(tokenizer.pieces(tokenizer.ids([tokenizer.veiled(braille)])[0])) == braille.encode()


def author(tokenizer, wrapper="<{prompt}>"):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        eos_token_id=tokenizer.eos_token_id,
    )
    form = ChatFormat(tokenizer, wrapper=wrapper, prompt_limit=64)
    network = HubCausal(LlamaForCausalLM(config).eval(), limit=64, padding=form.padding)
    return Author("hub", LanguageModel(network, form, pretrained=False))


@pytest.mark.parametrize("template", [None, "llama2", "chatml"])
@pytest.mark.parametrize("maker", LOSSLESS)
def test_a_source_scores_what_the_policys_own_forward_pass_gives(maker, template):
    one = author(LOSSLESS[maker](chat_template=TEMPLATES.get(template)), None if template else "<{prompt}>")
    texts = [(prompt[:6], response[:8]) for prompt, response in TEXTS]  # 64 tokens hold no more
    found = score_texts(one.source(), texts, POLICY)
    codec = one.model.codec
    prompts = codec.prompt_ids([prompt for prompt, _ in texts])
    answers = codec.response_ids([response for _, response in texts])
    with torch.no_grad():
        logps, mask = one.model.response_logps(padded_batch(prompts, answers, padding=codec.padding))
    within = [len(prompt) + len(answer) <= 64 for prompt, answer in zip(prompts, answers, strict=True)]
    assert sum(within) > 1
    torch.testing.assert_close(
        torch.tensor(found.sums)[within], sequence_logps(logps, mask).sums.double()[within], atol=1e-4, rtol=1e-4
    )
    assert found.tokens.tolist() == [len(row) for row in answers]
    assert found.bytes.tolist() == [len(response.encode()) for _, response in texts]


def test_an_author_tells_which_prompts_it_can_read():
    one = author(gpt2())
    (length,) = map(len, one.model.codec.prompt_ids(["the river"]))
    assert one.reads(["the river", "z" * 70], room=64 - length) == [True, False]  # 70 are above prompt_limit
    assert one.reads(["the river"], room=65 - length) == [False]


def test_what_an_author_writes_does_not_depend_on_the_batch():
    one, items = author(gpt2()), [Demonstration(str(place), text, "") for place, (text, _) in enumerate(TEXTS)]
    options = {"copies": 2, "temperature": 1.0, "max_tokens": 6, "seed": 3}
    whole, single = one.write(items, **options), one.write(items, **options, batch=1)
    assert [text._replace(logp=0.0) for text in whole] == [text._replace(logp=0.0) for text in single]
    assert len({text.response for text in whole}) > 3


def test_large_authors_take_turns_on_the_gpu():
    class Movable:
        device = "cpu"

        def to(self, place):
            self.device = place

    one = author(gpt2())
    one.model = Movable()
    with pytest.raises(RuntimeError), one._put_back():
        one.model.to("cuda")
        raise RuntimeError
    assert one.model.device == "cpu"


def test_a_source_reads_prompts_above_the_policys_limit_as_far_as_its_network_does():
    one = author(gpt2())
    one.model.codec.prompt_limit = 10
    (marked, _), (read, first) = encode_scored(one.source(), [("the river " * 9, "c"), ("ab", "c")], POLICY)
    assert len(marked) > 10 and first == len(one.model.codec.prompt_ids(["ab"])[0]) and read[-1] == one.model.codec.end


def test_another_wrapper_gives_other_scores():
    one, other = author(gpt2()), author(gpt2(), wrapper="{prompt}")
    scores = [score_texts(each.source(), TEXTS[:1], POLICY).sums[0] for each in (one, other)]
    assert abs(scores[0] - scores[1]) > 1e-4 and one.identity != other.identity
