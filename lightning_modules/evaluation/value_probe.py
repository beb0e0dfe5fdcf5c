"""Values and rewards read from a policy's logits (arXiv 2507.00018), for tests that they can fail; trains nothing.

The policy is the cell's base, the reference that sets the gauge is the first link of that base's chain. Departures: how
the paper computes values is unknown; ``losses.logit_values`` says what is read here. beta is 1: no test depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from data.records.values import PrefixPair, ValueReading
from lightning_modules.base import GridModule, Progress
from lightning_modules.losses.logit_values import end_values, state_values
from lightning_modules.losses.logps import IGNORED, response_mask, token_logps
from lightning_modules.networks.answerer.interface import pad
from lightning_modules.networks.language_model import LanguageModel, LanguageModelConfig, build_language_model
from lightning_modules.networks.reference_model import ReferenceModel
from lightning_modules.networks.token_batch import Ids
from lightning_modules.sampling.sampler import Sampling, evaluating

Estimate = Literal["value", "raw_value", "log_ratio", "mean_logp", "length"]
ESTIMATES = ("value", "raw_value", "log_ratio", "mean_logp", "length")


class ValueProbe(GridModule):
    """Compares an estimate at prefixes and of responses with what they are worth.

    The data object gives ``prefixes(split, limit)`` (``data.records.values.PrefixPair``) and a vocabulary.

    Args:
        model: of policy and reference alike.
        seed: of the sampled responses.
        sampler: how responses are written; its ``max_tokens`` also bound what follows a prefix.
        estimate: at a state and of a response. "value": V with the reference's gauge, and V(first state) plus the
            log-ratio; "raw_value": logsumexp of the logits alone, and the rewards that it induces; "log_ratio" to the
            reference, so far and in all; "mean_logp": mean log-probability per token, so far and in all; "length":
            fewer tokens are better. The last three are what a value must beat.
        samples: responses to each prompt, and from each prefix.
        score_batch: texts that are scored together.
    """

    network: LanguageModel

    def __init__(
        self,
        *,
        model: LanguageModelConfig,
        seed: int,
        sampler: Sampling,
        estimate: Estimate = "value",
        samples: int = 4,
        score_batch: int = 256,
    ) -> None:
        super().__init__(seed=seed, optimiser=model.optimiser)
        if estimate not in ESTIMATES:
            raise ValueError(f"method.estimate must be one of {', '.join(ESTIMATES)}, got {estimate!r}")
        for name, value in (("samples", samples), ("score_batch", score_batch)):
            if value < 1:
                raise ValueError(f"method.{name} must be at least 1, got {value}")
        self.trains = False
        self.model, self.sampler, self.estimate = model, sampler, estimate
        self.samples, self.score_batch = samples, score_batch
        self.origin: ReferenceModel | None = None

    def attach(self, data: Any) -> None:
        """Build the model; its weights come by ``load_origin`` and ``load_weights``."""
        self.network = build_language_model(self.model, data, seed=self.seed, trained=self.trains)

    def load_origin(self, folder: Path) -> None:
        """Take the reference's weights. Comes before ``load_weights``, which brings the policy's."""
        self.load_weights(folder)
        self.origin = ReferenceModel(self.network)

    @torch.no_grad()
    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[ValueReading]:
        """One reading for every example of a split, in its order. ``ValueError`` without a reference."""
        if self.origin is None:
            raise ValueError(
                "method=value_probe reads a trained policy: give one as base, such as base=implicit_reward/policy_sft"
            )
        if torch.cuda.is_available():
            self.network.to("cuda")
            self.origin.network.to("cuda")
        pairs: list[PrefixPair] = data.prefixes(split, limit)
        codec = self.network.codec
        prompts = codec.prompt_ids([pair.prompt for pair in pairs])
        # What closes a response has no place inside one.
        good, corrupted = (
            [row[:-1] for row in codec.response_ids([getattr(pair, name) for pair in pairs])]
            for name in ("good", "corrupted")
        )
        written = self._write(prompts, progress)
        after_good = self._write([[*one, *more] for one, more in zip(prompts, good, strict=True)], progress)
        after_bad = self._write([[*one, *more] for one, more in zip(prompts, corrupted, strict=True)], progress)
        with evaluating(self.network):
            at_good, at_bad = self._read(prompts, good), self._read(prompts, corrupted)
            own = self._read([prompt for prompt in prompts for _ in range(self.samples)], written)
        readings = []
        for at, pair in enumerate(pairs):
            mine = slice(at * self.samples, (at + 1) * self.samples)
            readings.append(
                ValueReading(
                    pair.id,
                    tuple(at_good[at].states),
                    tuple(at_bad[at].states),
                    tuple(codec.texts([[*good[at], *rest] for rest in after_good[mine]])),
                    tuple(codec.texts([[*corrupted[at], *rest] for rest in after_bad[mine]])),
                    tuple(codec.texts(written[mine])),
                    tuple(row.reward for row in own[mine]),
                    tuple(row.end for row in own[mine] if row.end is not None),
                    tuple(row.way for row in own[mine] if row.end is not None),
                )
            )
        return readings

    def _write(self, prompts: Sequence[Ids], progress: Progress | None) -> list[list[int]]:
        """``samples`` responses to every row of ids."""
        generator = torch.Generator().manual_seed(self.seed)
        rollouts = self.sampler.sample(
            self.network, prompts, copies=self.samples, generator=generator, progress=progress
        )
        return rollouts.rows()

    def _read(self, prompts: Sequence[Ids], responses: Sequence[Ids]) -> list[_Row]:
        rows: list[_Row] = []
        for start in range(0, len(prompts), self.score_batch):
            stop = start + self.score_batch
            rows += self._read_batch(prompts[start:stop], responses[start:stop])
        return rows

    def _read_batch(self, prompts: Sequence[Ids], responses: Sequence[Ids]) -> list[_Row]:
        assert self.origin is not None
        ids = pad([[*one, *other] for one, other in zip(prompts, responses, strict=True)], value=0)
        labels = torch.full_like(ids, IGNORED)
        for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            labels[row, len(prompt) : len(prompt) + len(response)] = torch.tensor(response, dtype=torch.long)
        ids, labels = ids.to(self.network.device), labels.to(self.network.device)
        logits, origin = (net.network.lm_head(net.network.hidden(ids)) for net in (self.network, self.origin.network))
        logps, origin_logps = token_logps(logits, labels), token_logps(origin, labels)
        values = state_values(logits, None if self.estimate == "raw_value" else origin)
        ends = end_values(values, response_mask(labels))
        found = []
        for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            scored = slice(len(prompt) - 1, len(prompt) + len(response) - 1)
            states = values[row, len(prompt) - 1 : len(prompt) + len(response)]
            found.append(self._row(states, ends[row], logps[row, scored], origin_logps[row, scored]))
        return found

    def _row(self, values: Tensor, end: Tensor, logps: Tensor, origin_logps: Tensor) -> _Row:
        """Of one text: values (n + 1,) of its states, and log-probabilities (n,) under policy and reference."""
        count = torch.arange(1, len(logps) + 1, device=logps.device)
        if self.estimate in ("value", "raw_value"):
            # Sum of Q(s, a) - V(s') over the response, with V = 0 after its end: what `induced_rewards` adds up to.
            total = logps.sum() if self.estimate == "raw_value" else (logps - origin_logps).sum()
            return _Row(values.tolist(), float(values[0] + total), float(end), float(values[:-1].mean()))
        if self.estimate == "log_ratio":
            along = (logps - origin_logps).cumsum(0)
        elif self.estimate == "mean_logp":
            along = logps.cumsum(0) / count
        else:
            along = -count.float()
        return _Row([0.0, *along.tolist()], float(along[-1]), None, float("nan"))


class _Row:
    """Estimates along one text: at its states, of the whole, after its end (None: there is none), mean on the way."""

    __slots__ = ("end", "reward", "states", "way")

    def __init__(self, states: list[float], reward: float, end: float | None, way: float) -> None:
        self.states, self.reward, self.end, self.way = states, reward, end, way
