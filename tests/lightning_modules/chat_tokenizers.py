"""Small tokenizers of the kinds that published models have, and chat templates as published ones are written."""

import json

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CORPUS = [
    "the river runs to the sea", "seventeen and ten is twenty-seven", "a lamp, a stone; a garden!",
    "user\nassistant\nsystem\nParis is in France.", "[INST] what is this? [/INST] It is a lamp.",
] * 4  # fmt: skip
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

CHATML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are kind.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set sys = messages[0]['content'] %}"
    "{% else %}{% set rest = messages %}{% set sys = false %}{% endif %}"
    "{% for m in rest %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if loop.index0 == 0 and sys %}{% set text = '<<SYS>>\n' + sys + '\n<</SYS>>\n\n' + m['content'] %}"
    "{% else %}{% set text = m['content'] %}{% endif %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + text.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + text.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'"
    " + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
DEEPSEEK = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|User|>' + m['content'] }}"
    "{% elif m['role'] == 'assistant' %}{% set text = m['content'] %}"
    "{% if '</think>' in text %}{% set text = text.split('</think>')[-1] %}{% endif %}"
    "{{ '<|Assistant|>' + text + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}"
)
QWEN3 = (
    "{% for m in messages %}{% if m['role'] == 'assistant' and loop.last %}"
    "{% set text = m['content'] %}{% set thought = '' %}{% if '</think>' in text %}"
    "{% set thought = text.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{% set text = text.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>assistant\n<think>\n' + thought + '\n</think>\n\n' + text + '<|im_end|>\n' }}"
    "{% else %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
BARE = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
"""Writes no control token at all."""

TEMPLATES = {
    "chatml": CHATML, "llama2": LLAMA2, "llama3": LLAMA3, "gemma": GEMMA, "phi3": PHI3, "deepseek": DEEPSEEK,
    "qwen3": QWEN3, "bare": BARE,
}  # fmt: skip
SPECIAL = (
    "<unk>", "<s>", "</s>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>",
)  # fmt: skip
ADDED = ("<|User|>", "<|Assistant|>", "<think>", "</think>")
"""Added and not special, as in DeepSeek's and Qwen's tokenizers."""


def _finished(plain, **options):
    """With the tokens of all templates, at ids of their own."""
    found = PreTrainedTokenizerFast(
        tokenizer_object=plain, **{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", **options}
    )
    found.add_special_tokens(
        {"additional_special_tokens": [text for text in SPECIAL if text not in ("<unk>", "<s>", "</s>")]}
    )
    found.add_tokens(list(ADDED))
    return found


def gpt2(*, bos=True, **options):
    """Byte-level pieces; nothing is added to texts."""
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    plain.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=320, initial_alphabet=alphabet, special_tokens=["<s>", "</s>"], show_progress=False
        ),
    )
    return _finished(plain, unk_token=None, **({} if bos else {"bos_token": None}), **options)


def gpt2_with_prefix(**options):
    """Byte-level pieces with a space before every text (add_prefix_space, as some RoBERTas have it)."""
    found = gpt2(**options)
    found.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return found


def _sentencepiece(normalizer, pre_tokenizer, **options):
    """Pieces that join no two words, as sentencepiece trains them; line breaks are single bytes."""
    plain = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    plain.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=360, special_tokens=["<unk>", "<s>", "</s>", *BYTES], show_progress=False)
    plain.train_from_iterator([line for text in CORPUS for line in text.split("\n")], trainer)
    spelt = json.loads(plain.to_str())
    spelt["added_tokens"] = [token for token in spelt["added_tokens"] if token["content"] not in BYTES]
    plain = Tokenizer.from_str(json.dumps(spelt))
    if normalizer is not None:
        plain.normalizer = normalizer
    plain.pre_tokenizer = pre_tokenizer
    parts = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    plain.decoder = decoders.Sequence(parts)
    start = ("<s>", plain.token_to_id("<s>"))
    plain.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[start])
    return _finished(plain, **options)


def llama2(**options):
    """Spaces as U+2581, one before a text, single bytes for what is unknown, a start token before every text."""
    return _sentencepiece(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False), **options)


def llama2_legacy(**options):
    """As ``llama2``, with the space before every stretch between control tokens: tokenizers of before 2024."""
    parts = [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    return _sentencepiece(normalizers.Sequence(parts), None, **options)


def unigram(**options):
    """As T5's: control tokens are pieces like any other, and texts are closed."""
    plain = Tokenizer(models.Unigram())
    plain.pre_tokenizer = pre_tokenizers.Metaspace()
    plain.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>", "<s>"]
    letters = sorted({letter for text in CORPUS for letter in text} | set("<>/|_#0123456789"))
    trainer = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=special, unk_token="<unk>", initial_alphabet=letters, show_progress=False
    )
    plain.train_from_iterator(CORPUS, trainer)
    end = ("</s>", plain.token_to_id("</s>"))
    plain.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[end])
    return _finished(plain, pad_token="<pad>", **options)


def wordpiece(**options):
    """As BERT's: texts are opened by [CLS] and closed by [SEP]; case and white space are lost."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters), *"[]{}().,-/<>=:|?!"]
    plain = Tokenizer(models.WordPiece({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))
    plain.normalizer = normalizers.BertNormalizer()
    plain.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    plain.decoder = decoders.WordPiece()
    plain.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", **options
    )


LOSSLESS = {
    "gpt2": gpt2, "gpt2_with_prefix": gpt2_with_prefix, "llama2": llama2, "llama2_legacy": llama2_legacy,
}  # fmt: skip


def save_model(folder, tokenizer, *, seed=0, positions=512, **options):
    """Two layers of random weights with a tokenizer, in a folder as the hub has them."""
    torch.manual_seed(seed)
    sizes = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "max_position_embeddings": positions, "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id, "vocab_size": len(tokenizer), "initializer_range": 0.3,
    }  # fmt: skip
    LlamaForCausalLM(LlamaConfig(**{**sizes, **options})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
