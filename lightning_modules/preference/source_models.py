"""Trained models that write preference candidates and score texts: the sources and the pivot of InfiFPO."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from data.records.texts import Completion
from lightning_modules.networks.fingerprint import parameters_digest
from lightning_modules.networks.hub.chat_format import ChatFormat
from lightning_modules.networks.language_model import LanguageModel
from lightning_modules.networks.precision import computed, computing
from lightning_modules.networks.token_batch import TokenBatch
from lightning_modules.preference.source_scores import ScoringPolicy, Source, SourceScores, Stages, source_scores
from lightning_modules.sampling.sampler import Sampler, complete


class Author:
    """A trained language model by name.

    Args:
        name: what tables and alarms call it.
        model: its weights, with a codec that can tell the bytes of its ids, see ``source_scores.Codec``.

    Attributes:
        identity: digests of weights and tokenizer, and the precision: names what it wrote and scored.
    """

    def __init__(self, name: str, model: LanguageModel) -> None:
        self.name = name
        self.model = model
        codec: Any = model.codec
        if not hasattr(codec, "pieces"):
            raise ValueError(f"{name} has a tokenizer of an unknown kind, {type(codec).__name__}")
        codec.pieces([])  # refuses a tokenizer that loses text
        self.identity: Mapping[str, str] = {
            "weights": parameters_digest(model),
            "tokenizer": codec.identity,
            **computed(model),
        }

    def reads(self, prompts: Sequence[str], *, room: int) -> list[bool]:
        """Which prompts the model can read, with so many tokens left for a response."""
        return [self._reads(prompt, room) for prompt in prompts]

    def _reads(self, prompt: str, room: int) -> bool:
        try:
            (ids,) = self.model.codec.prompt_ids([prompt])
        except ValueError:  # too long, or characters that it has not
            return False
        return len(ids) + room <= self.model.network.limit

    def write(
        self,
        items: Sequence[Any],
        *,
        copies: int,
        temperature: float,
        max_tokens: int,
        seed: int,
        batch: int | None = None,
    ) -> list[Completion]:
        """``copies`` responses to every prompt; authors that differ draw different random numbers.

        ``batch`` is how many rows are written together, which changes no response; ``None``: the sampler's own. On a
        GPU if there is one, where the weights do not stay: several large authors take turns.
        """
        own = int.from_bytes(hashlib.sha256(f"{self.name} {seed}".encode()).digest()[:7], "big")
        options: dict[str, Any] = {} if batch is None else {"batch": batch}
        sampler = Sampler(max_tokens=max_tokens, temperature=temperature, **options)
        with self._put_back():
            return complete(self.model, items, sampler, copies=copies, seed=own)

    @contextmanager
    def _put_back(self) -> Iterator[None]:
        """Weights that were taken to a GPU meanwhile go back where they were."""
        place = self.model.device
        try:
            yield
        finally:
            if self.model.device != place:
                self.model.to(place)

    def source(self) -> Source:
        """As a scorer; the network is in evaluation mode from now on, and on a GPU, if any, from the first text on."""
        self.model.eval()
        network = self.model.network

        def wake() -> None:
            if torch.cuda.is_available():
                self.model.to("cuda")

        def logits(ids: Tensor) -> Tensor:
            wake()
            with torch.no_grad(), computing(self.model):
                return network.lm_head(network.hidden(ids.to(self.model.device))).cpu()

        def responses(batch: TokenBatch) -> Tensor:
            wake()
            with torch.no_grad(), computing(self.model):
                return self.model.response_logps(batch.to(self.model.device))[0]

        codec: Any = self.model.codec
        if isinstance(codec, ChatFormat):
            codec = codec.unlimited()  # what a source cannot read is marked, not refused
        # Not every model of the transformers library reads a prompt once for two responses.
        shared = None if "shared" in getattr(self.model.causal, "refused", {}) else responses
        return Source(self.name, logits, codec, network.limit, self.identity, shared)

    def scores(
        self,
        stages: Stages,
        texts: Sequence[tuple[str, str]],
        policy: ScoringPolicy,
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> SourceScores:
        """Scores of (prompt, response) texts, a stage. ``RecordedAuthor`` of ``pair_files`` brings its own."""
        with self._put_back():
            return source_scores(stages, self.source(), texts, policy, progress=progress, batch=64)
