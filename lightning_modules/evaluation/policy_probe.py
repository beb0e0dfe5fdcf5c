"""Evaluation of a policy against the base model that its chain of trainings began with; trains nothing.

The policy is the cell's base (an SFT or a preference checkpoint); the base model is that chain's first link.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.records.probes import PolicyReading, Probe
from data.records.texts import Completion
from lightning_modules.base import GridModule, Progress
from lightning_modules.losses.logps import normalise, sequence_logps, token_entropies, token_kls, token_logps
from lightning_modules.networks.language_model import LanguageModel, LanguageModelConfig, build_language_model
from lightning_modules.networks.reference_model import ReferenceModel, demonstration_rows, labels_of, logits_of
from lightning_modules.networks.token_batch import Ids, TokenBatch, padded_batch
from lightning_modules.sampling.sampler import Sampling, evaluating


class PolicyProbe(GridModule):
    """Reads a policy: what it writes, how far it is from its base, what it still knows.

    The data object gives ``probes(split, limit)`` (``data.records.probes.Probe``) and a vocabulary.

    Args:
        model: of policy and base alike.
        seed: of the sampled responses.
        sampler: how responses are written.
        samples: responses to each prompt.
        score_batch: texts that are scored together.
    """

    network: LanguageModel

    def __init__(
        self, *, model: LanguageModelConfig, seed: int, sampler: Sampling, samples: int = 4, score_batch: int = 256
    ) -> None:
        super().__init__(seed=seed, optimiser=model.optimiser)
        for name, value in (("samples", samples), ("score_batch", score_batch)):
            if value < 1:
                raise ValueError(f"method.{name} must be at least 1, got {value}")
        self.trains = False
        self.model, self.sampler = model, sampler
        self.samples, self.score_batch = samples, score_batch
        self.origin: ReferenceModel | None = None

    def attach(self, data: Any) -> None:
        """Build the model; its weights come by ``load_origin`` and ``load_weights``."""
        self.network = build_language_model(self.model, data, seed=self.seed, trained=self.trains)

    def load_origin(self, folder: Path) -> None:
        """Take the base model's weights. Comes before ``load_weights``, which brings the policy's."""
        self.load_weights(folder)
        self.origin = ReferenceModel(self.network)

    @torch.no_grad()
    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[PolicyReading]:
        """One reading for every example of a split, in its order. ``ValueError`` without a base model."""
        if self.origin is None:
            raise ValueError(
                "method=policy_probe reads a trained policy: give one as base, such as base=implicit_reward/policy_sft"
            )
        probes: list[Probe] = data.probes(split, limit)
        if torch.cuda.is_available():
            self.network.to("cuda")
        prompts = self.network.codec.prompt_ids([probe.prompt for probe in probes])
        rollouts = self.sampler.sample(
            self.network,
            prompts,
            copies=self.samples,
            generator=torch.Generator().manual_seed(self.seed),
            progress=progress,
        )
        rows, lengths, finished = rollouts.rows(), rollouts.lengths.tolist(), rollouts.finished.tolist()
        texts = self.network.codec.texts(rows)
        logps = rollouts.logps.double().sum(-1).tolist()
        written = [
            Completion(
                probes[row // self.samples].id, row % self.samples, text, lengths[row], finished[row], logps[row]
            )
            for row, text in enumerate(texts)
        ]
        with evaluating(self.network):
            own = self._passed_through([prompt for prompt in prompts for _ in range(self.samples)], rows)
            shown, shown_ratio = self._scored([(probe.prompt, probe.demonstration) for probe in probes])
            known, _ = self._scored([(probe.knowledge.prompt, probe.knowledge.response) for probe in probes])
        by_probe = own.view(len(probes), self.samples, 2).mean(1)
        return [
            PolicyReading(
                probe.id,
                tuple(written[at * self.samples : (at + 1) * self.samples]),
                float(by_probe[at, 0]),
                float(by_probe[at, 1]),
                -float(shown[at]),
                float(shown_ratio[at]),
                -float(known[at]),
            )
            for at, probe in enumerate(probes)
        ]

    def _passed_through(self, prompts: Sequence[Ids], responses: Sequence[Ids]) -> Tensor:
        """(N, 2): summed divergence from the base, nats, and entropy per token, along what the policy wrote."""
        found = []
        for batch in self._batches(prompts, responses):
            logits, origin = self._logits(batch)
            _, mask = labels_of(batch)
            kls = sequence_logps(token_kls(logits, origin, direction="policy_to_ref"), mask).sums
            found.append(torch.stack([kls, normalise(*sequence_logps(token_entropies(logits), mask))], dim=1).cpu())
        return torch.cat(found)

    def _scored(self, texts: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor]:
        """Log-probability per token (N,) of given responses, and log-ratio to the base (N,) of the whole, in nats."""
        means, ratios = [], []
        for batch in self._batches(*demonstration_rows(self.network, list(texts))):
            logits, origin = self._logits(batch)
            labels, mask = labels_of(batch)
            policy = sequence_logps(token_logps(logits, labels), mask)
            means.append(normalise(*policy).cpu())
            ratios.append((policy.sums - sequence_logps(token_logps(origin, labels), mask).sums).cpu())
        return torch.cat(means), torch.cat(ratios)

    def _logits(self, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        """Of policy and base, (E, L+1, V) each."""
        assert self.origin is not None
        return logits_of(self.network, self.network.response_states(batch)), self.origin.logits(batch)

    def _batches(self, prompts: Sequence[Ids], responses: Sequence[Ids]) -> list[TokenBatch]:
        padding, size = self.network.codec.padding, self.score_batch
        return [
            padded_batch(prompts[start : start + size], responses[start : start + size], padding=padding).to(
                self.network.device
            )
            for start in range(0, len(prompts), size)
        ]
