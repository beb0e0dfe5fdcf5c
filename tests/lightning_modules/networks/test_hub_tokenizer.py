"""Tokenizers of the transformers library for scoring: nothing of a text is lost, and a source scores by them."""

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from data.records.texts import Demonstration
from lightning_modules.authors import Author
from lightning_modules.losses.logps import sequence_logps
from lightning_modules.networks.causal import CausalAnswerer
from lightning_modules.networks.hub_causal import HubCausal, TokenizerCodec
from lightning_modules.networks.hub_tokenizer import HubTokenizer, byte_of_character
from lightning_modules.networks.language_model import LanguageModel
from lightning_modules.networks.token_batch import padded_batch
from lightning_modules.scoring_sources import ScoringPolicy, encode_scored, score_texts

CORPUS = ["the river runs to the sea", "seventeen and ten is twenty-seven", "a lamp, a stone; a garden!"] * 4
TEXTS = [("What is 17 + 10?", " It is 27.\n"), ("Gr\u00fc\u00dfe?", "na\u00efve \u2713 \U0001f600"), ("a", "b  c ")]
POLICY = ScoringPolicy(bos="one", terminator="one", boundary="separate")


def byte_level():
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    plain.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<|end|>", pad_token="<|pad|>")


def with_spaces():
    """As Llama 2's: a space before every text, spaces as U+2581, single bytes for what is unknown."""
    single = [f"<0x{byte:02X}>" for byte in range(256)]
    plain = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    plain.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    plain.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=[*special, *single], show_progress=False)
    plain.train_from_iterator(CORPUS, trainer)
    for token in single:  # bytes are pieces, not special
        assert plain.token_to_id(token) is not None
    kept = [AddedToken(token, special=True) for token in special]
    plain.add_special_tokens(kept)
    found = PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    return found


@pytest.mark.parametrize("make", [byte_level, with_spaces])
def test_pieces_spell_every_text(make):
    tokenizer = HubTokenizer(make(), end=2)
    for _, response in TEXTS:
        for start in (True, False):
            spelt = b"".join(tokenizer.pieces(tokenizer.encode(response, start=start)))
            assert spelt == (tokenizer.prefix if start else b"") + response.encode()


def test_start_and_prefix_are_the_tokenizers_own():
    assert (HubTokenizer(byte_level(), end=2).bos, HubTokenizer(byte_level(), end=2).prefix) == (None, b"")
    assert HubTokenizer(with_spaces(), end=2).prefix == b" " and HubTokenizer(with_spaces(), end=2).bos is not None


def test_the_table_of_bytes_has_each_byte_once():
    assert sorted(byte_of_character().values()) == list(range(256)) and byte_of_character()["\u0120"] == 32


def test_a_tokenizer_that_loses_text_is_refused():
    plain = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    plain.decoder = decoders.WordPiece()
    with pytest.raises(ValueError, match="loses text"):
        HubTokenizer(PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="[UNK]"), end=0)


def author(tokenizer, template="<{prompt}>{response}"):
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
    model = LlamaForCausalLM(config).eval()
    answerer = CausalAnswerer(
        model, tokenizer, prompt_limit=64, prompt_wrapper="<{prompt}>", answer_prefix="", pretrained=False
    )
    network = HubCausal(model, limit=64, padding=answerer.padding)
    return Author("hub", LanguageModel(network, TokenizerCodec(answerer, template=template), pretrained=False))


def test_a_source_scores_what_the_policys_own_forward_pass_gives():
    one = author(byte_level())
    found = score_texts(one.source(), TEXTS, POLICY)
    codec = one.model.codec
    prompts = codec.prompt_ids([prompt for prompt, _ in TEXTS])
    answers = codec.response_ids([response for _, response in TEXTS])
    with torch.no_grad():
        logps, mask = one.model.response_logps(padded_batch(prompts, answers, padding=codec.padding))
    torch.testing.assert_close(
        torch.tensor(found.sums), sequence_logps(logps, mask).sums.double(), atol=1e-4, rtol=1e-4
    )
    assert found.tokens.tolist() == [len(row) for row in answers]
    assert found.bytes.tolist() == [len(response.encode()) for _, response in TEXTS]


def test_an_author_tells_which_prompts_it_can_read():
    one = author(byte_level())
    (length,) = map(len, one.model.codec.prompt_ids(["the river"]))
    assert one.reads(["the river", "z" * 70], room=64 - length) == [True, False]  # 70 are above prompt_limit
    assert one.reads(["the river"], room=65 - length) == [False]


def test_what_an_author_writes_does_not_depend_on_the_batch():
    one, items = author(byte_level()), [Demonstration(str(place), text, "") for place, (text, _) in enumerate(TEXTS)]
    options = {"copies": 2, "temperature": 1.0, "max_tokens": 6, "seed": 3}
    whole, single = one.write(items, **options), one.write(items, **options, batch=1)
    assert [text._replace(logp=0.0) for text in whole] == [text._replace(logp=0.0) for text in single]
    assert len({text.response for text in whole}) > 3


def test_large_authors_take_turns_on_the_gpu():
    class Movable:
        device = "cpu"

        def to(self, place):
            self.device = place

    one = author(byte_level())
    one.model = Movable()
    with pytest.raises(RuntimeError), one._put_back():
        one.model.to("cuda")
        raise RuntimeError
    assert one.model.device == "cpu"


def test_a_tokenizer_without_a_start_token_begins_with_the_prompt():
    source = author(byte_level()).source()
    ids, first = encode_scored(source, "ab", "c", POLICY)
    assert first == len(source.tokenizer.encode("<ab>")) and ids[-1] == source.tokenizer.eos


def test_another_template_gives_other_scores():
    one, other = author(byte_level()), author(byte_level(), template="{prompt}{response}")
    scores = [score_texts(each.source(), TEXTS[:1], POLICY).sums[0] for each in (one, other)]
    assert abs(scores[0] - scores[1]) > 1e-4
