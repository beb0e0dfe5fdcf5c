"""Training on demonstrations and on rewards of own rollouts at once; how they are mixed is a ``mixers.Mixer``.

Every method that mixes runs through this one loop, on the same problems in the same order, with the same sampler,
verifier and optimiser: only its mixer differs. Both losses' gradients are taken apart and added with the mixer's
weights, so that mu may depend on them and a third backward pass is not needed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.records.episodes import Answers
from data.records.texts import Demonstration
from lightning_modules.base import GridModule, NonFiniteLossError, Optimiser, Progress
from lightning_modules.generation import Rollouts, Sampler, Sampling, complete
from lightning_modules.losses.amft import gradient_cosine
from lightning_modules.losses.logps import sequence_logps
from lightning_modules.losses.policy_gradient import equal_reward_groups, group_advantages
from lightning_modules.mixers import AdamView, Demonstrated, Material, Mixer, Rolled, Signals, Weights
from lightning_modules.networks.language_model import LanguageModel, LanguageModelConfig, build_language_model
from lightning_modules.networks.token_batch import padded_batch

LEDGER_FILE = "mixing.json"
"""Beside the weights of a finished training: what it cost, and the mu of every step."""

START_FILE = "start"
"""Folder inside it with the weights that it began with, for controls that begin there as well."""

_ROLLOUTS, _VALIDATION = 1, 2
"""What random numbers are for."""


class Ledger(NamedTuple):
    """Tokens: sampled for training; sampled for validation; read to sample; passed with gradients. Token passes cost 1
    without gradients and 3 with."""

    rollout: int = 0
    validation: int = 0
    read: int = 0
    trained: int = 0

    @property
    def compute(self) -> int:
        """Token passes."""
        return self.rollout + self.validation + self.read + 3 * self.trained


class Mixing(GridModule):
    """See the module. The data object is ``data.verified.VerifiedProblems``, or gives the same.

    Args:
        model: what is trained.
        seed: rollouts, and initial weights of what is not pre-trained.
        mixer: how imitation and reward are mixed.
        optimiser: of this training, whatever the model's own.
        rollouts: own answers to each problem of a step (G).
        rollout_tokens: most tokens of one.
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
        rollouts: int = 8,
        rollout_tokens: int = 24,
        samples: int = 8,
        tune: bool = True,
        keep_start: bool = False,
    ) -> None:
        super().__init__(seed=seed, optimiser=optimiser)
        if rollouts < 2:
            raise ValueError(f"method.rollouts must be at least 2, to compare answers to one problem, got {rollouts}")
        if samples < 1 or rollout_tokens < 1:
            raise ValueError(f"method.samples and rollout_tokens must be at least 1, got {samples}, {rollout_tokens}")
        self.model = model
        self.mixer = mixer
        mixer.seed = int(seed)
        self.rollouts = rollouts
        self.rollout_sampler = Sampler(max_tokens=rollout_tokens, temperature=1.0)
        self.sampler = sampler
        self.samples = samples
        self.trains = bool(tune)
        self.keep_start = keep_start
        self.ledger = Ledger()
        self.mus: list[float] = []
        self._start: dict[str, Tensor] = {}
        self._made: tuple[Signals, Weights] | None = None
        self._clip: float | None = None

    def attach(self, data: Any) -> None:
        """Build the model; random weights follow from the seed."""
        self.network = build_language_model(self.model, data, seed=self.seed)
        self._data = data

    def collate(self, items: list[Demonstration]) -> list[Demonstration]:
        """The step's problems as they are: what is made of them is for the mixer to say."""
        return items

    def training_step(self, batch: list[Demonstration], batch_idx: int) -> Tensor:
        """A scalar whose gradient is the mixed one. Raises NonFiniteLossError."""
        if self.trainer.world_size > 1:
            raise ValueError("mixed training runs on one device: set trainer.devices=1")
        self.step_metrics.clear()  # what this step has not is not logged from an earlier one
        material = self._material(batch)
        sft_grads, sft_loss = self._gradient(self.mixer.sft_loss, material, material.demonstrated is not None)
        rl_grads, rl_loss = self._gradient(self.mixer.rl_loss, material, material.rolled is not None)
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
            utility_gradient=self._utility_gradient,
            adam=self._adam(),
        )
        weights = self.mixer.weights(signals)
        self._made = (signals, weights)
        self._note(signals, weights, sft_loss, rl_loss)
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
        self._made = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Also the mixer's state, the ledger, mu so far and, where asked for, the start."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["mixing"] = {
            "mixer": self.mixer.state(), "ledger": tuple(self.ledger), "mus": list(self.mus), "start": self._start,
        }  # fmt: skip

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See ``on_save_checkpoint``."""
        stored = checkpoint["mixing"]
        self.mixer.restore(stored["mixer"])
        self.ledger, self.mus, self._start = Ledger(*stored["ledger"]), list(stored["mus"]), stored["start"]

    def save_weights(self, folder: Path) -> None:
        """Also what the training cost, and mu; and the start, where asked for."""
        super().save_weights(folder)
        (folder / LEDGER_FILE).write_text(json.dumps({"ledger": self.ledger._asdict(), "mus": self.mus}))
        if self.keep_start:
            (folder / START_FILE).mkdir(exist_ok=True)
            own = {name: value.detach().clone() for name, value in self.network.named_parameters()}
            self._copy(self._start)
            super().save_weights(folder / START_FILE)
            self._copy(own)

    def load_weights(self, folder: Path) -> None:
        """Weights and cost of a training. From one that kept its start, a control takes mu and that start instead."""
        path = Path(folder) / LEDGER_FILE
        stored = json.loads(path.read_text()) if path.is_file() else {"ledger": {}, "mus": []}
        if self.mixer.replays and (Path(folder) / START_FILE).is_dir():
            self.mixer.replay(stored["mus"])
            super().load_weights(Path(folder) / START_FILE)
            return
        super().load_weights(folder)
        self.ledger, self.mus = Ledger(**stored["ledger"]), list(stored["mus"])

    def on_train_start(self) -> None:
        """A training's cost is its own: what its base cost is not counted."""
        if self.global_step == 0:
            self.ledger, self.mus = Ledger(), []
            if self.keep_start:
                self._start = {name: value.detach().clone() for name, value in self.network.named_parameters()}

    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[Answers]:
        """``samples`` sampled answers and a greedy one to every problem of a split, with what training cost."""
        items = data.items(split, limit)
        drawn = complete(self.network, items, self.sampler, copies=self.samples, seed=self.seed, progress=progress)
        greedy = Sampler(max_tokens=getattr(self.sampler, "max_tokens", 24), temperature=0.0)
        certain = complete(self.network, items, greedy, copies=1, seed=self.seed)
        found = []
        for index, item in enumerate(items):
            own = drawn[index * self.samples : (index + 1) * self.samples]
            tokens = sum(one.tokens for one in own) / len(own)
            found.append(
                Answers(
                    item.id, tuple(one.response for one in own), certain[index].response, tokens,
                    self.ledger.rollout + self.ledger.validation, self.ledger.validation, self.ledger.compute,
                )
            )  # fmt: skip
        return found

    def _material(self, items: Sequence[Demonstration]) -> Material:
        step, total = self.global_step, self.total_steps
        assert total is not None
        wants = self.mixer.wants(step, total)
        shown = None
        if wants.demonstrations:
            codec = self.network.codec
            chosen = self.mixer.shown(items)
            prompts = codec.prompt_ids([item.prompt for item in chosen])
            shown = Demonstrated(*self._logps(prompts, codec.response_ids([item.response for item in chosen])))
        rolled = self._rolled(items, self.rollouts, _ROLLOUTS) if wants.rollouts else None
        return Material(shown, rolled, step, total)

    def _rolled(self, items: Sequence[Demonstration], copies: int, purpose: int) -> Rolled:
        """Fresh answers to problems, graded, with the log-probabilities that have a gradient."""
        prompts = self.network.codec.prompt_ids([item.prompt for item in items])
        words = np.random.SeedSequence([self.seed, self.global_step, purpose]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(words[0]) >> 1)
        found = self.rollout_sampler.sample(self.network, prompts, copies=copies, generator=generator)
        rewards = self._rewards(items, found, copies)
        repeated = [prompt for prompt in prompts for _ in range(copies)]
        logps, mask = self._logps(repeated, found.rows())
        written = int(found.lengths.sum())
        validation = purpose == _VALIDATION
        self.ledger = self.ledger._replace(
            rollout=self.ledger.rollout + (0 if validation else written),
            validation=self.ledger.validation + (written if validation else 0),
            read=self.ledger.read + sum(map(len, prompts)),
        )
        old = found.logps.to(logps.device)
        entropy = -float(old.double().sum()) / written
        self.step_metrics["validation/reward" if validation else "train/reward"] = rewards.mean()
        if not validation:
            self.step_metrics |= {
                "train/entropy": entropy,
                "train/response_tokens": found.lengths.float().mean(),
                "train/equal_groups": equal_reward_groups(rewards).float().mean(),
            }
        return Rolled(logps, old, mask, rewards, entropy)

    def _rewards(self, items: Sequence[Demonstration], found: Rollouts, copies: int) -> Tensor:
        """(P, G), 0 or 1."""
        texts = self.network.codec.texts(found.rows())
        solved = [float(self._data.solved(items[row // copies].id, text)) for row, text in enumerate(texts)]
        return torch.tensor(solved, device=self.network.device).view(len(items), copies)

    def _logps(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        self.network.check_lengths(prompts, responses)
        batch = padded_batch(prompts, responses, padding=self.network.codec.padding).to(self.network.device)
        read = int(batch.read)
        self.ledger = self.ledger._replace(trained=self.ledger.trained + read)
        self.tokens_seen += read
        return self.network.response_logps(batch)

    def _gradient(self, loss: Any, material: Material, wanted: bool) -> tuple[list[Tensor] | None, float | None]:
        """Gradient and value of one of the mixer's losses."""
        if not wanted:
            return None, None
        value = loss(material)
        if not torch.isfinite(value):
            raise NonFiniteLossError(
                f"a loss is {value.item()} at step {self.global_step}: lower the learning rate or clip gradients"
            )
        return self._derived(value), value.item()

    def _derived(self, value: Tensor) -> list[Tensor]:
        # Material is shared between the losses of some mixers, so its graph is kept.
        grads = torch.autograd.grad(value, self._tuned(), retain_graph=True, allow_unused=True)
        pairs = zip(grads, self._tuned(), strict=True)
        return [torch.zeros_like(parameter) if grad is None else grad for grad, parameter in pairs]

    def _utility_gradient(self, prompts: int, copies: int) -> list[Tensor]:
        """Gradient of the mean reward on held-out problems: score function, leave-one-out baseline, fresh rollouts."""
        step = self.global_step
        rolled = self._rolled(self._data.held_out(step, prompts), copies, _VALIDATION)
        advantages = group_advantages(rolled.rewards, normalise_std=False, baseline="leave_one_out").flatten()
        utility = (advantages * sequence_logps(rolled.logps, rolled.mask).sums).mean()
        return self._derived(utility)

    def _tuned(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.network.parameters() if parameter.requires_grad]

    def _adam(self) -> AdamView | None:
        """How the optimiser stands; ``None`` before its first step. A parameter keeps its place whatever its group."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        groups = optimizer.param_groups  # type: ignore[union-attr]
        found = [optimizer.state.get(parameter) for parameter in self._tuned()]  # type: ignore[union-attr]
        states = [state for state in found if state]
        if len(states) < len(found):
            return None
        return AdamView(
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            int(states[0]["step"]),
            groups[0]["lr"],
            groups[0]["betas"],
            groups[0]["eps"],
        )

    @torch.no_grad()
    def _copy(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.network.named_parameters():
            if name in values:
                parameter.copy_(values[name])

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
