"""A generator for machines without hub weights: a pre-trained sentence encoder and a small decoder trained here.

The decoder writes label names piece by piece from a vocabulary of its own (``label_vocabulary``), so that it needs no
softmax over 30,000 word pieces and its shapes do not depend on an inventory. All that it knows of the prompt are the
encoder's states at the two entity tags: it attends to them, they scale and shift its inputs, and they are added to what
it outputs. Attending to every token of the prompt as well learns no faster and costs a fifth more (docs/LAB.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.files.sources import locate_weights
from lightning_modules.base import Optimiser, Progress
from lightning_modules.losses.logps import IGNORED, PerSequence
from lightning_modules.losses.sft import sft_loss
from lightning_modules.networks.answerer.interface import Answerer, AnswerScores, check_prompt_lengths, pad
from lightning_modules.networks.answerer.label_vocabulary import END, PAD, START, LabelVocabulary
from lightning_modules.networks.answerer.marked_encoder import MarkedEncoder, load_encoder
from lightning_modules.networks.answerer.transformer import target_logps
from lightning_modules.networks.answerer.trie import AnswerTrie, answer_trie

_INPUT_STD = 0.4  # of embeddings and positions: about that of the encoder's states (0.28), which they are added to


class _Attention(nn.Module):
    """Multi-head attention of (B, T, D) on (B, S, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        nn.init.normal_(self.output.weight, std=0.01)

    def _split(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def remember(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, S, D / heads)."""
        return self._split(self.key(memory)), self._split(self.value(memory))

    def forward(
        self, inputs: Tensor, remembered: tuple[Tensor, Tensor], *, causal: bool, visible: Tensor | None = None
    ) -> Tensor:
        mixed = F.scaled_dot_product_attention(
            self._split(self.query(inputs)), *remembered, attn_mask=visible, is_causal=causal
        )
        return self.output(mixed.transpose(1, 2).flatten(2))


class _DecoderLayer(nn.Module):
    """Pre-norm decoder layer: self-attention, attention to the pair's states, feed-forward."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.before_self = nn.LayerNorm(width)
        self.own = _Attention(width, heads)
        self.before_cross = nn.LayerNorm(width)
        self.cross = _Attention(width, heads)
        self.before_feedforward = nn.LayerNorm(width)
        self.rise = nn.Linear(width, feedforward)
        self.fall = nn.Linear(feedforward, width)
        nn.init.normal_(self.fall.weight, std=0.01)

    def forward(self, states: Tensor, memory: tuple[Tensor, Tensor], visible: Tensor | None) -> Tensor:
        own = self.before_self(states)
        states = states + self.own(own, self.own.remember(own), causal=visible is None, visible=visible)
        states = states + self.cross(self.before_cross(states), memory, causal=False)
        return states + self.fall(F.gelu(self.rise(self.before_feedforward(states))))


class MarkedDecoder(nn.Module):
    """Writes pieces given what the encoder read.

    Args:
        width: D, of the encoder's states.
        vocabulary: V, number of pieces.
        layers, heads, feedforward: sizes.
        max_length: longest answer in pieces, end included.
        dropout: on the pair's states and on the inputs.
    """

    def __init__(
        self, width: int, vocabulary: int, *, layers: int, heads: int, feedforward: int, max_length: int, dropout: float
    ) -> None:
        super().__init__()
        self.pieces = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(max_length, width)
        self.scale = nn.Linear(2 * width, width)
        self.shift = nn.Linear(2 * width, width)
        self.layers = nn.ModuleList([_DecoderLayer(width, heads, feedforward) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)
        self.dropout = dropout
        nn.init.normal_(self.pieces.weight, std=_INPUT_STD)
        nn.init.normal_(self.positions.weight, std=_INPUT_STD)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, inputs: Tensor, pair: Tensor, trie: AnswerTrie | None = None) -> Tensor:
        """Pieces (R, T), R a multiple A of the B pairs (B, 2, D) read, A rows for each -> logits (R, T, V).

        With a ``trie`` of T nodes, rows are its nodes' pieces and no sequences.
        """
        repeats, length = len(inputs) // len(pair), inputs.shape[1]
        both = F.dropout(pair.flatten(1), self.dropout, self.training).repeat_interleave(repeats, dim=0)[:, None]
        shift = self.shift(both)
        states = self.pieces(inputs) + (self.positions.weight[:length] if trie is None else self.positions(trie.depths))
        states = F.dropout(states * (1 + self.scale(both)) + shift, self.dropout, self.training)
        for layer in cast(Iterable[_DecoderLayer], self.layers):
            keys, values = layer.cross.remember(pair)
            memory = (keys.repeat_interleave(repeats, dim=0), values.repeat_interleave(repeats, dim=0))
            states = layer(states, memory, trie.visible if trie is not None else None)
        return self.head(self.norm(states) + shift)


class MarkedAnswerer(Answerer):
    """Encoder and decoder as an ``Answerer``.

    Args:
        encoder: reads the prompts.
        decoder: writes the answers.
        vocabulary: of the answers.
        prompt_limit: longest prompt in tokens.
        label_head_weight: weight of the label head's loss, see ``losses``; 0: there is no head.
    """

    def __init__(
        self,
        encoder: MarkedEncoder,
        decoder: MarkedDecoder,
        vocabulary: LabelVocabulary,
        *,
        prompt_limit: int,
        label_head_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.vocabulary = vocabulary
        self.prompt_limit = prompt_limit
        self.max_length = decoder.positions.num_embeddings
        self.label_head_weight = label_head_weight
        self.label_head: nn.Linear | None = None
        self._label_index: dict[str, int] = {}

    def expect(self, labels: Sequence[str]) -> None:
        """See ``Answerer.expect``: the label head is as wide as the inventory."""
        if self.label_head_weight:
            self._label_index = {label: index for index, label in enumerate(labels)}
            self.label_head = nn.Linear(2 * self.encoder.width, len(labels))

    def is_new(self, name: str) -> bool:
        """The decoder and the label head."""
        return name.startswith(("decoder.", "label_head."))

    def training_only(self, name: str) -> bool:
        """The label head, whose width belongs to an inventory: another task starts from the other weights."""
        return name.startswith("label_head.")

    def depth(self, name: str) -> int:
        """Layers of the encoder above a parameter."""
        return self.encoder.depth(name)

    def remember(self, texts: Sequence[str], stages: Any, progress: Progress | None = None) -> None:
        """See ``Answerer.remember``: the output of the encoder's frozen layers."""
        self.encoder.remember(texts, stages, progress)

    def count_tokens(self, text: str) -> int:
        """See ``Answerer.count_tokens``."""
        return len(self.encoder.ids([text])[0])

    def _collate_prompts(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        ids = self.encoder.ids(prompts)
        check_prompt_lengths(prompts, [len(row) for row in ids], limit=self.prompt_limit)
        return self.encoder.collate(ids)

    def _pieces(self, answers: Sequence[str]) -> list[list[int]]:
        rows = [[*self.vocabulary.encode(answer), END] for answer in answers]
        longest = max(range(len(rows)), key=lambda index: len(rows[index]))
        if len(rows[longest]) > self.max_length:
            raise ValueError(
                f"{answers[longest]!r} takes {len(rows[longest])} pieces but an answer has at most {self.max_length}: "
                "raise model.max_answer_pieces or shorten the label"
            )
        return rows

    def collate(self, prompts: Sequence[str], answers: Sequence[str]) -> dict[str, Tensor]:
        """See ``Answerer.collate``."""
        batch = {**self._collate_prompts(prompts), "labels": pad(self._pieces(answers), value=IGNORED)}
        if self.label_head is not None:
            batch["classes"] = torch.tensor([self._label_index[answer] for answer in answers])
        return batch

    def answer_logps(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """See ``Answerer.answer_logps``."""
        return self._logps(self.encoder.read(batch), batch["labels"])

    def _logps(self, pair: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return target_logps(self.decoder(_shifted(labels), pair), labels), labels != IGNORED

    def losses(self, batch: dict[str, Tensor], *, per_sequence: PerSequence) -> tuple[Tensor, Tensor]:
        """See ``Answerer.losses``. With a label head, its weighted cross-entropy is added.

        A linear head over the states of the pair learns from a label at once what the decoder must find piece by piece,
        so that the encoder learns faster. It serves training alone: answers come from the decoder.
        """
        pair = self.encoder.read(batch)
        logps, mask = self._logps(pair, batch["labels"])
        losses = sft_loss(logps, mask, per_sequence=per_sequence)
        if self.label_head is not None:
            seen = F.dropout(pair.flatten(1), self.decoder.dropout, self.training)
            beside = F.cross_entropy(self.label_head(seen).float(), batch["classes"], reduction="none")
            losses = losses + self.label_head_weight * beside
        return losses, mask

    def _read(self, prompts: Sequence[str]) -> Tensor:
        return self.encoder.read(
            {name: value.to(self.device) for name, value in self._collate_prompts(prompts).items()}
        )

    @torch.no_grad()
    def score(self, prompts: Sequence[str], answers: Sequence[str]) -> AnswerScores:
        """See ``Answerer.score``: prompts are encoded once, then all answers are decoded as one tree of prefixes."""
        pair = self._read(prompts)
        trie = answer_trie(self._pieces(answers), start=START).to(self.device)
        logits = self.decoder(trie.pieces.expand(len(prompts), -1), pair, trie)
        return AnswerScores(trie.sums(F.log_softmax(logits.float(), dim=-1)), trie.mask.sum(-1))

    @torch.no_grad()
    def generate(self, prompts: Sequence[str], *, max_tokens: int) -> list[str]:
        """See ``Answerer.generate``. Answers are short, so earlier pieces are simply decoded again at every step."""
        pair = self._read(prompts)
        written = torch.full((len(prompts), 1), START, device=self.device)
        for _ in range(min(max_tokens, self.max_length)):
            best = self.decoder(written, pair)[:, -1].argmax(-1, keepdim=True)
            written = torch.cat([written, best], dim=1)
            if bool((written == END).any(-1).all()):
                break
        return [self.vocabulary.decode(row) for row in written.tolist()]


def _shifted(labels: Tensor) -> Tensor:
    """Decoder input: the start piece, then all labels but the last."""
    start = labels.new_full((len(labels), 1), START)
    return torch.cat([start, labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, PAD)], dim=1)


class MarkedGenerator:
    """Builds a ``MarkedAnswerer``.

    Args:
        weights: of the encoder, see ``sources.locate_weights``; ``None`` draws random ones from ``architecture``.
        revision: of a hub id.
        architecture: ``model_type`` and sizes of the encoder; loaded weights must agree with them.
        tokenizer: ``{weights, revision}`` of the tokenizer where it is not beside the weights.
        tag_pieces: pieces whose embeddings the four entity tags start from.
        frozen_layers: encoder layers, from below, that are not trained; the embeddings never are.
        dropout, attention_dropout: of the encoder's trained layers.
        decoder_layers, decoder_heads, decoder_feedforward, decoder_dropout: of the decoder.
        max_answer_pieces: longest answer.
        label_head_weight: of an auxiliary loss in training, see ``MarkedAnswerer.losses``; 0: none.
        optimiser: how these weights are best trained.
    """

    def __init__(
        self,
        *,
        weights: str | None,
        architecture: Mapping[str, Any],
        optimiser: Optimiser,
        revision: str | None = None,
        tokenizer: Mapping[str, Any] | None = None,
        tag_pieces: Sequence[str] = ("[", "]", "{", "}"),
        frozen_layers: int = 0,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        decoder_layers: int = 1,
        decoder_heads: int = 6,
        decoder_feedforward: int = 768,
        decoder_dropout: float = 0.1,
        max_answer_pieces: int = 64,
        label_head_weight: float = 0.0,
    ) -> None:
        sizes = {
            "decoder_layers": decoder_layers,
            "decoder_heads": decoder_heads,
            "decoder_feedforward": decoder_feedforward,
            "max_answer_pieces": max_answer_pieces,
            "frozen_layers": frozen_layers + 1,
        }
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"model.{name} is too small: got {size - (name == 'frozen_layers')}")
        rates = {"dropout": dropout, "attention_dropout": attention_dropout, "decoder_dropout": decoder_dropout}
        for name, rate in rates.items():
            if not 0 <= rate < 1:
                raise ValueError(f"model.{name} must be at least 0 and below 1, got {rate}")
        if not 0 <= label_head_weight < float("inf"):
            raise ValueError(f"model.label_head_weight must be a number of at least 0, got {label_head_weight}")
        width = int(architecture.get("hidden_size", 0))
        if "model_type" not in architecture or width < 1:
            raise ValueError("model.architecture needs model_type and hidden_size")
        if width % decoder_heads:
            raise ValueError(f"model.decoder_heads must divide the encoder's width {width}, got {decoder_heads}")
        if weights is None and tokenizer is None:
            raise ValueError("model.tokenizer must be given where model.weights is null: random weights bring none")
        self.weights = weights
        self.revision = revision
        self.architecture = dict(architecture)
        self.tokenizer = dict(tokenizer) if tokenizer else {"weights": weights, "revision": revision}
        self.tag_pieces = tuple(tag_pieces)
        self.frozen_layers = frozen_layers
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.decoder_layers = decoder_layers
        self.decoder_heads = decoder_heads
        self.decoder_feedforward = decoder_feedforward
        self.decoder_dropout = decoder_dropout
        self.max_answer_pieces = max_answer_pieces
        self.label_head_weight = label_head_weight
        self.optimiser = optimiser

    def build_encoder(self) -> MarkedEncoder:
        """The encoder alone, with its tokenizer."""
        from transformers import AutoTokenizer

        source = locate_weights(str(self.tokenizer["weights"]), self.tokenizer.get("revision"))
        folder = locate_weights(self.weights, self.revision) if self.weights else None
        encoder = load_encoder(
            folder, self.architecture, dropout=self.dropout, attention_dropout=self.attention_dropout
        )
        return MarkedEncoder(
            encoder, AutoTokenizer.from_pretrained(source), tag_pieces=self.tag_pieces, frozen_layers=self.frozen_layers
        )

    def build(self) -> MarkedAnswerer:
        """Load the encoder, draw the decoder."""
        encoder = self.build_encoder()
        vocabulary = LabelVocabulary()
        decoder = MarkedDecoder(
            encoder.width,
            len(vocabulary),
            layers=self.decoder_layers,
            heads=self.decoder_heads,
            feedforward=self.decoder_feedforward,
            max_length=self.max_answer_pieces,
            dropout=self.decoder_dropout,
        )
        return MarkedAnswerer(
            encoder,
            decoder,
            vocabulary,
            prompt_limit=encoder.limit,
            label_head_weight=self.label_head_weight,
        )
