"""A small text encoder trained here: a weighted bag of word vectors, by contrast with the other texts of a batch.

It starts as a random projection of TF-IDF vectors, whose inner products are about those of TF-IDF, and learns from
there which words of a question matter and which words mean the same. What it does not see: order, and words beyond its
vocabulary. The retriever ``trained`` (``data.retrieval.trained``) prepares its pairs and reads its weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_modules.base import GridModule, Optimiser, Progress
from lightning_modules.losses.contrastive import contrastive_loss
from lightning_modules.training.fit import fit


class BagBatch(NamedTuple):
    """Pairs of one step.

    Attributes:
        query_words: word ids of all queries, one after the other.
        query_starts: (B,) where each query begins.
        text_words: word ids of all texts.
        text_starts: (B,) where each text begins.
        same: (B, B) bool, whether text j answers query i.
    """

    query_words: Tensor
    query_starts: Tensor
    text_words: Tensor
    text_starts: Tensor
    same: Tensor


class BagOfVectors(nn.Module):
    """normalise(sum over the words w of weight_w * vector_w), with weights of their own for queries and texts.

    Args:
        word_weights: (V,) first weights of the words.
        dimensions: of the vectors.
    """

    def __init__(self, word_weights: Tensor, dimensions: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(len(word_weights), dimensions) / dimensions**0.5)
        self.query_weights = nn.Parameter(word_weights.clone())
        self.text_weights = nn.Parameter(word_weights.clone())

    def forward(self, words: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
        """(B, dimensions) unit vectors of the bags of ``words`` that begin at ``starts``."""
        summed = nn.functional.embedding_bag(words, self.vectors, starts, mode="sum", per_sample_weights=weights[words])
        return nn.functional.normalize(summed, dim=-1)


class BagEncoder(GridModule):
    """Trains a ``BagOfVectors``.

    Args:
        seed: decides the first vectors.
        optimiser: how they are trained.
        dimensions: of the vectors.
        temperature: of the contrastive loss.
    """

    network: BagOfVectors

    def __init__(self, *, seed: int, optimiser: Optimiser, dimensions: int, temperature: float) -> None:
        super().__init__(seed=seed, optimiser=optimiser)
        self.dimensions = dimensions
        self.temperature = temperature

    def attach(self, data: Any) -> None:
        """Build the network over the words of ``data``."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network = BagOfVectors(torch.as_tensor(data.word_weights, dtype=torch.float32), self.dimensions)

    def collate(self, items: Sequence[Any]) -> BagBatch:
        """Items (query's word ids, text's word ids, number of the text) -> batch; equal numbers are the same text."""
        numbers = torch.tensor([number for _, _, number in items])
        query_words, query_starts = _bags([query for query, _, _ in items])
        text_words, text_starts = _bags([text for _, text, _ in items])
        same = numbers.unsqueeze(0) == numbers.unsqueeze(1)
        return BagBatch(query_words, query_starts, text_words, text_starts, same)

    def losses(self, batch: BagBatch) -> tuple[Tensor, Tensor]:
        """See ``base.GridModule.losses``."""
        queries = self.network(batch.query_words, batch.query_starts, self.network.query_weights)
        texts = self.network(batch.text_words, batch.text_starts, self.network.text_weights)
        losses = contrastive_loss(queries, texts, temperature=self.temperature, same=batch.same)
        return losses, torch.tensor(len(batch.query_words) + len(batch.text_words))


class BagTraining:
    """What the retriever ``trained`` is given: settings of the training, and the training itself.

    Args:
        dimensions: of the vectors.
        temperature: of the contrastive loss, above 0.
        max_epochs: passes over the pairs.
        seed: decides the first vectors.
        optimiser: how they are trained.
    """

    def __init__(
        self,
        *,
        optimiser: Optimiser,
        dimensions: int = 256,
        temperature: float = 0.05,
        max_epochs: float = 10,
        seed: int = 0,
    ) -> None:
        if dimensions < 1 or not temperature > 0 or not max_epochs > 0:
            raise ValueError(
                f"training wants dimensions >= 1, temperature > 0 and max_epochs > 0, got {dimensions}, {temperature}, "
                f"{max_epochs}"
            )
        self.optimiser = optimiser
        self.dimensions = int(dimensions)
        self.temperature = float(temperature)
        self.max_epochs = float(max_epochs)
        self.seed = int(seed)

    def key(self) -> dict[str, Any]:
        """Plain settings that decide the weights."""
        plain = {name: value for name, value in vars(self).items() if name != "optimiser"}
        optimiser = {**vars(self.optimiser), "betas": list(self.optimiser.betas)}
        return {"training": "bag_encoder", **plain, "optimiser": optimiser}

    def train(self, data: Any, folder: Path, progress: Progress | None = None) -> None:
        """Train on the pairs of ``data``; ``folder`` gets vectors, query_weights and text_weights."""
        module = BagEncoder(
            seed=self.seed, optimiser=self.optimiser, dimensions=self.dimensions, temperature=self.temperature
        )
        module.attach(data)
        fit(module, data, folder=folder, max_epochs=self.max_epochs, progress=progress)


def _bags(bags: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """All ids in a row, and where each bag begins."""
    starts = [0]
    for bag in bags:
        starts.append(starts[-1] + len(bag))
    return torch.tensor([word for bag in bags for word in bag], dtype=torch.long), torch.tensor(starts[:-1])
