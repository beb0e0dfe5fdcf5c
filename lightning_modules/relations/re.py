"""Relation extraction by a language model: RAG4RE (arXiv 2404.13397) and its fine-tuned successor (arXiv 2406.14745).

Departures:
    1. Besides free text with the released refinement rule, the label may be found by scoring every label of the
       inventory, which can neither be invalid nor depend on a rule.
    2. Which weights are trained (all, or LoRA adapters on a model in 4 bits as in the paper) is the model's choice.
    3. A prompt that does not fit raises an error; the release truncates it, and the inventory stands at its end.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from data.records.relations import Prediction, Prompt
from lightning_modules.base import GridModule, Progress
from lightning_modules.losses.logps import normalise
from lightning_modules.networks.answerer.interface import Answerer, Model
from lightning_modules.networks.precision import computing, keep_trained_in_32_bits


class RelationGenerator(GridModule):
    """A model that reads a prompt and writes the relation's name.

    Args:
        model: what writes.
        tune: train it; ``False`` predicts with the weights that it comes with (zero-shot).
        decoding: "constrained" scores every label and takes the best; "free" generates greedily and asks the data for
            the label that the text names (``data.label_of``).
        per_sequence: the loss of an answer is the "sum" or the "mean" over its tokens.
        length_normalised: constrained decoding compares log-probabilities per token. Off by default: the sum is the
            log-probability of the whole answer, so the ranking is Bayes' rule for a model that was trained on labels;
            means favour long names whose later tokens follow from the first.
        max_answer_tokens: where free generation stops.
        predict_batch: prompts that are answered together.
        seed: initial weights of what is not pre-trained, and dropout.
    """

    network: Answerer

    def __init__(
        self,
        *,
        model: Model,
        seed: int,
        tune: bool = True,
        decoding: Literal["constrained", "free"] = "constrained",
        per_sequence: Literal["sum", "mean"] = "sum",
        length_normalised: bool = False,
        max_answer_tokens: int = 30,
        predict_batch: int = 32,
    ) -> None:
        super().__init__(seed=seed, optimiser=model.optimiser)
        if max_answer_tokens < 1:
            raise ValueError(f"method.max_answer_tokens must be at least 1, got {max_answer_tokens}")
        if predict_batch < 1:
            raise ValueError(f"method.predict_batch must be at least 1, got {predict_batch}")
        self.model = model
        self.trains = bool(tune)
        self.decoding = decoding
        self.per_sequence = per_sequence
        self.length_normalised = length_normalised
        self.max_answer_tokens = max_answer_tokens
        self.predict_batch = predict_batch
        self.labels: tuple[str, ...] = ()

    def attach(self, data: Any) -> None:
        """Build the model; random weights follow from the seed. Sets ``data.count_tokens`` for the prompt's budget."""
        self.labels = tuple(data.labels)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            self.network = self.model.build()
            if self.trains:
                keep_trained_in_32_bits(self.network)
                self.network.expect(self.labels)
        data.count_tokens = self.network.count_tokens

    def prepare(self, data: Any, stages: Any, progress: Progress | None = None) -> None:
        """Let the network share, as a stage, what it need not compute at every pass over the training prompts."""
        if self.trains:
            self.network.remember([prompt.text for prompt in data.prompts("train")], stages, progress)

    def collate(self, items: list[Prompt]) -> dict[str, Tensor]:
        """Prompts and their gold labels as tensors."""
        return self.network.collate([prompt.text for prompt in items], [prompt.target for prompt in items])

    def losses(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of the gold labels, (B,), in nats; the prompt's tokens carry no loss.

        Some networks add what helps them learn (``Answerer.losses``).
        """
        losses, mask = self.network.losses(batch, per_sequence=self.per_sequence)
        read = batch["attention_mask"] if "attention_mask" in batch else batch["prompt_mask"]
        return losses, read.sum() + mask.sum()

    @torch.no_grad()
    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[Prediction]:
        """See ``base.Method.predict``. Prompts of similar length are answered together, to pad little."""
        if torch.cuda.is_available():
            self.network.to("cuda")
        self.network.eval()
        prompts: list[Prompt] = data.prompts(split, limit)
        lengths = [self.network.count_tokens(prompt.text) for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda index: -lengths[index])
        answers: dict[int, tuple[str, str]] = {}
        for start in range(0, len(order), self.predict_batch):
            chosen = order[start : start + self.predict_batch]
            with computing(self.network):
                found = self._answer([prompts[index].text for index in chosen], data)
            answers.update(zip(chosen, found, strict=True))
            if progress is not None:
                progress(len(answers), len(prompts))
        return [
            Prediction(prompt.example_id, prompt.target, *answers[index], prompt.neighbours)
            for index, prompt in enumerate(prompts)
        ]

    def _answer(self, prompts: list[str], data: Any) -> list[tuple[str, str]]:
        """(label or "", raw output) of every prompt."""
        if self.decoding == "free":
            outputs = self.network.generate(prompts, max_tokens=self.max_answer_tokens)
            return [(data.label_of(output), output) for output in outputs]
        scores = self.network.score(prompts, self.labels)
        values = scores.sums
        if self.length_normalised:
            values = normalise(values, scores.lengths.expand_as(values))
        best = [self.labels[index] for index in values.argmax(-1).tolist()]
        return list(zip(best, best, strict=True))
