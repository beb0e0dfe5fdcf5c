"""The Llama of the transformers library that computes what a ``TinyDecoder`` computes: for peers that are measured on
the same model, and for engines that serve only models of that library."""

from __future__ import annotations

from typing import Any

import torch

from lightning_modules.networks.decoder.model import EPSILON, TinyDecoder


@torch.no_grad()
def as_llama(decoder: TinyDecoder, *, pad: int = 0, start: int = 1, end: int = 2) -> Any:
    """A ``LlamaForCausalLM`` with copies of the weights, in evaluation mode.

    Args:
        decoder: without a convolution, which a Llama has not.
        pad, start, end: ids of the special tokens.

    Raises:
        ValueError: the decoder has a convolution.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    if decoder.convolution:
        raise ValueError("a Llama has no convolution: build the TinyDecoder with convolution=0")
    linear = {"rope_type": "linear", "factor": decoder.rope_scaling}
    rope = {"rope_theta": decoder.rope_base, **(linear if decoder.rope_scaling > 1 else {"rope_type": "default"})}
    config = LlamaConfig(
        vocab_size=decoder.embedding.num_embeddings,
        hidden_size=decoder.width,
        intermediate_size=decoder.feedforward,
        num_hidden_layers=len(decoder.layers),
        num_attention_heads=decoder.heads,
        num_key_value_heads=decoder.heads,
        max_position_embeddings=decoder.limit,
        rms_norm_eps=EPSILON,
        rope_parameters=rope,
        tie_word_embeddings=decoder.head is None,
        pad_token_id=pad,
        bos_token_id=start,
        eos_token_id=end,
    )
    llama: Any = LlamaForCausalLM(config)
    weights = dict(decoder.named_parameters())
    width = decoder.width
    for name, target in llama.named_parameters():
        target.copy_(_source(name, weights, width))
    return llama.to(decoder.embedding.weight.device).eval()


def _source(name: str, weights: dict[str, torch.nn.Parameter], width: int) -> torch.Tensor:
    """The weights of ours that belong to a parameter of a Llama."""
    if name in ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"):
        tied = "head.weight" not in weights
        ours = {"embed_tokens": "embedding.weight", "norm": "norm.weight"}.get(name.split(".")[1])
        return weights[ours or ("embedding.weight" if tied else "head.weight")]
    _, _, number, *parts, _ = name.split(".")
    layer = f"layers.{number}"
    projections = ["q_proj", "k_proj", "v_proj"]
    if parts[-1] in projections:
        at = projections.index(parts[-1])
        return weights[f"{layer}.qkv.weight"][at * width : (at + 1) * width]
    if parts[-1] in ("gate_proj", "up_proj"):
        return weights[f"{layer}.gate_up.weight"].chunk(2)[parts[-1] == "up_proj"]
    renamed = {
        "o_proj": "output",
        "down_proj": "down",
        "input_layernorm": "before_attention",
        "post_attention_layernorm": "before_feedforward",
    }
    return weights[f"{layer}.{renamed[parts[-1]]}.weight"]
