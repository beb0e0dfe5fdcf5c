"""Training on demonstrations and on rewards of own rollouts at once; how they are mixed is a ``controller.Mixer``.

Every method that mixes runs through this one loop, on the same problems in the same order, with the same sampler,
verifier and optimiser: only its mixer differs. Both losses' gradients are taken apart and added with the mixer's
weights, so that mu may depend on them and a third backward pass is not needed.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from data.records.episodes import Answers
from data.records.texts import Demonstration
from lightning_modules.base import GridModule, NonFiniteLossError, Optimiser, Progress
from lightning_modules.losses.amft import gradient_cosine
from lightning_modules.networks.language_model import LanguageModel, LanguageModelConfig, build_language_model
from lightning_modules.rl.rollouts import answers, gradients
from lightning_modules.rl.terms import RlTerm, kl_term
from lightning_modules.sampling.sampler import Sampler, Sampling
from lightning_modules.sft_rl.compute_ledger import Ledger, Probed, checked_probe, reached
from lightning_modules.sft_rl.controller import AdamView, Material, Mixer, Signals, Weights, adam_view
from lightning_modules.sft_rl.experience import PROBE, Experience, copy_weights

LEDGER_FILE = "mixing.json"
"""Beside the weights of a finished training: what it cost, and the mu of every step."""

START_FILE = "start"
"""Folder inside it with the weights that it began with, for controls that begin there as well."""


class Mixing(GridModule):
    """See the module. The data object is ``data.reasoning.verified_problems.VerifiedProblems``, or gives the same.

    Args:
        model: what is trained.
        seed: rollouts, and initial weights of what is not pre-trained.
        mixer: how imitation and reward are mixed.
        rl: makes the reward loss; ``None``: GRPO.
        optimiser: of this training, whatever the model's own.
        rollouts: own answers to each problem of a step (G).
        rollout_tokens: most tokens of one, or of each turn.
        rollout_sampler: writes them, at temperature 1; ``None``: our own, whose log-probabilities are training's.
        skip_equal_groups: leave rollouts out of the pass with gradients where all answers to a problem earned the same:
            their advantage is 0, and the gradient stays what it is. Ignored where something else is learnt from them: a
            critic, a KL, demonstrations in the group. The ledger counts what was passed.
        micro_batch: rows whose gradients are taken at a time, for what does not fit into memory; ``None``: all.
        kl: weight of an estimate of KL(policy || start) in the reward loss; 0 leaves it out.
        kl_estimator: "k2", whose gradient is that of the KL, or "k3", GRPO's.
        probe: see ``Probe``; a mapping with its fields.
        sampler: how answers are sampled when it is evaluated; greedy answers are written as well.
        samples: sampled answers to each problem when it is evaluated.
        tune: train it; ``False`` evaluates the weights that it comes with.
        keep_start: also store the weights that it began with, for controls.
    """

    network: LanguageModel

    def __init__(
        self,
        *,
        model: LanguageModelConfig,
        seed: int,
        mixer: Mixer,
        optimiser: Optimiser,
        sampler: Sampling,
        rl: RlTerm | None = None,
        rollouts: int = 8,
        rollout_tokens: int = 24,
        rollout_sampler: Sampling | None = None,
        skip_equal_groups: bool = True,
        micro_batch: int | None = None,
        kl: float = 0.0,
        kl_estimator: Literal["k2", "k3"] = "k2",
        probe: Mapping[str, Any] | None = None,
        samples: int = 8,
        tune: bool = True,
        keep_start: bool = False,
    ) -> None:
        super().__init__(seed=seed, optimiser=optimiser)
        if rollouts < 2:
            raise ValueError(f"method.rollouts must be at least 2, to compare answers to one problem, got {rollouts}")
        for name, value in (("samples", samples), ("rollout_tokens", rollout_tokens), ("micro_batch", micro_batch)):
            if value is not None and value < 1:
                raise ValueError(f"method.{name} must be at least 1, got {value}")
        if mixer.curvature and micro_batch is not None:
            raise ValueError("a mixer that asks for curvature needs whole graphs: set method.micro_batch=null")
        self.skip_equal_groups = bool(skip_equal_groups)
        self.micro_batch = micro_batch
        self.probe = checked_probe(probe)
        if kl < 0 or kl_estimator not in ("k2", "k3"):
            raise ValueError(f"method.kl must be at least 0 and kl_estimator k2 or k3, got {kl}, {kl_estimator!r}")
        self.model, self.mixer = model, mixer
        self.rl = mixer.begin(rl, int(seed))
        self.rollouts = rollouts
        self.rollout_sampler = rollout_sampler or Sampler(max_tokens=rollout_tokens, temperature=1.0)
        if any(getattr(self.rollout_sampler, name, 1.0) != 1.0 for name in ("temperature", "top_p")):
            raise ValueError("method.rollout_sampler must sample at temperature 1 and top_p 1, as the losses assume")
        self.kl, self.kl_estimator = float(kl), kl_estimator
        self.sampler, self.samples = sampler, samples
        self.trains, self.keep_start = bool(tune), keep_start
        self.mus: list[float] = []
        self.probes: list[Probed] = []
        self._start: dict[str, Tensor] = {}
        self._made: tuple[Signals, Weights] | None = None
        self._clip: float | None = None
        self._step_read = 0

    def attach(self, data: Any) -> None:
        """Build the model; random weights follow from the seed."""
        self.network = build_language_model(self.model, data, seed=self.seed, trained=self.trains)
        self._data = data
        self.experience = Experience(
            self.network,
            data,
            sampler=self.rollout_sampler,
            seed=self.seed,
            with_states=self.rl.wants_states,
            skip_equal_groups=self.skip_equal_groups,
            all_learn=not self.rl.of_groups or self.rl.wants_states or self.kl > 0 or self.mixer.joins_groups,
            micro_batch=self.micro_batch,
        )

    @property
    def ledger(self) -> Ledger:
        """What the training has cost so far."""
        return self.experience.ledger

    def collate(self, items: list[Demonstration]) -> list[Demonstration]:
        """The step's problems as they are: what is made of them is for the mixer to say."""
        return items

    def training_step(self, batch: list[Demonstration], batch_idx: int) -> Tensor:
        """A scalar whose gradient is the mixed one. Raises NonFiniteLossError."""
        if self.trainer.world_size > 1:
            raise ValueError("mixed training runs on one device: set trainer.devices=1")
        experience, passed = self.experience, self.experience.passed
        experience.begin(self.global_step)
        self.step_metrics.clear()
        self._probe()
        # The fused kernels of attention have no second derivative.
        with sdpa_kernel(SDPBackend.MATH) if self.mixer.curvature else contextlib.nullcontext():
            material = self._material(batch)
            self._step_read = experience.passed - passed
        sft_loss = self.mixer.sft_loss(material) if material.demonstrated is not None else None
        rl_loss = self._rl_loss(material) if material.rolled is not None else None
        sft_grads, rl_grads = self._gradient(sft_loss), self._gradient(rl_loss)
        rolled = material.rolled
        signals = Signals(
            step=material.step,
            total=material.total,
            seed=self.seed,
            items=batch,
            entropy=rolled.entropy if rolled else None,
            rewards=rolled.rewards if rolled else None,
            sft_grads=sft_grads,
            rl_grads=rl_grads,
            utility_gradient=lambda prompts, copies: experience.utility_gradient(prompts, copies, self._tuned()),
            hessian_product=lambda sft, rl, vector: self._hessian_product([(sft, sft_loss), (rl, rl_loss)], vector),
            adam=self._adam(),
        )
        weights = self.mixer.weights(signals)
        self._made = (signals, weights)
        self.tokens_seen += experience.passed - passed
        self.step_metrics |= experience.metrics
        self._note(signals, weights, *(None if loss is None else loss.item() for loss in (sft_loss, rl_loss)))
        parts = [(weights.sft, sft_grads), (weights.rl, rl_grads)]
        mixed = [torch.zeros_like(parameter) for parameter in self._tuned()]
        for weight, grads in parts:
            if grads is not None and weight:
                mixed = [total + weight * grad for total, grad in zip(mixed, grads, strict=True)]
        products = [(parameter * grad).sum() for parameter, grad in zip(self._tuned(), mixed, strict=True)]
        return torch.stack(products).sum()  # its gradient by the parameters is exactly ``mixed``

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip, and remember the limit for d(weights)/d(mu)."""
        super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        self._clip = gradient_clip_val

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        """Step, then tell the mixer how the optimiser stands, before any checkpoint of the step."""
        super().optimizer_step(*args, **options)
        adam = self._adam()
        if self._made is not None and adam is not None:
            norm = float(self.step_metrics["train/gradient_norm"])
            clip_factor = 1.0 if self._clip is None else min(1.0, self._clip / (norm + 1e-6))
            self.mixer.after_step(*self._made, clip_factor, adam)
            self.step_metrics |= self.rl.after_step()
        self._made = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Also the mixer's state, the ledger, mu so far and, where asked for, the start."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["mixing"] = {
            "mixer": self.mixer.state(), "ledger": tuple(self.ledger), "mus": list(self.mus), "start": self._start,
            "rl": self.rl.state(), "probes": [tuple(one) for one in self.probes],
        }  # fmt: skip

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See ``on_save_checkpoint``."""
        stored = checkpoint["mixing"]
        self.mixer.restore(stored["mixer"])
        self.experience.ledger = Ledger(*stored["ledger"])
        self.mus, self._start = list(stored["mus"]), stored["start"]
        self.rl.restore(stored["rl"])
        self.probes = [Probed(*one) for one in stored["probes"]]

    def save_weights(self, folder: Path) -> None:
        """Also what the training cost, and mu; and the start, where asked for."""
        super().save_weights(folder)
        told = {"ledger": self.ledger._asdict(), "mus": self.mus, "probes": self.probes}
        (folder / LEDGER_FILE).write_text(json.dumps(told))
        if self.keep_start:
            (folder / START_FILE).mkdir(exist_ok=True)
            own = self._weights()
            copy_weights(self._start, self.network)
            super().save_weights(folder / START_FILE)
            copy_weights(own, self.network)

    def load_weights(self, folder: Path) -> None:
        """Weights and cost of a training. From one that kept its start, a control takes mu and that start instead."""
        path = Path(folder) / LEDGER_FILE
        stored = json.loads(path.read_text()) if path.is_file() else {"ledger": {}, "mus": []}
        if self.mixer.replays and (Path(folder) / START_FILE).is_dir():
            self.mixer.replay(stored["mus"])
            super().load_weights(Path(folder) / START_FILE)
            return
        super().load_weights(folder)
        if self.trains:  # what is only evaluated has not been trained by this cell
            self.experience.ledger, self.mus = Ledger(**stored["ledger"]), list(stored["mus"])
            self.probes = [Probed(*one) for one in stored.get("probes", [])]

    def on_train_start(self) -> None:
        """A training's cost is its own: what its base cost is not counted."""
        if self.global_step == 0:
            self.experience.ledger, self.mus, self.probes = Ledger(), [], []
            if self.keep_start or self.kl:
                self._start = self._weights()

    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[Answers]:
        """``samples`` sampled answers and a greedy one to every problem of a split, with what training cost."""
        items = data.items(split, limit)
        network, seed = self.network, self.seed
        drawn = answers(network, data, items, self.sampler, copies=self.samples, seed=seed, progress=progress)
        greedy = Sampler(max_tokens=getattr(self.sampler, "max_tokens", 24), temperature=0.0)
        certain = answers(network, data, items, greedy, copies=1, seed=seed)
        sampled = self.ledger.rollout + self.ledger.validation
        cost = (sampled, self.ledger.validation, self.ledger.compute)
        mu = sum(self.mus) / len(self.mus) if self.mus else math.nan
        found = []
        for index, item in enumerate(items):
            own = drawn[index * self.samples : (index + 1) * self.samples]
            tokens = sum(written for _, written in own) / len(own)
            texts = tuple(text for text, _ in own)
            found.append(
                Answers(
                    item.id,
                    texts,
                    certain[index][0],
                    tokens,
                    *cost,
                    mu,
                    *reached(self.probes, self.probe.target, self.ledger),
                )
            )
        return found

    def _probe(self) -> None:
        """Success on validation problems every so often; costs nothing in the ledger, and changes nothing."""
        step = self.global_step
        if self.probe.every is None or step % self.probe.every or (self.probes and self.probes[-1][0] >= step):
            return
        items = self._data.held_out(0, self.probe.problems)
        found = self.experience.sampled(items, self.probe.copies, PROBE)
        success = sum(found.solved) / len(found.solved)
        sampled = self.ledger.rollout + self.ledger.validation
        self.probes.append(Probed(step, success, self.ledger.compute, sampled))
        self.step_metrics["validation/success"] = success

    def _material(self, items: Sequence[Demonstration]) -> Material:
        step, total = self.global_step, self.total_steps
        assert total is not None
        wants = self.mixer.wants(step, total)
        shown = self.experience.shown(self.mixer.shown(items)) if wants.demonstrations else None
        if not wants.rollouts:
            return Material(shown, None, step, total)
        rolled, batch = self.experience.rolled(items, self.rollouts)
        if self.kl:
            self._ref_logps = self.experience.under(self._start, batch)
        return Material(shown, rolled, step, total)

    def _rl_loss(self, material: Material) -> Tensor:
        """The mixer's reward loss, and the distance to the start."""
        loss = self.mixer.rl_loss(material)
        if not self.kl or material.rolled is None:
            return loss
        rolled = material.rolled
        distance = kl_term(rolled.logps, self._ref_logps, rolled.mask, estimator=self.kl_estimator)
        self.step_metrics["train/kl"] = distance.detach()
        return loss + self.kl * distance

    def _gradient(self, loss: Tensor | None) -> list[Tensor] | None:
        if loss is None:
            return None
        if not torch.isfinite(loss):
            raise NonFiniteLossError(
                f"a loss is {loss.item()} at step {self.global_step}: lower the learning rate or clip gradients"
            )
        return gradients(self.network, loss, self._tuned(), self.experience.pieces)

    def _hessian_product(
        self, weighted: Sequence[tuple[float, Tensor | None]], vector: Sequence[Tensor]
    ) -> list[Tensor]:
        """Of the weighted losses of this step at the present weights; differentiates their gradient once more."""
        tuned = self._tuned()
        losses = [weight * loss for weight, loss in weighted if loss is not None]
        first = torch.autograd.grad(torch.stack(losses).sum(), tuned, create_graph=True, materialize_grads=True)
        slope = torch.stack([(grad * part).sum() for grad, part in zip(first, vector, strict=True)]).sum()
        found = torch.autograd.grad(slope, tuned, retain_graph=True, materialize_grads=True)
        ledger = self.experience.ledger
        self.experience.ledger = ledger._replace(trained=ledger.trained + self._step_read)  # as much as once more
        return list(found)

    def _tuned(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.network.parameters() if parameter.requires_grad]

    def _adam(self) -> AdamView | None:
        """How the optimiser stands; ``None`` before its first step."""
        return adam_view(self.optimizers(use_pl_optimizer=False), self._tuned())

    def _weights(self) -> dict[str, Tensor]:
        """Copies of what is trained."""
        named = self.network.named_parameters()
        return {name: value.detach().clone() for name, value in named if value.requires_grad}

    def _note(self, signals: Signals, weights: Weights, sft_loss: float | None, rl_loss: float | None) -> None:
        total = weights.sft + weights.rl
        # A mu is kept to its last bit, so that a replay is exact; weights that add up to something else are shares.
        self.mus.append(weights.sft if abs(total - 1.0) < 1e-9 else weights.sft / total)
        metrics: dict[str, Tensor | float] = {"train/mu": self.mus[-1], "train/tokens": self.tokens_seen.clone()}
        for name, loss, grads in (("sft", sft_loss, signals.sft_grads), ("rl", rl_loss, signals.rl_grads)):
            if grads is not None and loss is not None:
                metrics[f"train/{name}_loss"] = loss
                metrics[f"train/{name}_gradient_norm"] = torch.stack([grad.norm() for grad in grads]).norm()
        if signals.sft_grads is not None and signals.rl_grads is not None:
            metrics["train/gradient_cosine"] = gradient_cosine(signals.sft_grads, signals.rl_grads)
        losses = [(weights.sft, sft_loss), (weights.rl, rl_loss)]
        metrics |= {
            "train/loss": sum(weight * loss for weight, loss in losses if loss is not None),
            "train/learning_rate": self.optimizers(use_pl_optimizer=False).param_groups[0]["lr"],  # type: ignore[union-attr]
            "cost/rollout_tokens": self.ledger.rollout,
            "cost/validation_tokens": self.ledger.validation,
            "cost/compute": self.ledger.compute,
        }
        self.step_metrics |= metrics | dict(weights.metrics)
