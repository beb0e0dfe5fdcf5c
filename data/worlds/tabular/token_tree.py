"""All texts of one length over a few tokens, as a tree: soft values of every prefix are known by backward recursion."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class SoftValues(NamedTuple):
    """Optimum of reward maximisation with a KL penalty of weight beta.

    Attributes:
        values: by depth d from 0 to the tree's, (tokens^d,): V of every prefix; of the leaves, their reward.
        policy_logps: by depth d below the tree's, (tokens^d, tokens): log of the optimal next-token probabilities.
    """

    values: list[np.ndarray]
    policy_logps: list[np.ndarray]


class TokenTree:
    """A random base policy over the tree and a random reward at each leaf.

    A prefix of depth d is numbered by its tokens as digits to the base ``tokens``, the first one foremost.

    Args:
        depth: tokens of a text.
        tokens: size of the vocabulary.
        seed: of base policy and rewards.

    Attributes:
        base_logps: by depth, (tokens^d, tokens): log pi0 of the next token.
        rewards: (tokens^depth,), of the leaves.
    """

    def __init__(self, *, depth: int = 6, tokens: int = 4, seed: int = 0) -> None:
        if depth < 1 or tokens < 2 or tokens**depth > 1 << 20:
            raise ValueError(f"depth {depth}, {tokens} tokens: give at least 1 and 2, and 2^20 leaves at most")
        drawn = np.random.default_rng(seed)
        self.depth, self.tokens = depth, tokens
        logits = [drawn.standard_normal((tokens**level, tokens)) for level in range(depth)]
        self.base_logps = [table - np.logaddexp.reduce(table, axis=1, keepdims=True) for table in logits]
        self.rewards = drawn.standard_normal(tokens**depth)

    def leaves(self) -> np.ndarray:
        """Tokens of every leaf, (tokens^depth, depth), in the order of ``rewards``."""
        numbers, powers = np.arange(self.tokens**self.depth), self.tokens ** np.arange(self.depth - 1, -1, -1)
        return numbers[:, None] // powers % self.tokens

    def soft_values(self, beta: float) -> SoftValues:
        """Backward recursion: V(leaf) = r, Q(s, a) = V(sa), V(s) = beta log sum_a pi0(a|s) exp(Q(s, a) / beta)."""
        if not beta > 0:
            raise ValueError(f"beta is {beta}: give a number above 0")
        values = [self.rewards]
        policies: list[np.ndarray] = []
        for base in reversed(self.base_logps):
            tilted = base + values[0].reshape(-1, self.tokens) / beta
            log_normaliser = np.logaddexp.reduce(tilted, axis=1)
            policies.insert(0, tilted - log_normaliser[:, None])
            values.insert(0, beta * log_normaliser)
        return SoftValues(values, policies)
