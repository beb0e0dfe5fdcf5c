"""Does an implicit reward agree with people? Pairs of responses read by a policy and its reference; trains nothing.

The implicit reward of a response is the log-ratio of policy and reference (arXiv 2507.00018, 2305.18290); beta scales
it and changes no order. Beside it stand what it must beat: likelihood alone, length alone, chance.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from data.files.sources import digest_of
from data.records.builders import MadeBy
from data.records.pairs import PairReading
from data.records.texts import PreferencePair
from lightning_modules.base import GridModule, Progress
from lightning_modules.losses.logps import sequence_logps
from lightning_modules.networks.fingerprint import parameters_digest
from lightning_modules.networks.language_model import LanguageModel, LanguageModelConfig, build_language_model
from lightning_modules.networks.precision import computed
from lightning_modules.networks.reference_model import ReferenceModel
from lightning_modules.networks.token_batch import padded_batch
from lightning_modules.sampling.sampler import evaluating

Estimate = Literal["log_ratio", "mean_log_ratio", "logp", "mean_logp", "longer", "random"]
ESTIMATES = ("log_ratio", "mean_log_ratio", "logp", "mean_logp", "longer", "random")

_FILE = "scores.npz"


class PairProbe(GridModule):
    """Guesses which response of a pair people preferred.

    The data object gives ``items(split, limit)`` (``PreferencePair``). The policy is the cell's base, or without one
    the model as it comes.

    Args:
        model: of the policy.
        seed: of the random estimate.
        reference: a published model that the policy came from; ``None``: ``model`` before its training.
        estimate: what a response is worth. "log_ratio": log policy - log reference, summed over its tokens;
            "mean_log_ratio": per token; "logp", "mean_logp": of the policy alone; "longer": its UTF-8 bytes; "random".
        score_batch: responses that are scored together.
    """

    network: LanguageModel

    def __init__(
        self,
        *,
        model: LanguageModelConfig,
        seed: int,
        reference: LanguageModelConfig | None = None,
        estimate: Estimate = "log_ratio",
        score_batch: int = 32,
    ) -> None:
        super().__init__(seed=seed, optimiser=model.optimiser)
        if estimate not in ESTIMATES:
            raise ValueError(f"method.estimate must be one of {', '.join(ESTIMATES)}, got {estimate!r}")
        if score_batch < 1:
            raise ValueError(f"method.score_batch must be at least 1, got {score_batch}")
        self.trains = False
        self.model, self.reference, self.estimate, self.score_batch = model, reference, estimate, score_batch
        self.origin: LanguageModel | None = None
        self._stages: Any = None

    def attach(self, data: Any) -> None:
        """Build policy and reference; a trained policy's weights come by ``load_weights``."""
        self.network = build_language_model(self.model, data, seed=self.seed, trained=self.trains)
        if self.reference is None:
            self.origin = ReferenceModel(self.network).network
        else:
            self.origin = build_language_model(self.reference, data, seed=self.seed, trained=False).eval()

    def prepare(self, data: Any, stages: Any, progress: Progress | None = None) -> None:
        """Note where scores are kept: estimates of one policy share them."""
        self._stages = stages

    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[PairReading]:
        """One reading for every pair of a split, in its order. ``ValueError`` for one that is too long for a model."""
        pairs: Sequence[PreferencePair] = data.items(split, limit)
        if self.estimate == "random":
            chance = random.Random(self.seed)
            values = np.array([[chance.random(), chance.random()] for _ in pairs])
        elif self.estimate == "longer":
            values = np.array([[len(pair.chosen.encode()), len(pair.rejected.encode())] for pair in pairs])
        else:
            assert self.origin is not None
            sums, lengths = self._scored(self.network, pairs, progress)
            if "ratio" in self.estimate:
                sums = sums - self._scored(self.origin, pairs, progress)[0]
            values = sums / lengths if self.estimate.startswith("mean") else sums
        return [PairReading(pair.id, float(one), float(two)) for pair, (one, two) in zip(pairs, values, strict=True)]

    def _scored(
        self, network: LanguageModel, pairs: Sequence[PreferencePair], progress: Progress | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sums (N, 2) in nats and tokens (N, 2) of chosen and rejected, the end token included, from a stage."""
        texts = [(pair.prompt, response) for pair in pairs for response in (pair.chosen, pair.rejected)]
        rows = [network.codec.prompt_ids([prompt for prompt, _ in texts]),
                network.codec.response_ids([response for _, response in texts])]  # fmt: skip
        network.check_lengths(*rows)
        key = {"weights": parameters_digest(network), "texts": digest_of(rows), **computed(network)}

        def build(folder: Path) -> None:
            sums, lengths = self._sums(network, rows, progress)
            np.savez(folder / _FILE, sums=sums, lengths=lengths)

        if self._stages is None:
            raise ValueError("where scores are kept is not known: call method.prepare(data, stages, progress) first")
        with np.load(self._stages.get("pair_scores", key, MadeBy(build, (network,))) / _FILE) as stored:
            return stored["sums"].reshape(-1, 2), stored["lengths"].reshape(-1, 2)

    @torch.no_grad()
    def _sums(
        self, network: LanguageModel, rows: Sequence[list[list[int]]], progress: Progress | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of all responses (N,), read in batches of like length."""
        if torch.cuda.is_available():
            network.to("cuda")
        prompts, responses = rows
        sums, lengths = np.zeros(len(prompts)), np.zeros(len(prompts), dtype=np.int64)
        order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]) + len(responses[row]))
        with evaluating(network):
            for start in range(0, len(order), self.score_batch):
                places = order[start : start + self.score_batch]
                batch = padded_batch(
                    [prompts[row] for row in places], [responses[row] for row in places], padding=network.codec.padding
                ).to(network.device)
                found = sequence_logps(*network.response_logps(batch))
                sums[places], lengths[places] = found.sums.double().cpu().numpy(), found.lengths.cpu().numpy()
                if progress is not None:
                    progress(start + len(places), len(order))
        broken = int((~np.isfinite(sums)).sum())
        if broken:
            raise ValueError(f"{broken} responses have no finite log-probability: check weights and precision")
        return sums, lengths
