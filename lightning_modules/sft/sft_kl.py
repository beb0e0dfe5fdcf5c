"""SFT with an explicit penalty on the divergence from where training began: the control that f-SFT must beat.

Exact divergence of the next token on the demonstrated prefixes, in either direction; the penalty on the policy's own
texts would need rollouts. ``ref_to_policy`` is what ASFT's released code calls sft+kl (arXiv 2509.23753).
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from data.records.texts import Completion, Demonstration
from lightning_modules.base import GridModule, Progress
from lightning_modules.losses.logps import token_kls, token_logps
from lightning_modules.losses.sft import sft_kl_loss
from lightning_modules.networks.language_model import LanguageModel, LanguageModelConfig, build_language_model
from lightning_modules.networks.reference_model import ReferenceModel, demonstration_rows, labels_of, logits_of
from lightning_modules.networks.token_batch import TokenBatch, padded_batch
from lightning_modules.sampling.sampler import Sampling, complete


class SftKl(GridModule):
    """Imitates demonstrations and stays near its start; data as for ``Sft``.

    Args:
        model: what is trained.
        seed: initial weights of what is not pre-trained, sampled responses, dropout.
        sampler: how responses are written when it is evaluated.
        kl_weight: of the penalty, at least 0.
        direction: "policy_to_ref" is KL(pi || pi0), "ref_to_policy" KL(pi0 || pi).
        samples: responses to each prompt when it is evaluated.
    """

    network: LanguageModel

    def __init__(
        self,
        *,
        model: LanguageModelConfig,
        seed: int,
        sampler: Sampling,
        kl_weight: float = 0.1,
        direction: Literal["policy_to_ref", "ref_to_policy"] = "policy_to_ref",
        samples: int = 1,
    ) -> None:
        super().__init__(seed=seed, optimiser=model.optimiser)
        if not kl_weight >= 0:
            raise ValueError(f"method.kl_weight must be at least 0, got {kl_weight}")
        if direction not in ("policy_to_ref", "ref_to_policy"):
            raise ValueError(f"method.direction must be policy_to_ref or ref_to_policy, got {direction!r}")
        if samples < 1:
            raise ValueError(f"method.samples must be at least 1, got {samples}")
        self.model, self.sampler, self.samples = model, sampler, samples
        self.kl_weight, self.direction = float(kl_weight), direction
        self.reference: ReferenceModel | None = None

    def attach(self, data: Any) -> None:
        """Build the model; random weights follow from the seed."""
        self.network = build_language_model(self.model, data, seed=self.seed, trained=self.trains)

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
        logits = logits_of(self.network, self.network.response_states(batch))
        labels, mask = labels_of(batch)
        kls = token_kls(logits, self.reference.logits(batch), direction=self.direction)  # type: ignore[arg-type]
        self.step_metrics["train/kl"] = kls.detach()[mask].mean()
        return sft_kl_loss(token_logps(logits, labels), kls, mask, kl_weight=self.kl_weight), batch.read

    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[Completion]:
        """``samples`` responses to every prompt of a split; what they are worth is for ``data.frame`` to say."""
        items = data.items(split, limit)
        return complete(self.network, items, self.sampler, copies=self.samples, seed=self.seed, progress=progress)
