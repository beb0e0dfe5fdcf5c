"""Answers as a tree of their prefixes, so that a decoder reads what they begin alike with once, and no padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class AnswerTrie(NamedTuple):
    """All prefixes of A answers, U nodes in an order in which each follows what it continues.

    Attributes:
        pieces: (U,) the last piece of a prefix, which a decoder reads there; that of the empty prefix is the start.
        depths: (U,) its length, which is its position.
        visible: (U, U) whether the node of a row may see that of a column: its own beginnings and itself.
        nodes: (A, T) node that answer a has reached before its piece t; 0 beyond its end.
        targets: (A, T) its piece t; 0 beyond its end.
        mask: (A, T) True up to its end.
    """

    pieces: Tensor
    depths: Tensor
    visible: Tensor
    nodes: Tensor
    targets: Tensor
    mask: Tensor

    def to(self, device: torch.device | str) -> AnswerTrie:
        """The same on a device."""
        return AnswerTrie(*(part.to(device) for part in self))

    def sums(self, logps: Tensor) -> Tensor:
        """Log-probabilities of all pieces at all nodes (B, U, V) -> those of the answers, summed over pieces (B, A)."""
        chosen = logps[:, self.nodes.flatten(), self.targets.flatten()].unflatten(1, self.nodes.shape)
        return (chosen * self.mask).sum(-1)


def answer_trie(answers: Sequence[Sequence[int]], *, start: int) -> AnswerTrie:
    """The tree of answers in pieces, each with its end.

    Args:
        start: piece that a decoder reads before the first one.

    Raises:
        ValueError: no answer, or one without pieces.
    """
    if not answers or not all(answers):
        raise ValueError("a tree of answers needs at least one, each with at least one piece")
    index: dict[tuple[int, ...], int] = {}
    parents, pieces, depths = [], [], []
    for answer in answers:
        for length in range(len(answer)):
            prefix = tuple(answer[:length])
            if prefix not in index:
                parents.append(index[prefix[:-1]] if prefix else -1)
                pieces.append(prefix[-1] if prefix else start)
                depths.append(length)
                index[prefix] = len(index)
    visible = torch.eye(len(index), dtype=torch.bool)
    for node, parent in enumerate(parents):
        if parent >= 0:
            visible[node] |= visible[parent]
    longest = max(map(len, answers))
    nodes, targets = torch.zeros(2, len(answers), longest, dtype=torch.long)
    mask = torch.zeros(len(answers), longest, dtype=torch.bool)
    for row, answer in enumerate(answers):
        nodes[row, : len(answer)] = torch.tensor([index[tuple(answer[:length])] for length in range(len(answer))])
        targets[row, : len(answer)] = torch.tensor(list(answer))
        mask[row, : len(answer)] = True
    return AnswerTrie(torch.tensor(pieces), torch.tensor(depths), visible, nodes, targets, mask)
