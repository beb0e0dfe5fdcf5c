"""A causal network with its vocabulary: what every method that trains on prompts and responses holds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.base import Optimiser
from lightning_modules.losses.logps import IGNORED, token_logps, token_logps_from_hidden
from lightning_modules.networks.causal_network import CausalNetwork, branch_mask
from lightning_modules.networks.precision import Precision, keep_trained_in_32_bits
from lightning_modules.networks.token_batch import TokenBatch


class Codec(Protocol):
    """Texts to ids and back.

    Attributes:
        padding: id that fills rows.
        end: id that closes every response.
        ends: all ids that end what is generated, ``end`` among them.
    """

    padding: int
    end: int
    ends: frozenset[int]

    def prompt_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of prompts, with whatever a model wants around them; never empty."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of a prompt, however long it is."""
        ...

    def response_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of responses, each closed by the end token."""
        ...

    def further_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of what is read behind a response, up to the next one: a further prompt, or what a world shows."""
        ...

    def read_back(self, response: Sequence[int]) -> list[int]:
        """A response, which need not have ended, as it stands in the context of what a world shows then."""
        ...

    def continued(self, prompt: str, text: str) -> tuple[list[int], list[int]]:
        """Ids of a prompt, never empty, and of a text that goes on in its last line; nothing closes the text."""
        ...

    def texts(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """What was generated, up to what ends it."""
        ...


class WorldCodec:
    """The closed vocabulary of a generated world (``data.worlds.vocabulary.Vocabulary``) as a ``Codec``."""

    def __init__(self, vocabulary: Any) -> None:
        self.vocabulary = vocabulary
        self.padding: int = vocabulary.pad
        self.end: int = vocabulary.end
        self.ends = frozenset({self.end})
        self.identity = hashlib.sha256("\x1f".join(vocabulary.pieces).encode()).hexdigest()

    def prompt_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """See ``Codec``: every prompt begins with the start token."""
        return [[self.vocabulary.start, *self.vocabulary.encode(text)] for text in texts]

    def response_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """See ``Codec``."""
        return [[*self.vocabulary.encode(text), self.end] for text in texts]

    def count_tokens(self, text: str) -> int:
        """See ``Codec``."""
        return len(self.prompt_ids([text])[0])

    def further_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """See ``Codec``: nothing opens them."""
        return [self.vocabulary.encode(text) for text in texts]

    def read_back(self, response: Sequence[int]) -> list[int]:
        """See ``Codec``: without its end."""
        return list(response[:-1] if response and response[-1] == self.end else response)

    def continued(self, prompt: str, text: str) -> tuple[list[int], list[int]]:
        """See ``Codec``."""
        return self.prompt_ids([prompt])[0], self.vocabulary.encode(text)

    def spelt(self, response: str) -> str:
        """See ``source_scores.Codec``."""
        return response

    def pieces(self, ids: Sequence[int]) -> list[bytes]:
        """See ``source_scores.Codec``."""
        return [self.vocabulary.pieces[index].encode() for index in ids]

    def texts(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """See ``Codec``."""
        return [self.vocabulary.decode(row) for row in rows]


class LanguageModel(nn.Module):
    """Text in, log-probabilities out.

    Args:
        network: an ``nn.Module`` that is a ``CausalNetwork``.
        codec: its vocabulary.
        pretrained: whether the weights were loaded rather than drawn.

    Attributes:
        precision: in which it computes outside a training; see ``precision.computing``.
    """

    precision: Precision = "32-true"

    def __init__(self, network: nn.Module, codec: Codec, *, pretrained: bool) -> None:
        super().__init__()
        self.causal = network
        self.codec = codec
        self.pretrained = pretrained

    def is_new(self, name: str) -> bool:
        """Whether a parameter started from random values; see ``GridModule.learning_rate``."""
        return not self.pretrained

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def network(self) -> CausalNetwork:
        """The network, by what it can do."""
        return cast(CausalNetwork, self.causal)

    def check_lengths(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> None:
        """``ValueError`` for a sequence longer than the network reads: nothing is cut silently."""
        for prompt, response in zip(prompts, responses, strict=True):
            if len(prompt) + len(response) > self.network.limit:
                raise ValueError(
                    f"a prompt of {len(prompt)} and a response of {len(response)} tokens exceed the network's limit of "
                    f"{self.network.limit}: raise the model's limit, or drop such examples from the data"
                )

    def response_logps(
        self, batch: TokenBatch, *, temperature: float = 1.0, chunk: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log-probabilities of all response tokens, from one forward pass.

        Args:
            batch: E responses of at most L tokens.
            temperature: of the distribution that is scored.
            chunk: tokens that meet the vocabulary at a time, computed again in the backward pass; ``None``: all.

        Returns:
            (E, L) in nats, fp32, 0 behind the end; and which columns are real, (E, L).
        """
        return self.logps_of(self.response_states(batch), batch, temperature=temperature, chunk=chunk)

    def logps_of(
        self, states: Tensor, batch: TokenBatch, *, temperature: float = 1.0, chunk: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """As ``response_logps``, from the states (E, L, H) that ``response_states`` gave."""
        # token_logps predicts the token at t from t-1 and never reads the last position; here t predicts t.
        states = F.pad(states, (0, 0, 0, 1))
        labels = F.pad(batch.targets, (1, 0), value=IGNORED)
        mask = batch.targets != IGNORED
        if chunk is not None:
            head = self.network.lm_head
            return token_logps_from_hidden(states, head, labels, chunk=chunk, temperature=temperature), mask
        return token_logps(self.network.lm_head(states), labels, temperature=temperature), mask

    def response_states(self, batch: TokenBatch) -> Tensor:
        """States (E, L, H) that predict the response tokens; what stands behind the end of a response means nothing."""
        branches = None if batch.branches is None else branch_mask(batch.branches)
        hidden = self.network.hidden(batch.ids, positions=batch.positions, segments=batch.segments, mask=branches)
        return hidden.flatten(0, 1)[batch.sources]


class LanguageModelConfig(Protocol):
    """What ``conf/model`` describes for methods that train on prompts and responses.

    Attributes:
        optimiser: how these weights are best trained.
    """

    optimiser: Optimiser

    def build_language_model(self, vocabulary: Any) -> LanguageModel:
        """Load or draw the weights; random ones come from torch's global generator.

        Args:
            vocabulary: of the data's world, or ``None``; models that bring a tokenizer ignore it.
        """
        ...


def build_language_model(model: LanguageModelConfig, data: Any, *, seed: int, trained: bool) -> LanguageModel:
    """The language model of a method that is attached to ``data``; random weights follow from the seed.

    One that will be trained keeps its trained weights in 32 bits from here on, so that what is computed of them before
    the first step is what the training begins with. Takes ``data.vocabulary`` where the data have one, and sets
    ``data.count_tokens`` for budgets of prompts.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        built = model.build_language_model(getattr(data, "vocabulary", None))
    if trained:
        keep_trained_in_32_bits(built)
    data.count_tokens = built.codec.count_tokens
    return built
