"""How much memory a cell will need, from the shapes that its config states: weights, optimiser, activations.

No torch, no model library: the plan must answer at once, and also for models whose weights are not on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PROCESS = 520.0  # MiB of a worker that has imported torch, Lightning, transformers and datasets; measured here
_TOKENS = 128  # of the longest sentence, where neither data nor model says more
_MEAN = 0.25  # of it, the mean sentence (SemEval-2010 Task 8: 27 of 127)
_BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0}
_NF4 = 0.57  # bytes of a weight in 4 bits with its block constants (arXiv 2305.14314, doubly quantised)
_TRAINED = 16.0  # bytes of a trained weight: itself, its gradient and AdamW's two moments, in fp32 whatever it came in
_CAST = 2.0  # bytes of the copy that mixed precision computes with
_KEPT = 17  # values that a layer keeps per token for its gradient, in units of its width (arXiv 2205.05198, equation 2)
_CHECKPOINTED = 1  # with gradient checkpointing: the layer's input


@dataclass(frozen=True)
class Shape:
    """Sizes of a network.

    Attributes:
        layer_parameters: of one layer; ``layers`` of them are alike.
        other_parameters: embeddings and output.
        trained: parameters that are trained; all but frozen layers and embeddings, or the adapters alone.
        deep: layers through which a gradient goes.
    """

    width: int
    layers: int
    layer_parameters: int
    other_parameters: int
    trained: float
    deep: int
    vocabulary: int

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.layers * self.layer_parameters + self.other_parameters


def shape_of(model: Mapping[str, Any]) -> Shape | None:
    """Sizes of the network that a model config describes; None where it does not state them."""
    stated = model.get("architecture")
    if isinstance(stated, Mapping):
        found = _of_library(stated)
    elif isinstance(model.get("width"), int) and isinstance(model.get("layers"), int):
        found = _of_decoder(model)
    else:
        found = None
    if found is None:
        return None
    width, layers, per_layer, other, vocabulary = found
    frozen = model.get("frozen_layers")
    trained, deep = float(layers * per_layer + other), layers
    if isinstance(frozen, int):  # an encoder whose embeddings are never trained, with a decoder of its own
        own = int(model.get("decoder_layers") or 0) * (
            8 * width * width + 2 * width * int(model["decoder_feedforward"])
        )
        other += own
        deep = layers - frozen
        trained = float(deep * per_layer + own)
    if isinstance(model.get("lora"), Mapping):
        lora = model["lora"]
        trained = float(2 * int(lora["r"]) * width * len(lora.get("target_modules") or ()) * layers)
    return Shape(width, layers, per_layer, other, trained, deep, vocabulary)


def _of_library(stated: Mapping[str, Any]) -> tuple[int, int, int, int, int] | None:
    """Width, layers, parameters of a layer, other parameters and vocabulary, by the library's own names."""
    width = stated.get("hidden_size", stated.get("d_model"))
    layers = stated.get("num_hidden_layers", stated.get("num_layers"))
    vocabulary = stated.get("vocab_size")
    if not (isinstance(width, int) and isinstance(layers, int) and isinstance(vocabulary, int)):
        return None
    inner = stated.get("intermediate_size", stated.get("d_ff", 4 * width))
    heads = stated.get("num_attention_heads", stated.get("num_heads", 1))
    across = heads * stated.get("head_dim", stated.get("d_kv", width // heads))
    family = stated.get("model_type")
    if family == "t5":
        matrices = 3 if str(stated.get("feed_forward_proj", "")).startswith("gated") else 2
        # Encoder and decoder have as many layers; the decoder's attend twice.
        encoder, decoder = 4 * width * across + matrices * width * inner, 8 * width * across + matrices * width * inner
        embeddings = vocabulary * width * (1 if stated.get("tie_word_embeddings", True) else 2)
        return width, 2 * layers, (encoder + decoder) // 2, embeddings, vocabulary
    if family == "bert":
        positions = stated.get("max_position_embeddings", 512)
        return width, layers, 4 * width * across + 2 * width * inner, (vocabulary + positions) * width, vocabulary
    shared = stated.get("num_key_value_heads", heads) / heads  # grouped keys and values
    per_layer = round(2 * width * across * (1 + shared)) + 3 * width * inner
    return width, layers, per_layer, vocabulary * width * (1 if stated.get("tie_word_embeddings") else 2), vocabulary


def _of_decoder(model: Mapping[str, Any]) -> tuple[int, int, int, int, int]:
    """The same of our own small decoder."""
    width, layers = int(model["width"]), int(model["layers"])
    inner = int(model.get("feedforward") or 4 * width)
    vocabulary = 512  # its worlds have a few hundred words; what they weigh is nothing beside the process
    other = vocabulary * width * (1 if model.get("tied", True) else 2)
    return width, layers, 4 * width * width + 3 * width * inner, other, vocabulary


def sentences(config: Mapping[str, Any]) -> int:
    """Sentences in a prompt: its own, and those of the neighbours that it shows."""
    prompt = (config.get("data") or {}).get("prompt") or {}
    shown = prompt.get("neighbours", "none") != "none" and isinstance(prompt.get("k"), int)
    return 1 + prompt["k"] if shown else 1


def training_rows(config: Mapping[str, Any]) -> float:
    """Training rows that there are, by the figures of the data's config."""
    data = config.get("data") or {}
    rows, limit = float((data.get("cost") or {}).get("rows") or 1000), data.get("train_limit")
    return min(rows, float(limit)) if isinstance(limit, (int, float)) else rows


def peak_mebibytes(config: Mapping[str, Any]) -> float | None:
    """Peak memory of a cell in MiB, the process included; None where its method has no network of stated shape.

    A cell may have to train its base model itself, so that the larger of both counts.
    """
    base = config.get("base")
    below = peak_mebibytes({**config, "base": None, **base}) if base else None
    method = config.get("method") or {}
    model = method.get("model")
    shape = shape_of(model) if isinstance(model, Mapping) else None
    if shape is None:
        return None
    assert isinstance(model, Mapping)
    dtype = str(model.get("weights_dtype") or "float32")
    weight = _NF4 if model.get("quantisation") == "nf4" else _BYTES.get(dtype, 4.0)
    total = shape.parameters * weight
    data, trainer = config.get("data") or {}, config.get("trainer") or {}
    limit = model.get("prompt_limit") or model.get("limit") or 1 << 30
    tokens = min(int((data.get("cost") or {}).get("tokens") or _TOKENS) * sentences(config), int(limit))
    if method.get("tune", True):
        mixed = "16" in str(trainer.get("precision", ""))
        value = 2.0 if mixed else 4.0
        batch = int(data.get("batch_size") or 1)
        kept = _CHECKPOINTED if model.get("gradient_checkpointing") else _KEPT
        counted = 0.0 if isinstance(model.get("lora"), Mapping) else weight  # adapters are not among the parameters
        total += shape.trained * (_TRAINED + (_CAST if mixed else 0.0) - counted)
        total += batch * tokens * shape.width * shape.deep * kept * value
        if model.get("frozen_layers") is None and model.get("kind") != "seq2seq":
            total += 3 * batch * tokens * shape.vocabulary * 4.0  # logits, their log-softmax, their gradient
        if model.get("frozen_layers"):
            total += training_rows(config) * _MEAN * tokens * shape.width * 4.0  # their output on all training prompts
    return max(_PROCESS + total / 2**20, below or 0.0)
