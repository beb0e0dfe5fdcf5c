"""What a method needs of a network that reads prompts and writes short answers, whatever its architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from lightning_modules.base import Optimiser, Progress
from lightning_modules.losses.logps import PerSequence
from lightning_modules.losses.sft import sft_loss
from lightning_modules.networks.precision import Precision


class AnswerScores(NamedTuple):
    """Log-probabilities of whole answers: sums (B, A) in nats, fp32, and lengths (A,) in tokens, end token included."""

    sums: Tensor
    lengths: Tensor


class Answerer(nn.Module, ABC):
    """A network with its tokenizers. B prompts, A answers, T answer tokens (end token included).

    Attributes:
        prompt_limit: longest prompt in tokens that it reads.
        precision: in which it computes outside a training; see ``precision.computing``.
    """

    prompt_limit: int
    precision: Precision = "32-true"

    @abstractmethod
    def count_tokens(self, text: str) -> int:
        """Tokens of a prompt, those that are always added included."""

    @abstractmethod
    def collate(self, prompts: Sequence[str], answers: Sequence[str]) -> dict[str, Tensor]:
        """Tensors of B prompts and answers, on the CPU. ``ValueError`` for a prompt longer than ``prompt_limit``."""

    @abstractmethod
    def answer_logps(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Collated batch -> log-probabilities (B, T) of the answer tokens in nats; which of them are real (B, T)."""

    def expect(self, labels: Sequence[str]) -> None:
        """Hear, before training, which answers it will ask for. Most networks need not know."""
        return None

    def losses(self, batch: dict[str, Tensor], *, per_sequence: PerSequence) -> tuple[Tensor, Tensor]:
        """Collated batch -> what training minimises (B,), in nats; which answer tokens are real (B, T).

        The negative log-likelihood of the answers, and in some networks what they learn beside it.
        """
        logps, mask = self.answer_logps(batch)
        return sft_loss(logps, mask, per_sequence=per_sequence), mask

    @abstractmethod
    def score(self, prompts: Sequence[str], answers: Sequence[str]) -> AnswerScores:
        """Log-probability of each of A answers after each of B prompts. Every prompt is read once."""

    @abstractmethod
    def generate(self, prompts: Sequence[str], *, max_tokens: int) -> list[str]:
        """Greedy decoding until the end token or ``max_tokens``; text without special tokens."""

    def remember(self, texts: Sequence[str], stages: Any, progress: Progress | None = None) -> None:
        """Keep, as a stage, what training can compute of its prompts once and for all; nothing in most networks."""
        return None

    def is_new(self, name: str) -> bool:
        """Whether a parameter started from random values rather than pre-trained ones."""
        return False

    def training_only(self, name: str) -> bool:
        """Whether a parameter serves training alone: it is not saved with the trained weights."""
        return False

    def depth(self, name: str) -> int:
        """Layers between a parameter's and the top one; 0 where that is unknown."""
        return 0

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device


class Model(Protocol):
    """What ``conf/model`` describes.

    Attributes:
        optimiser: how these weights are best trained.
    """

    optimiser: Optimiser

    def build(self) -> Answerer:
        """Load or draw the weights; random ones come from torch's global generator."""
        ...


def check_prompt_lengths(texts: Sequence[str], lengths: Sequence[int], *, limit: int) -> None:
    """Refuse prompts that would have to be cut: nothing is truncated silently."""
    for text, length in zip(texts, lengths, strict=True):
        if length > limit:
            raise ValueError(
                f"a prompt has {length} tokens but the model reads at most {limit}: set prompt.budget={limit} to drop "
                f"neighbours, or take a shorter prompt ({text[:60]!r}...)"
            )


def pad(rows: Sequence[Sequence[int]], *, value: int, left: bool = False) -> Tensor:
    """Rows of ids -> (B, T) int64, padded with ``value`` to the longest."""
    # All ids at once: a tensor for every row takes several times as long.
    lengths = np.array([len(row) for row in rows])
    places = np.arange(lengths.max())
    padded = np.full((len(rows), len(places)), value, dtype=np.int64)
    filled = places >= (len(places) - lengths)[:, None] if left else places < lengths[:, None]
    padded[filled] = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=lengths.sum())
    return torch.from_numpy(padded)
