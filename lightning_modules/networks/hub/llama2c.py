"""Published models of the llama2.c format as language models that every method here can train and sample.

They become Llamas of the transformers library. There the two halves of a head turn against each other, in the format
neighbouring channels do: the rows of query and key weights change places.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lightning_modules.base import Optimiser
from lightning_modules.networks.hub.agreement import check_agreement
from lightning_modules.networks.hub.causal_lm import HubCausal
from lightning_modules.networks.hub.llama2c_network import Sizes
from lightning_modules.networks.language_model import LanguageModel

_WORDS = re.compile(r" [^ ]*|[^ ]+")
"""A space begins a word; a newline does not."""


class Tokenizer(Protocol):
    """What is needed of ``data.files.llama2c.PieceTokenizer``."""

    bos: int
    eos: int
    sha256: str

    def __len__(self) -> int:
        """Number of pieces."""

    def encode(self, text: str, *, start: bool = True) -> list[int]:
        """Ids without BOS and EOS."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids."""
        ...

    def pieces(self, ids: Sequence[int]) -> list[bytes]:
        """Bytes of every id."""
        ...


class Checkpoint(Protocol):
    """What is needed of ``data.files.llama2c.Checkpoint``."""

    @property
    def sizes(self) -> Sizes:
        """Of the network."""

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """By name."""


class Files(Protocol):
    """What is needed of ``data.files.llama2c_files.CheckpointFiles``."""

    def read(self) -> tuple[Any, Any]:
        """Checkpoint and tokenizer."""
        ...


class PieceCodec:
    """A ``PieceTokenizer`` as a ``Codec``.

    Where no piece has a space but at its beginning, no piece joins two words: each word is then encoded once and
    remembered, because joining pieces takes time that grows with the square of a text's length.

    Args:
        tokenizer: of the model.
        prompt_wrapper: text around a prompt, with {prompt} in it.
    """

    def __init__(self, tokenizer: Tokenizer, *, prompt_wrapper: str) -> None:
        self.tokenizer = tokenizer
        self.padding = self.end = tokenizer.eos
        self.ends = frozenset({self.end})
        self._wrapper = prompt_wrapper
        self._by_word = not any(b" " in piece[1:] for piece in tokenizer.pieces(range(len(tokenizer))))
        self._known: dict[tuple[str, bool], list[int]] = {}

    def _encoded(self, text: str, *, start: bool) -> list[int]:
        """As the tokenizer's ``encode``."""
        words = _WORDS.findall(text) if self._by_word else [text]
        ids: list[int] = []
        for place, word in enumerate(words):
            key = word, start and place == 0
            if key not in self._known:
                self._known[key] = self.tokenizer.encode(word, start=key[1])
            ids += self._known[key]
        return ids

    def prompt_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """See ``Codec``: a start token and the wrapped prompt."""
        # Not format(): prompts have braces of their own.
        wrapped = [self._wrapper.replace("{prompt}", one) for one in texts]
        return [[self.tokenizer.bos, *self._encoded(one, start=True)] for one in wrapped]

    def response_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """See ``Codec``."""
        return [[*self._encoded(one, start=False), self.end] for one in texts]

    def count_tokens(self, text: str) -> int:
        """See ``Codec``."""
        return len(self.prompt_ids([text])[0])

    def further_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """See ``Codec``: the wrapped text, which does not begin a document."""
        return [self._encoded(self._wrapper.replace("{prompt}", one), start=False) for one in texts]

    def read_back(self, response: Sequence[int]) -> list[int]:
        """See ``Codec``: with its end, as what follows is wrapped."""
        return [*(response[:-1] if response and response[-1] == self.end else response), self.end]

    def continued(self, prompt: str, text: str) -> tuple[list[int], list[int]]:
        """See ``Codec``: cut together, where the prompt's last white space ends before."""
        begun = self._wrapper.replace("{prompt}", prompt)
        head = self._encoded(begun.rstrip(), start=True)
        return [self.tokenizer.bos, *head], self._encoded(begun + text, start=True)[len(head) :]

    @property
    def identity(self) -> str:
        """Digest of all that decides which ids a text becomes."""
        return hashlib.sha256(f"{self.tokenizer.sha256} {self._wrapper}".encode()).hexdigest()

    def spelt(self, response: str) -> str:
        """See ``source_scores.Codec``."""
        return response

    def pieces(self, ids: Sequence[int]) -> list[bytes]:
        """See ``source_scores.Codec``."""
        return self.tokenizer.pieces(ids)

    def texts(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """See ``Codec``."""
        whole = [list(row) for row in rows]
        return [self.tokenizer.decode(row[: row.index(self.end)] if self.end in row else row) for row in whole]


class SmallLlama:
    """Config of a published llama2.c model; its weights are loaded, never drawn.

    Args:
        source: where checkpoint and tokenizer lie.
        optimiser: how the weights are best trained.
        prompt_wrapper: text around a prompt, with {prompt} in it once.
        limit: longest text in tokens; ``None``: as the checkpoint was trained.
    """

    def __init__(
        self, *, source: Files, optimiser: Optimiser, prompt_wrapper: str = "{prompt}", limit: int | None = None
    ) -> None:
        if prompt_wrapper.count("{prompt}") != 1:
            raise ValueError(f"model.prompt_wrapper must hold {{prompt}} once, got {prompt_wrapper!r}")
        if limit is not None and limit < 2:
            raise ValueError(f"model.limit must be at least 2 tokens, got {limit}")
        self.source, self.optimiser = source, optimiser
        self.prompt_wrapper, self.limit = prompt_wrapper, limit

    def build_language_model(self, vocabulary: Any = None) -> LanguageModel:
        """See ``LanguageModelConfig``; ``ValueError`` where the files are missing or damaged."""
        checkpoint, tokenizer = self.source.read()
        limit = checkpoint.sizes.positions if self.limit is None else self.limit
        network = HubCausal(llama_of(checkpoint), limit=limit, padding=tokenizer.eos)
        codec = PieceCodec(tokenizer, prompt_wrapper=self.prompt_wrapper)
        built = LanguageModel(network, codec, pretrained=True)
        check_agreement(built, name="the llama2.c checkpoint", kept=torch.float32)
        return built


@torch.no_grad()
def llama_of(checkpoint: Checkpoint) -> Any:
    """A ``LlamaForCausalLM`` that computes what the checkpoint's own network computes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes, arrays = checkpoint.sizes, checkpoint.arrays
    tied = arrays["head"] is arrays["embedding"]
    config = LlamaConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.width,
        intermediate_size=arrays["gate"].shape[1],
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.key_value_heads,
        max_position_embeddings=sizes.positions,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_theta": 10_000.0, "rope_type": "default"},
        tie_word_embeddings=tied,
        pad_token_id=2,
        bos_token_id=1,
        eos_token_id=2,
    )
    llama: Any = LlamaForCausalLM(config)
    for name, target in llama.named_parameters():
        target.copy_(_source(name, arrays, sizes))
    return llama


_WHOLE = {"model.embed_tokens.weight": "embedding", "model.norm.weight": "final_norm", "lm_head.weight": "head"}
_OF_A_LAYER = {
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "o_proj": "output",
    "gate_proj": "gate",
    "up_proj": "up",
    "down_proj": "down",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "feed_forward_norm",
}


def _source(name: str, arrays: Mapping[str, np.ndarray], sizes: Sizes) -> Tensor:
    """The checkpoint's array for a parameter of a Llama."""
    if name in _WHOLE:
        return torch.tensor(arrays[_WHOLE[name]])
    parts = name.split(".")
    own = _OF_A_LAYER[parts[-2]]
    weight = torch.tensor(arrays[own][int(parts[2])])
    if own not in ("query", "key"):
        return weight
    heads = sizes.heads if own == "query" else sizes.key_value_heads
    # (heads, pairs, 2, width) -> all first channels of a head's pairs, then all second ones.
    return weight.view(heads, -1, 2, sizes.width).transpose(1, 2).reshape(weight.shape)
