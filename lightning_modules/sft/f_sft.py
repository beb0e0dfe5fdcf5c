"""f-SFT (arXiv 2507.00018): demonstrations weighted by how far the policy has moved from where it started.

Departures: the paper's printed losses are unknown; this is the reconstruction of ``losses.f_sft``, and how V is fixed
is a choice. The reference is a frozen copy of the policy at the start, one more forward pass a step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from data.records.texts import Completion, Demonstration
from lightning_modules.base import GridModule, Progress
from lightning_modules.losses.divergences import DIVERGENCES
from lightning_modules.losses.f_sft import f_sft_text_loss, logit_gauge_values, running_value, shared_value
from lightning_modules.losses.logps import PerSequence, token_logps
from lightning_modules.networks.language_model import LanguageModel, LanguageModelConfig, build_language_model
from lightning_modules.networks.reference_model import ReferenceModel, demonstration_rows, labels_of, logits_of
from lightning_modules.networks.token_batch import TokenBatch, padded_batch
from lightning_modules.sampling.sampler import Sampling, complete

Value = Literal["fixed", "gauge", "batch", "learned"]


class FSft(GridModule):
    """Imitates demonstrations under an f-divergence; data as for ``Sft``.

    Args:
        model: what is trained.
        seed: initial weights of what is not pre-trained, sampled responses, dropout.
        sampler: how responses are written when it is evaluated.
        divergence: a key of ``DIVERGENCES``.
        beta: weight of KL(pi || pi0) in the primal problem, above 0.
        value: V. "fixed": the constant of the divergence; "gauge": from the level of the logits; "batch": one for all
            demonstrations of a batch, averaged over steps; "learned": a linear head on the states, trained with the
            policy (per token: the difference between two states). The head reads detached states, so that it changes
            the policy through the loss alone.
        unit: "sequence" or "token", whose log-ratio the reward is made of.
        per_sequence: "mean" over the tokens of a response, or "sum".
        decay: of the average that "batch" keeps.
        samples: responses to each prompt when it is evaluated.
    """

    network: LanguageModel
    running: Tensor

    def __init__(
        self,
        *,
        model: LanguageModelConfig,
        seed: int,
        sampler: Sampling,
        divergence: str,
        beta: float = 0.1,
        value: Value = "fixed",
        unit: Literal["sequence", "token"] = "sequence",
        per_sequence: PerSequence = "mean",
        decay: float = 0.9,
        samples: int = 1,
    ) -> None:
        super().__init__(seed=seed, optimiser=model.optimiser)
        for name, given, offered in (
            ("divergence", divergence, tuple(DIVERGENCES)),
            ("value", value, ("fixed", "gauge", "batch", "learned")),
            ("unit", unit, ("sequence", "token")),
            ("per_sequence", per_sequence, ("mean", "sum")),
        ):
            if given not in offered:
                raise ValueError(f"method.{name} must be one of {', '.join(offered)}, got {given!r}")
        if not beta > 0:
            raise ValueError(f"method.beta must be above 0, got {beta}")
        if not 0 <= decay < 1:
            raise ValueError(f"method.decay must be at least 0 and below 1, got {decay}")
        if samples < 1:
            raise ValueError(f"method.samples must be at least 1, got {samples}")
        self.model, self.sampler, self.samples = model, sampler, samples
        self.divergence, self.beta, self.value, self.unit = divergence, float(beta), value, unit
        self.per_sequence, self.decay = per_sequence, float(decay)
        self.reference: ReferenceModel | None = None
        self.register_buffer("running", torch.full((1,), torch.nan))

    def attach(self, data: Any) -> None:
        """Build the model; random weights follow from the seed."""
        self.network = build_language_model(self.model, data, seed=self.seed, trained=self.trains)
        if self.value == "learned":
            width = next(part for part in self.network.modules() if isinstance(part, nn.Embedding)).embedding_dim
            head = nn.Linear(width, 1)
            for parameter in head.parameters():
                nn.init.zeros_(parameter)  # V starts as the constant of the divergence, and the loss as SFT
            self.network.add_module("value_head", head)

    def prepare(self, data: Any, stages: Any, progress: Progress | None = None) -> None:
        """Take the weights as they are now for the reference."""
        self.reference = ReferenceModel(self.network)

    def collate(self, items: list[Demonstration]) -> TokenBatch:
        """Demonstrations as rows. ``ValueError`` for one that is longer than the network reads."""
        texts = [(item.prompt, item.response) for item in items]
        return padded_batch(*demonstration_rows(self.network, texts), padding=self.network.codec.padding)

    def losses(self, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        """See ``GridModule.losses``: (B,) in nats, and the tokens read. ``ValueError`` before ``prepare``."""
        if self.reference is None:
            raise ValueError("the reference is not there yet: call method.prepare(data, stages, progress) first")
        states = self.network.response_states(batch)
        logits, ref_logits = logits_of(self.network, states), self.reference.logits(batch)
        labels, mask = labels_of(batch)
        ratios = token_logps(logits, labels) - token_logps(ref_logits, labels)
        value = self._value(ratios.detach(), states.detach(), logits, ref_logits, mask)
        losses = f_sft_text_loss(
            ratios,
            mask,
            divergence=self.divergence,
            beta=self.beta,
            unit=self.unit,
            value=value,
            per_sequence=self.per_sequence,
        )
        self._note(self.beta * self._units(ratios.detach(), mask), value, mask)
        return losses, batch.read

    def _units(self, values: Tensor, mask: Tensor) -> Tensor:
        """Of what the reward is: (B,) sums, or (B, L) with 0 outside the mask."""
        kept = values.masked_fill(~mask, 0.0)
        return kept.sum(-1) if self.unit == "sequence" else kept

    def _value(self, ratios: Tensor, states: Tensor, logits: Tensor, ref_logits: Tensor, mask: Tensor) -> Any:
        if self.value == "fixed":
            return None
        if self.value == "gauge":
            return self._units(logit_gauge_values(logits, ref_logits, mask, beta=self.beta), mask)
        if self.value == "batch":
            units = ratios.masked_fill(~mask, 0.0).sum(-1) if self.unit == "sequence" else ratios[mask]
            best = shared_value(units, divergence=self.divergence, beta=self.beta)
            previous = None if self.running.isnan().any() else self.running
            self.running = running_value(previous, best, decay=self.decay)
            return self.running
        # In units of beta, so that the head's gradient is of the policy's size and clipping does not favour either.
        with torch.autocast(states.device.type, enabled=False):
            read = self.network.get_submodule("value_head")(states.float()).squeeze(-1)
        found = self.beta * read.masked_fill(~mask, 0.0)
        start = DIVERGENCES[self.divergence].r0
        if self.unit == "sequence":
            return start + found[:, 0]
        return start + found - nn.functional.pad(found[:, 1:], (0, 1))

    @torch.no_grad()
    def _note(self, units: Tensor, value: Any, mask: Tensor) -> None:
        """Log how far demonstrations have moved, and the weight that they have now."""
        row = DIVERGENCES[self.divergence]
        weights = row.phi_prime(units + (row.r0 if value is None else value))
        if self.unit == "token":
            units, weights = units[mask], weights.expand_as(mask)[mask]
        self.step_metrics |= {
            "train/u": units.mean(),
            "train/u_spread": units.std(unbiased=False),
            "train/weight": weights.mean(),
        }

    def save_weights(self, folder: Path) -> None:
        """Write the policy, without the head of V: nothing after this training has a use for it."""
        head = self.network._modules.pop("value_head", None)
        super().save_weights(folder)
        if head is not None:
            self.network.add_module("value_head", head)

    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[Completion]:
        """``samples`` responses to every prompt of a split; what they are worth is for ``data.frame`` to say."""
        items = data.items(split, limit)
        return complete(self.network, items, self.sampler, copies=self.samples, seed=self.seed, progress=progress)
