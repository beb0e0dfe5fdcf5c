"""Pairs of responses and their cached reference: what every preference optimisation has, whatever its loss.

The reference is the policy at the start. Its log-probabilities are computed once, by the forward pass of the training,
as a stage that cells share; before the first step they are compared with what the policy says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from data.files.sources import digest_of
from data.records.builders import MadeBy
from data.records.texts import Completion, PreferencePair
from lightning_modules.base import GridModule, Progress
from lightning_modules.losses.dpo import dpo_loss
from lightning_modules.losses.logps import SequenceLogps, normalise, sequence_logps
from lightning_modules.networks.fingerprint import parameters_digest
from lightning_modules.networks.language_model import LanguageModel, LanguageModelConfig, build_language_model
from lightning_modules.networks.precision import computed
from lightning_modules.networks.token_batch import TokenBatch, padded_batch, shared_prompt_batch
from lightning_modules.sampling.sampler import Sampler, Sampling, complete, evaluating

REFERENCE_FILE = "reference.npz"

MIXED_TOLERANCE = 0.05
"""Least ``start_tolerance`` where products are computed in 16 bits: they round differently in batches that differ."""


class StaleReferenceError(ValueError):
    """The cached reference is not what the policy says of the same texts before its first step."""


class PairBatch(NamedTuple):
    """B pairs: 2B responses, the chosen ones first, with the reference's sums (2B,) in nats and lengths (2B,)."""

    tokens: TokenBatch
    reference: SequenceLogps


class ReferencedPairs(GridModule):
    """Reads pairs of responses under the policy and under its reference; ``losses`` is left to what is derived from it.

    The data object gives ``items(split, limit=None)``: ``PreferencePair`` records in train, records with ``id`` and
    ``prompt`` elsewhere; and ``vocabulary`` where it is a generated world.

    Args:
        model: what is trained.
        seed: initial weights of what is not pre-trained, sampled responses, dropout.
        sampler: how responses are written when it is evaluated.
        share_prompt: read a prompt once for both responses; ``False`` reads it with each. The values are the same. For
            models of the transformers library it needs attention that takes (T, T) masks.
        chunk: response tokens that meet the vocabulary at a time; ``None``: all.
        score_batch: pairs that are scored together under the reference.
        start_tolerance: largest difference, in nats per token, between the cached reference and the policy before its
            first step. In 32 bits 1e-4 holds with room to spare; in mixed precision it is ``MIXED_TOLERANCE`` at least.
        samples: responses to each prompt when it is evaluated.
    """

    network: LanguageModel

    def __init__(
        self,
        *,
        model: LanguageModelConfig,
        seed: int,
        sampler: Sampling,
        share_prompt: bool = True,
        chunk: int | None = None,
        score_batch: int = 64,
        start_tolerance: float = 1e-4,
        samples: int = 1,
    ) -> None:
        super().__init__(seed=seed, optimiser=model.optimiser)
        for name, value in (("chunk", chunk), ("score_batch", score_batch), ("samples", samples)):
            if value is not None and value < 1:
                raise ValueError(f"method.{name} must be at least 1, got {value}")
        if not start_tolerance > 0:
            raise ValueError(f"method.start_tolerance must be above 0 nats per token, got {start_tolerance}")
        self.model = model
        self.sampler = sampler
        self.share_prompt = share_prompt
        self.chunk = chunk
        self.score_batch = score_batch
        self.start_tolerance = start_tolerance
        self.samples = samples
        self._reference: dict[PreferencePair, tuple[np.ndarray, np.ndarray]] | None = None

    def attach(self, data: Any) -> None:
        """Build the model; random weights follow from the seed."""
        self.network = build_language_model(self.model, data, seed=self.seed, trained=self.trains)

    def scored_pairs(self, data: Any) -> Sequence[PreferencePair]:
        """The pairs that ``score_reference`` scores under the reference: those of train."""
        pairs: Sequence[PreferencePair] = data.items("train")
        return pairs

    def draw_pairs(self, data: Any, stages: Any, progress: Progress | None = None) -> None:
        """Have data that want their pairs on policy (``samples_pairs``) get them, by the sampler that they ask for."""
        if getattr(data, "samples_pairs", False):
            sampler = Sampler(max_tokens=data.max_tokens, temperature=data.temperature)
            data.draw_pairs(
                stages,
                weights="".join([parameters_digest(self.network), *computed(self.network).values()]),
                write=lambda items: complete(
                    self.network, items, sampler, copies=data.copies, seed=data.seed, progress=progress
                ),
            )

    def prepare(self, data: Any, stages: Any, progress: Progress | None = None) -> None:
        """Have pairs on policy written first (``draw_pairs``), then score all of train (``score_reference``)."""
        self.draw_pairs(data, stages, progress)
        self.score_reference(data, stages, progress)

    def score_reference(self, data: Any, stages: Any, progress: Progress | None = None) -> None:
        """Score the training pairs under the weights as they are now, or take them from the stage that did.

        The stage is named by the weights and by the pairs' tokens, in whatever order the data give them.
        """
        pairs = sorted(set(self.scored_pairs(data)))
        texts = [self._ids([pair]) for pair in pairs]
        key = {"weights": parameters_digest(self.network), "texts": digest_of(texts), **computed(self.network)}

        def build(folder: Path) -> None:
            scored = self.score(pairs, progress=progress)
            np.savez(folder / REFERENCE_FILE, sums=scored.sums.numpy(), lengths=scored.lengths.numpy())

        with np.load(stages.get("reference_logps", key, MadeBy(build, (self.network,))) / REFERENCE_FILE) as stored:
            sums, lengths = stored["sums"], stored["lengths"]
        self._reference = {pair: (sums[row], lengths[row]) for row, pair in enumerate(pairs)}

    @torch.no_grad()
    def score(self, pairs: Sequence[PreferencePair], *, progress: Progress | None = None) -> SequenceLogps:
        """Sums (N, 2) in nats, fp64, and lengths (N, 2) of chosen and rejected under the present weights.

        Raises:
            ValueError: a response whose log-probability is not finite, by the id of its pair.
        """
        if torch.cuda.is_available():
            self.network.to("cuda")
        sums = torch.zeros(len(pairs), 2, dtype=torch.float64)
        lengths = torch.zeros(len(pairs), 2, dtype=torch.long)
        order = sorted(range(len(pairs)), key=lambda row: len(pairs[row].prompt) + len(pairs[row].chosen))
        with evaluating(self.network):
            for start in range(0, len(order), self.score_batch):
                rows = order[start : start + self.score_batch]
                found = self._sums(self._tokens([pairs[row] for row in rows]).to(self.network.device))
                sums[rows] = found.sums.double().cpu().view(2, -1).t()
                lengths[rows] = found.lengths.cpu().view(2, -1).t()
                if progress is not None:
                    progress(start + len(rows), len(order))
        broken = [pairs[row].id for row in torch.nonzero(~sums.isfinite().all(-1)).flatten().tolist()]
        if broken:
            raise ValueError(f"{len(broken)} pairs have no finite log-probability, such as {broken[0]}: drop them")
        return SequenceLogps(sums, lengths)

    def collate(self, items: list[PreferencePair]) -> PairBatch:
        """Pairs as rows, with the reference. ``ValueError`` before ``prepare``, or for a pair that it did not see."""
        if self._reference is None:
            raise ValueError("the reference is not computed yet: call method.prepare(data, stages, progress) first")
        unknown = [item.id for item in items if item not in self._reference]
        if unknown:
            raise ValueError(f"the pair {unknown[0]} is not among those of train that were scored: prepare again")
        return PairBatch(self._tokens(items), self._reference_of(items))

    def _reference_of(self, items: Sequence[PreferencePair]) -> SequenceLogps:
        """Cached sums (2B,) and lengths (2B,), the chosen responses first."""
        assert self._reference is not None
        found = [self._reference[item] for item in items]
        sums, lengths = (torch.tensor(np.stack(column, axis=1)).flatten() for column in zip(*found, strict=True))
        return SequenceLogps(sums.float(), lengths)

    @torch.no_grad()
    def _check_start(self, batch: PairBatch, *, beta: float, summed: bool) -> None:
        """Before the first step the policy is its reference, and the loss of DPO is log 2.

        Args:
            beta: of that loss, which is on sums, or on means per token.
        """
        with evaluating(self.network):
            policy = self._sums(batch.tokens)
        reference = batch.reference
        apart = (normalise(policy.sums, policy.lengths) - normalise(reference.sums, reference.lengths)).abs().max()
        again = "delete the stage reference_logps, or prepare the method after its weights are loaded"
        mixed = bool(computed(self.network))
        allowed = max(self.start_tolerance, MIXED_TOLERANCE) if mixed else self.start_tolerance
        if not bool((policy.lengths == reference.lengths).all()) or not apart <= allowed:
            raise StaleReferenceError(
                f"before the first step the policy and its cached reference differ by {float(apart):.2g} nats per "
                f"token, at most {allowed:g} is allowed: {again}"
            )
        values = [one.sums if summed else normalise(one.sums, one.lengths) for one in (policy, reference)]
        loss = float(dpo_loss(*values[0].chunk(2), *values[1].chunk(2), beta=beta).losses.mean())
        if not abs(loss - math.log(2)) <= (1e-1 if mixed else 1e-2):
            raise StaleReferenceError(
                f"the loss of DPO before the first step is {loss:.4f} instead of {math.log(2):.4f}: {again}"
            )

    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[Completion]:
        """``samples`` responses to every prompt of a split; what they are worth is for ``data.frame`` to say."""
        items = data.items(split, limit)
        return complete(self.network, items, self.sampler, copies=self.samples, seed=self.seed, progress=progress)

    def _ids(self, pairs: Sequence[PreferencePair]) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
        codec = self.network.codec
        prompts = codec.prompt_ids([pair.prompt for pair in pairs])
        chosen = codec.response_ids([pair.chosen for pair in pairs])
        rejected = codec.response_ids([pair.rejected for pair in pairs])
        return prompts, chosen, rejected

    def _tokens(self, pairs: Sequence[PreferencePair]) -> TokenBatch:
        """2B responses, the chosen ones first."""
        prompts, chosen, rejected = self._ids(pairs)
        self.network.check_lengths(prompts * 2, [*chosen, *rejected])
        padding = self.network.codec.padding
        if self.share_prompt:
            return shared_prompt_batch(prompts, chosen, rejected, padding=padding)
        return padded_batch(prompts * 2, [*chosen, *rejected], padding=padding)

    def _sums(self, tokens: TokenBatch) -> SequenceLogps:
        return sequence_logps(*self.network.response_logps(tokens, chunk=self.chunk))
