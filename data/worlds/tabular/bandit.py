"""A contextual bandit small enough that every optimum is exact: level 0 of the implicit-reward experiments.

P prompts with R responses each. The base policy pi0 and the gold reward r* are random; the expert is the optimum of
KL-regularised reward maximisation, p_E = pi0 exp(r* / tau) / Z. The world is fixed by ``world_seed``; the seed of a
cell decides only which demonstrations are drawn from the expert.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from data.files.stages import Stages
from data.records.tabular import TabularPolicy


class TabularWorld:
    """Prompts, their base policy, gold rewards and demonstrations, as tables of (P, R) fp64.

    Args:
        seed: of the demonstrations.
        name: what the world is called in tables.
        prompts: P.
        responses: R.
        demonstrations: drawn for each prompt, with replacement; ``None`` stands for infinitely many, the expert itself.
        base_spread: standard deviation of the base policy's logits, nats.
        reward_spread: standard deviation of the gold reward.
        tau: temperature of the expert, in units of reward; smaller is more expert.
        world_seed: of base policy and rewards.

    Attributes:
        base_logps: log pi0.
        rewards: r*.
        expert_logps: log p_E.
        demonstration_weights: share of each response among a prompt's demonstrations; rows add up to 1.
    """

    scored_by: tuple[str, ...] = ("data.scoring.columns", "data.scoring.tabular")

    def __init__(
        self,
        *,
        seed: int,
        name: str = "tabular",
        prompts: int = 32,
        responses: int = 16,
        demonstrations: int | None = None,
        base_spread: float = 1.0,
        reward_spread: float = 1.0,
        tau: float = 1.0,
        world_seed: int = 0,
    ) -> None:
        self.name = name
        for key, value in (("prompts", prompts), ("responses", responses)):
            if value < 2:
                raise ValueError(f"data.{key} must be at least 2, got {value}")
        if demonstrations is not None and demonstrations < 1:
            raise ValueError(f"data.demonstrations must be at least 1, or null for the expert, got {demonstrations}")
        for key, number in (("base_spread", base_spread), ("reward_spread", reward_spread), ("tau", tau)):
            if not number > 0:
                raise ValueError(f"data.{key} must be above 0, got {number}")
        world = np.random.default_rng([world_seed, 0])
        self.base_logps = _normalised(base_spread * world.standard_normal((prompts, responses)))
        self.rewards = reward_spread * world.standard_normal((prompts, responses))
        self.expert_logps = _normalised(self.base_logps + self.rewards / tau)
        self.demonstration_weights = np.exp(self.expert_logps)
        if demonstrations is not None:
            drawn = np.random.default_rng([world_seed, 1, seed])
            counts = [drawn.multinomial(demonstrations, row / row.sum()) for row in self.demonstration_weights]
            self.demonstration_weights = np.stack(counts) / demonstrations
        self.ids = tuple(f"prompt-{index:04d}" for index in range(prompts))

    def prepare(self, stages: Stages, progress: Callable[[int, int], None] | None = None) -> None:
        """Nothing: the tables are made at once."""

    def examples(self, split: str, limit: int | None = None) -> tuple[str, ...]:
        """Ids of the prompts, or of the first ``limit``. Every split is the same: what is learnt is judged exactly."""
        return self.ids[:limit]

    def frame(self, policies: Sequence[TabularPolicy]) -> pd.DataFrame:
        """Exact expectations of policies, one row per prompt.

        Columns: example_id; reward E_pi[r*], also after exact preference optimisation; kl_to_base KL(pi || pi0), nats;
        demonstration_nll, nats; distance_to_sft, total variation from SFT's optimum, which is the demonstrations
        themselves; distance_to_optimum, total variation from the exact optimum of the method's problem under the
        expert itself.
        """
        place = {identifier: index for index, identifier in enumerate(self.ids)}
        rows = []
        for policy in policies:
            index = place[policy.example_id]
            logps, dpo_logps = np.array(policy.logps), np.array(policy.dpo_logps)
            probabilities, demonstrated = np.exp(logps), self.demonstration_weights[index]
            optimum = np.exp(np.array(policy.optimum_logps))
            shown = demonstrated > 0
            rows.append(
                {
                    "example_id": policy.example_id,
                    "reward": probabilities @ self.rewards[index],
                    "reward_after_dpo": np.exp(dpo_logps) @ self.rewards[index],
                    "kl_to_base": probabilities @ (logps - self.base_logps[index]),
                    "demonstration_nll": -(demonstrated[shown] @ logps[shown]),
                    "distance_to_sft": np.abs(probabilities - demonstrated).sum() / 2,
                    "distance_to_optimum": np.abs(probabilities - optimum).sum() / 2,
                }
            )
        return pd.DataFrame(rows)


def _normalised(logits: np.ndarray) -> np.ndarray:
    """Log-softmax along the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
