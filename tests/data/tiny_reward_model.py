"""A reward model whose rewards can be worked out by hand, and a lossless tokenizer, in folders as the hub has them."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

CHAT = "{{ bos_token }}{% for one in messages %}{{ '#' if one.role == 'user' else '=' }}{{ one.content }}{% endfor %}"
SPECIAL = ("<s>", "</s>", "<pad>")


def byte_tokenizer(*, chat_template=CHAT, start=True):
    """One id for each byte, and three special ones."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate((*SPECIAL, *letters))}, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<s>" if start else None, eos_token="</s>", pad_token="<pad>",
        chat_template=chat_template,
    )  # fmt: skip


def config(tokenizer, **options):
    sizes = {
        "hidden_size": 2, "intermediate_size": 4, "num_hidden_layers": 2, "num_attention_heads": 1,
        "num_key_value_heads": 1, "max_position_embeddings": 512, "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    return LlamaConfig(vocab_size=len(tokenizer), **{**sizes, **options})


def write_reward_model(folder, **options):
    """Pays by the last letter: a 2, b 4, c -4, all else -2.

    Layers whose last matrices are zero add nothing, so the last state is the letter's embedding, whose two numbers are
    1 or -1 and which normalising leaves alone. The head is (3, -1): a (1, 1) gives 3 - 1, b (1, -1) 3 + 1, and so on.
    """
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(folder)
    model = LlamaForSequenceClassification(config(tokenizer, num_labels=1, **options))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        vectors = model.model.embed_tokens.weight
        vectors.fill_(-1.0)
        for letter, values in {"a": (1.0, 1.0), "b": (1.0, -1.0), "c": (-1.0, 1.0)}.items():
            vectors[tokenizer.convert_tokens_to_ids(letter)] = torch.tensor(values)
        model.score.weight.copy_(torch.tensor([[3.0, -1.0]]))
    model.save_pretrained(folder)
    return folder


def write_random_reward_model(folder, **options):
    """Two layers of random weights: rewards that depend on every letter, and mean nothing."""
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(folder)
    sizes = {"num_labels": 1, "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, **options}
    LlamaForSequenceClassification(config(tokenizer, **sizes)).save_pretrained(folder)
    return folder


def write_language_model(folder):
    """Weights without a reward head."""
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(folder)
    LlamaForCausalLM(config(tokenizer)).save_pretrained(folder)
    return folder
