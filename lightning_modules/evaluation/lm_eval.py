"""Evaluation of a trained policy by the lm-eval harness; trains nothing. The policy is the cell's base.

The harness is an optional extra (``pip install -c constraints.txt -e '.[lm_eval]'``) and imported when it is used.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from typing import Any

import torch

from data.records.benchmarks import BenchmarkAnswer
from lightning_modules.base import GridModule, Progress
from lightning_modules.losses.logps import IGNORED, token_logps
from lightning_modules.networks.language_model import LanguageModel, LanguageModelConfig, build_language_model
from lightning_modules.networks.token_batch import padded_batch
from lightning_modules.sampling.sampler import Sampler, evaluating


class LmEval(GridModule):
    """Asks a policy the questions of ``data.endpoints.lm_eval_tasks.LmEvalTasks``.

    A context and its continuation are encoded together, as the harness's own models do it. Departures from these: the
    context is set as a prompt, by the model's chat template or wrapper; rolling likelihoods are refused.

    Args:
        model: of the policy.
        seed: of sampled answers.
        max_tokens: longest answer where a task names none.
        batch: texts that are scored together.
    """

    network: LanguageModel

    def __init__(self, *, model: LanguageModelConfig, seed: int, max_tokens: int = 256, batch: int = 16) -> None:
        super().__init__(seed=seed, optimiser=model.optimiser)
        for name, value in (("max_tokens", max_tokens), ("batch", batch)):
            if value < 1:
                raise ValueError(f"method.{name} must be at least 1, got {value}")
        self.trains = False
        self.model = model
        self.max_tokens = max_tokens
        self.batch = batch

    def attach(self, data: Any) -> None:
        """Build the model. ``ValueError`` where the harness is not installed."""
        if importlib.util.find_spec("lm_eval") is None:
            raise ValueError("method=lm_eval needs the harness: pip install -c constraints.txt -e '.[lm_eval]'")
        self.network = build_language_model(self.model, data, seed=self.seed, trained=self.trains)

    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[BenchmarkAnswer]:
        """One answer for each question, at most ``limit`` of each task. Splits are the harness's own.

        Raises:
            ValueError: a task that the harness does not know, or that runs code without leave.
        """
        import lm_eval
        from lm_eval.tasks import TaskManager

        from lightning_modules.networks.hub.lm_eval_adapter import harness_model

        if data.unsafe_code:
            os.environ["HF_ALLOW_CODE_EVAL"] = "1"
        tasks = TaskManager(include_path=None if data.include is None else str(data.include))
        unknown = sorted(set(data.tasks) - set(tasks.all_tasks))
        if unknown:
            raise ValueError(f"data.tasks names {', '.join(unknown)}, which the harness does not know")
        if torch.cuda.is_available():
            self.network.to("cuda")
        with evaluating(self.network):
            found = lm_eval.simple_evaluate(
                model=harness_model(self, progress),
                tasks=list(data.tasks),
                num_fewshot=data.shots,
                limit=limit,
                task_manager=tasks,
                bootstrap_iters=0,
                log_samples=True,
                confirm_run_unsafe_code=data.unsafe_code,
                random_seed=data.seed,
                numpy_random_seed=data.seed,
                torch_random_seed=data.seed,
                fewshot_random_seed=data.seed,
            )
        answers: list[BenchmarkAnswer] = data.answers(found["samples"])
        return answers

    @torch.no_grad()
    def scored(self, texts: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """Log-probability of each continuation of a context, nats, and whether it is what greedy decoding writes.

        ``ValueError`` for a text longer than the model reads, or a continuation without tokens.
        """
        codec = self.network.codec
        pairs = [codec.continued(context, continuation) for context, continuation in texts]
        prompts, answers = [prompt for prompt, _ in pairs], [answer for _, answer in pairs]
        if not all(answers):
            raise ValueError("a task asks for the probability of an empty text: leave it out")
        self.network.check_lengths(prompts, answers)
        order = sorted(range(len(texts)), key=lambda row: len(prompts[row]) + len(answers[row]))
        found: list[tuple[float, bool]] = [(0.0, False)] * len(texts)
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            batch = padded_batch(
                [prompts[row] for row in rows], [answers[row] for row in rows], padding=codec.padding
            ).to(self.network.device)
            logits = self.network.network.lm_head(self.network.response_states(batch)).float()
            real = batch.targets != IGNORED
            # token_logps predicts the token at t from t-1; here the states at t already predict t.
            shifted = torch.nn.functional.pad(batch.targets, (1, 0), value=IGNORED)
            sums = token_logps(torch.nn.functional.pad(logits, (0, 0, 0, 1)), shifted).double().sum(-1)
            greedy = ((logits.argmax(-1) == batch.targets) | ~real).all(-1)
            for row, total, same in zip(rows, sums.tolist(), greedy.tolist(), strict=True):
                found[row] = (total, bool(same))
        return found

    def written(self, contexts: Sequence[str], options: dict[str, Any]) -> list[str]:
        """Answers to contexts, each cut before the first of ``options["until"]``; greedy unless the task samples."""
        until = options.get("until") or []
        stops = [until] if isinstance(until, str) else list(until)
        sampler = Sampler(
            max_tokens=int(options.get("max_gen_toks") or options.get("max_tokens") or self.max_tokens),
            temperature=float(options.get("temperature") or 0.0) if options.get("do_sample") else 0.0,
            top_p=float(options.get("top_p") or 1.0),
            batch=self.batch,
        )
        prompts = self.network.codec.prompt_ids(list(contexts))
        generator = torch.Generator().manual_seed(self.seed)
        texts = self.network.codec.texts(sampler.sample(self.network, prompts, copies=1, generator=generator).rows())
        for stop in filter(None, stops):
            texts = [text.partition(stop)[0] for text in texts]
        return texts
