"""A pre-trained encoder that reads sentences with entity tags, and gives the states at the tags of the first pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask

from data.files.sources import digest_of
from lightning_modules.base import Progress
from lightning_modules.networks.answerer.frozen_states import FrozenStates, write_states
from lightning_modules.networks.answerer.interface import pad
from lightning_modules.networks.architecture import configuration
from lightning_modules.networks.fingerprint import parameters_digest

TAGS = ("<e1>", "</e1>", "<e2>", "</e2>")
"""Entity tags, each one token. Prompts open with the sentence that is asked about, so its pair comes first."""


class MarkedEncoder(nn.Module):
    """An encoder of the BERT family with its tokenizer.

    Args:
        encoder: network with ``embeddings`` and ``encoder.layer``, layers named as BERT's are.
        tokenizer: its tokenizer; the tags are added to it.
        tag_pieces: pieces of the vocabulary whose embeddings the four tags start from.
        frozen_layers: the embeddings and so many of the lowest layers are not trained (0: only the embeddings).
    """

    def __init__(self, encoder: Any, tokenizer: Any, *, tag_pieces: Sequence[str], frozen_layers: int) -> None:
        super().__init__()
        layers = encoder.encoder.layer
        if len(tag_pieces) != len(TAGS):
            raise ValueError(f"model.tag_pieces must name four pieces, for {', '.join(TAGS)}, got {list(tag_pieces)}")
        if frozen_layers > len(layers):
            raise ValueError(f"model.frozen_layers is {frozen_layers} but the encoder has {len(layers)} layers")
        sources = tokenizer.convert_tokens_to_ids(list(tag_pieces))
        unknown = [piece for piece, index in zip(tag_pieces, sources, strict=True) if index == tokenizer.unk_token_id]
        if unknown:
            raise ValueError(f"model.tag_pieces names {unknown[0]!r}, which the tokenizer does not have")
        tokenizer.add_tokens(list(TAGS))
        encoder.resize_token_embeddings(max(len(tokenizer), encoder.config.vocab_size), mean_resizing=False)
        self.tag_ids: list[int] = tokenizer.convert_tokens_to_ids(list(TAGS))
        with torch.no_grad():
            table = encoder.get_input_embeddings().weight
            table[self.tag_ids] = table[sources].clone()
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.frozen = nn.ModuleList([encoder.embeddings, *layers[:frozen_layers]])
        self.frozen.requires_grad_(False)
        self.width: int = encoder.config.hidden_size
        self.layers = len(layers)
        # The top layer is computed at the tags alone, so its output is never remembered.
        self._lowest = min(frozen_layers, len(layers) - 1)
        self.limit: int = encoder.config.max_position_embeddings
        self._remembered: FrozenStates | Callable[[], FrozenStates] | None = None

    def train(self, mode: bool = True) -> MarkedEncoder:
        """Frozen layers stay in evaluation: dropout in them would only be noise."""
        super().train(mode)
        self.frozen.eval()
        return self

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of every text."""
        # [SEP] in a sentence is text; the tags are added tokens, no special ones.
        rows: list[list[int]] = self.tokenizer(list(texts), split_special_tokens=True, verbose=False)["input_ids"]
        return rows

    def remember(self, texts: Sequence[str], stages: Any, progress: Progress | None = None) -> None:
        """Take what the frozen layers make of training texts from a stage, once ``collate`` first needs it.

        Only on a CPU: a GPU computes two layers faster than it is given their output.
        """
        if len(self.frozen) == 1 or torch.cuda.is_available():
            return

        def load() -> FrozenStates:
            rows = self.ids(texts)
            key = {
                "weights": parameters_digest(self.frozen[: self._lowest + 1]),
                "rows": digest_of(sorted(set(map(tuple, rows)))),
            }
            build = lambda into: write_states(rows, self._lower, into, progress)  # noqa: E731
            return FrozenStates(stages.get("frozen_states", key, build))

        self._remembered = load

    @torch.no_grad()
    def _lower(self, ids: Tensor) -> Tensor:
        """Token ids (B, S) without padding -> states (B, S, D) above the frozen layers that are below the top one."""
        states = self.encoder.embeddings(input_ids=ids)
        for layer in self.encoder.encoder.layer[: self._lowest]:
            states = layer(states, None)
        return states

    def _below_top(self, batch: Mapping[str, Tensor]) -> Tensor:
        """States (B, S, D) that the top layer reads."""
        states, first = batch.get("lower"), self._lowest
        if states is None:
            states, first = self.encoder.embeddings(input_ids=batch["input_ids"]), 0
        # What the whole encoder makes of the mask, in the form that its attention takes.
        attended = create_bidirectional_mask(
            config=self.encoder.config, inputs_embeds=states, attention_mask=batch["attention_mask"]
        )
        for layer in self.encoder.encoder.layer[first:-1]:
            states = layer(states, attended)
        return states

    def _top(self, states: Tensor, mask: Tensor, at: Tensor) -> Tensor:
        """The top layer's states (B, P, D) at the positions ``at`` (B, P) of its input (B, S, D).

        Nobody reads its other states, whose queries, output and feed-forward would be five sixths of the arithmetic.
        """
        layer = self.encoder.encoder.layer[-1]
        attention = layer.attention.self
        asking = states.gather(1, at[:, :, None].expand(-1, -1, states.shape[-1]))
        query, key, value = (
            linear(inputs).unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)
            for linear, inputs in ((attention.query, asking), (attention.key, states), (attention.value, states))
        )
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask.bool()[:, None, None, :],
            dropout_p=attention.dropout.p if self.training and attention.training else 0.0,
        )
        attended = layer.attention.output(mixed.transpose(1, 2).flatten(2), asking)
        top: Tensor = layer.output(layer.intermediate(attended), attended)
        return top

    def collate(self, rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Token ids -> ``input_ids`` and ``attention_mask`` (B, S), padded on the right.

        In training also ``lower`` (B, S, D), the output of the frozen layers, where it is remembered.
        """
        batch = {
            "input_ids": pad(rows, value=self.tokenizer.pad_token_id or 0),
            "attention_mask": pad([[1] * len(row) for row in rows], value=0),
        }
        if self.training and self._remembered is not None:
            if not isinstance(self._remembered, FrozenStates):
                self._remembered = self._remembered()
            lower = self._remembered.take(rows)
            if lower is not None:
                batch["lower"] = lower
        return batch

    def read(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Encode a collated batch: the states (B, 2, D) at the first <e1> and the first <e2>.

        Raises:
            ValueError: a prompt lacks one of the two opening tags.
        """
        ids, mask = batch["input_ids"], batch["attention_mask"]
        tags = [ids == self.tag_ids[0], ids == self.tag_ids[2]]
        if not all(bool(found.any(-1).all()) for found in tags):
            raise ValueError("a prompt lacks <e1> or <e2>: this model reads sentences whose entities are tagged")
        at = torch.stack([found.int().argmax(-1) for found in tags], dim=1)
        return self._top(self._below_top(batch), mask, at)

    def depth(self, name: str) -> int:
        """Layers above a parameter named as in this module; 0 for the top layer."""
        parts = name.split(".")
        if "layer" in parts:
            return self.layers - 1 - int(parts[parts.index("layer") + 1])
        return self.layers


def load_encoder(
    folder: Path | None, architecture: Mapping[str, Any], *, dropout: float, attention_dropout: float
) -> Any:
    """An encoder with the weights in ``folder``, or with random ones of an architecture; see ``configuration``."""
    from transformers import AutoModel

    config = configuration(
        architecture, folder, hidden_dropout_prob=dropout, attention_probs_dropout_prob=attention_dropout
    )
    if folder is None:
        return AutoModel.from_config(config, add_pooling_layer=False)
    return AutoModel.from_pretrained(folder, config=config, add_pooling_layer=False)
