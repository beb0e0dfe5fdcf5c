"""A network as it was when training began, for losses that need its whole distributions and not only cached sums."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.losses.logps import IGNORED
from lightning_modules.networks.language_model import LanguageModel
from lightning_modules.networks.token_batch import TokenBatch


class ReferenceModel:
    """A frozen copy of a network. No ``nn.Module``: it must reach neither checkpoints nor the optimiser.

    Args:
        network: is copied as it is now.
    """

    def __init__(self, network: LanguageModel) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def logits(self, batch: TokenBatch) -> Tensor:
        """(E, L+1, V), as ``response_logits`` of the copy."""
        if self.network.device != batch.ids.device:
            self.network.to(batch.ids.device)
        return logits_of(self.network, self.network.response_states(batch))


def logits_of(network: LanguageModel, states: Tensor) -> Tensor:
    """(E, L, H) states that predict the response tokens -> (E, L+1, V), the form that ``losses.logps`` takes.

    There the last position predicts nothing and t-1 predicts t, so one position is added at the end.
    """
    return network.network.lm_head(F.pad(states, (0, 0, 0, 1)))


def labels_of(batch: TokenBatch) -> tuple[Tensor, Tensor]:
    """Labels (E, L+1) that go with ``logits_of``, and which tokens are real, (E, L)."""
    return F.pad(batch.targets, (1, 0), value=IGNORED), batch.targets != IGNORED


def demonstration_rows(network: LanguageModel, texts: list[tuple[str, str]]) -> tuple[list[list[int]], list[list[int]]]:
    """Ids of prompts and of responses. ``ValueError`` for a text that is longer than the network reads."""
    prompts = network.codec.prompt_ids([prompt for prompt, _ in texts])
    responses = network.codec.response_ids([response for _, response in texts])
    network.check_lengths(prompts, responses)
    return prompts, responses
