"""What a step of mixed training learns from: demonstrations and own answers, scored, and what they cost."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.records.texts import Demonstration
from lightning_modules.losses.logps import IGNORED, sequence_logps
from lightning_modules.losses.policy_gradient import equal_reward_groups, group_advantages
from lightning_modules.networks.language_model import LanguageModel
from lightning_modules.networks.token_batch import TokenBatch
from lightning_modules.rl.rollouts import Sampled, Scored, demonstrated, gradients, sample, score, take_rows
from lightning_modules.rl.terms import Rolled
from lightning_modules.sampling.sampler import Sampling
from lightning_modules.sft_rl.compute_ledger import Ledger
from lightning_modules.sft_rl.controller import Demonstrated

ROLLOUTS, VALIDATION, PROBE = 1, 2, 4
"""What random numbers are for."""


class Experience:
    """Makes what a step asks for, at the weights as they are, and counts it.

    Args:
        network: the policy.
        data: problems that grade answers; see ``sft_rl.module.Mixing``.
        sampler: writes the answers.
        seed: of the training; a step's answers follow from it, the step and what they are for.
        with_states: also give the states that predict the tokens, for a critic.
        skip_equal_groups: leave groups with equal rewards out of passes with gradients: those of validation always,
            the others where ``all_learn`` is false.
        all_learn: whether something is learnt from groups with equal rewards too.
        micro_batch: see ``rollouts.score``.

    Attributes:
        ledger: what all steps so far have cost.
        passed: tokens passed with gradients since this object was made.
        metrics: of the present step, to be logged.
        pieces: what of the present step was scored in pieces; see ``rollouts.gradients``.
    """

    def __init__(
        self,
        network: LanguageModel,
        data: Any,
        *,
        sampler: Sampling,
        seed: int,
        with_states: bool,
        skip_equal_groups: bool,
        all_learn: bool,
        micro_batch: int | None,
    ) -> None:
        self.network, self.data = network, data
        self.sampler, self.seed, self.with_states = sampler, seed, with_states
        self.skip_equal_groups, self.all_learn, self.micro_batch = skip_equal_groups, all_learn, micro_batch
        self.ledger = Ledger()
        self.passed = 0
        self.metrics: dict[str, Tensor | float] = {}
        self.pieces: list[Scored] = []
        self._step = 0
        self._reference: LanguageModel | None = None

    def begin(self, step: int) -> None:
        """A new step: what the last one left behind is dropped."""
        self._step = step
        self.metrics.clear()  # what this step has not is not logged from an earlier one
        self.pieces.clear()

    def shown(self, items: Sequence[Demonstration]) -> Demonstrated:
        """Demonstrations with log-probabilities that have a gradient."""
        scored = self._scored(demonstrated(self.network, self.data, items))
        return Demonstrated(scored.logps, scored.mask)

    def sampled(self, items: Sequence[Demonstration], copies: int, purpose: int) -> Sampled:
        """Fresh answers to problems, graded; in no ledger."""
        words = np.random.SeedSequence([self.seed, self._step, purpose]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(words[0]) >> 1)
        return sample(self.network, self.data, items, self.sampler, copies=copies, generator=generator)

    def rolled(self, items: Sequence[Demonstration], copies: int) -> tuple[Rolled, TokenBatch]:
        """Fresh answers to the step's problems, with log-probabilities that have a gradient; and their tokens."""
        found = self.sampled(items, copies, ROLLOUTS)
        written = sum(found.lengths)
        self.ledger = self.ledger._replace(rollout=self.ledger.rollout + written)
        rolled = self._graded(found, copies, validation=False)
        self.metrics |= {
            "train/reward": rolled.rewards.mean(),
            "train/entropy": rolled.entropy,
            "train/response_tokens": written / len(found.lengths),
            "train/equal_groups": equal_reward_groups(rolled.rewards).float().mean(),
        }
        return rolled, found.batch

    def utility_gradient(self, prompts: int, copies: int, weights: Sequence[Tensor]) -> list[Tensor]:
        """Gradient of the mean reward on held-out problems: score function, leave-one-out baseline, fresh answers."""
        found = self.sampled(self.data.held_out(self._step, prompts), copies, VALIDATION)
        self.ledger = self.ledger._replace(validation=self.ledger.validation + sum(found.lengths))
        rolled = self._graded(found, copies, validation=True)
        self.metrics["validation/reward"] = rolled.rewards.mean()
        return gradients(self.network, utility(rolled), weights, self.pieces)

    @torch.no_grad()
    def under(self, weights: Mapping[str, Tensor], batch: TokenBatch) -> Tensor:
        """Log-probabilities of a batch under weights that are the same at every call; read once, no gradient."""
        if self._reference is None:
            self._reference = copy.deepcopy(self.network).requires_grad_(False)
            copy_weights(weights, self._reference)
        moved = batch.to(self.network.device)
        self.ledger = self.ledger._replace(read=self.ledger.read + int(moved.read))
        return score(self._reference, moved, micro_batch=self.micro_batch).logps.detach()

    def _graded(self, found: Sampled, copies: int, *, validation: bool) -> Rolled:
        rewards = torch.tensor(found.solved, device=self.network.device).view(-1, copies)
        if self.skip_equal_groups and (validation or not self.all_learn):
            scored = self._scored_unequal(found, rewards)
        else:
            scored = self._scored(found.batch, with_states=self.with_states and not validation)
        self.ledger = self.ledger._replace(read=self.ledger.read + found.read)
        old = found.logps.to(scored.logps.device)
        entropy = -float(old.double().sum()) / sum(found.lengths)
        return Rolled(scored.logps, old, scored.mask, rewards, entropy, scored.states)

    def _scored(self, batch: TokenBatch, *, with_states: bool = False) -> Scored:
        read = int(batch.read)
        self.ledger = self.ledger._replace(trained=self.ledger.trained + read)
        self.passed += read
        moved = batch.to(self.network.device)
        found = score(self.network, moved, with_states=with_states, micro_batch=self.micro_batch)
        if found.pieces:
            self.pieces.append(found)
            self.ledger = self.ledger._replace(read=self.ledger.read + read)  # it is read once more
        return found

    def _scored_unequal(self, found: Sampled, rewards: Tensor) -> Scored:
        """As ``_scored``; groups with equal rewards keep the sampler's log-probabilities, as constants."""
        rows = (~equal_reward_groups(rewards)).repeat_interleave(rewards.shape[1]).nonzero().flatten().cpu()
        part = self._scored(take_rows(found.batch, rows if len(rows) else torch.zeros(1, dtype=torch.long)))
        constant = found.logps.to(part.logps)
        logps = constant.index_copy(0, rows.to(constant.device), part.logps[: len(rows)])
        return Scored(logps + 0 * part.logps.sum(), (found.batch.targets != IGNORED).to(logps.device), None)


def utility(rolled: Rolled) -> Tensor:
    """A scalar whose gradient is an estimate of that of the mean reward: score function, leave-one-out baseline."""
    advantages = group_advantages(rolled.rewards, normalise_std=False, baseline="leave_one_out").flatten()
    return (advantages * sequence_logps(rolled.logps, rolled.mask).sums).mean()


@torch.no_grad()
def copy_weights(values: Mapping[str, Tensor], network: LanguageModel) -> None:
    """Into a network, by name; what is not among the values stays."""
    for name, parameter in network.named_parameters():
        if name in values:
            parameter.copy_(values[name])
