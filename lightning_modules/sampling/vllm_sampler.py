"""vLLM as the engine of rollouts, behind the same call as our own sampler; for models of the transformers library.

The engine lives in this process, on the device of the training, and gets the policy's weights before it writes. The
log-probabilities of what it wrote are computed anew by the policy, so that the ratio of the loss is 1 whatever the
engine's arithmetic; how far the engine was off is a matter of which tokens are drawn alone. Written against vLLM's
public interface of versions 0.8 and later. Never run on a GPU so far; its bookkeeping
is tested with a made-up engine.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch

from lightning_modules.networks.answerer.interface import pad
from lightning_modules.networks.hub.causal_lm import HubCausal
from lightning_modules.networks.language_model import LanguageModel
from lightning_modules.networks.precision import computing
from lightning_modules.networks.token_batch import padded_batch
from lightning_modules.sampling.sampler import Rollouts, evaluating


class VllmSampler:
    """See ``sampler.Sampling``.

    Args:
        max_tokens: most tokens of a response, the end token included.
        temperature, top_p: as of ``sampler.Sampler``; 0 is greedy.
        memory_share: of the GPU's memory for the engine, above 0 and below 1; the rest is for training.
        score_batch: responses whose log-probabilities are computed at a time.

    Raises:
        ValueError: vLLM is not installed, or an option out of range.
    """

    def __init__(
        self,
        *,
        max_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        memory_share: float = 0.4,
        score_batch: int = 8,
    ) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise ValueError(
                "lightning_modules.sampling.vllm_sampler.VllmSampler needs vLLM (pip install vllm, CUDA only): "
                "install it, or "
                "use lightning_modules.sampling.sampler.Sampler"
            )
        if max_tokens < 1 or score_batch < 1:
            raise ValueError(f"sampler.max_tokens and score_batch must be at least 1, got {max_tokens}, {score_batch}")
        if not temperature >= 0 or not 0 < top_p <= 1 or not 0 < memory_share < 1:
            raise ValueError(
                "a temperature of at least 0, a top_p in (0, 1] and a memory_share in (0, 1) are wanted, got "
                f"{temperature}, {top_p}, {memory_share}"
            )
        self.max_tokens = max_tokens
        self.temperature = temperature
        self.top_p = top_p
        self.memory_share = memory_share
        self.score_batch = score_batch
        self._engine: Any = None

    def sample(
        self,
        model: LanguageModel,
        prompts: Sequence[Sequence[int]],
        *,
        copies: int,
        generator: torch.Generator,
        progress: Callable[[int, int], None] | None = None,
    ) -> Rollouts:
        """See ``sampler.Sampling``. ``ValueError`` for a network that is not of the transformers library."""
        from vllm import SamplingParams

        if copies < 1 or not prompts:
            raise ValueError(f"at least one prompt and one copy are wanted, got {len(prompts)} and {copies}")
        with computing(model):
            engine = self._current(model)
        ends = model.codec.ends
        seed = int(torch.randint(2**31 - 1, (), generator=generator))
        chosen = SamplingParams(
            n=copies, temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens, seed=seed,
            stop_token_ids=sorted(ends), detokenize=False,
        )  # fmt: skip
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        found = engine.generate(asked, chosen, use_tqdm=False)
        rows = [list(one.token_ids) for output in found for one in output.outputs]
        repeated = [prompt for prompt in prompts for _ in range(copies)]
        logps = torch.cat(self._scores(model, repeated, rows, progress))
        lengths = torch.tensor([len(row) for row in rows])
        finished = torch.tensor([row[-1] in ends for row in rows])
        return Rollouts(pad(rows, value=model.codec.padding), lengths, finished, logps)

    @torch.no_grad()
    def _scores(
        self,
        model: LanguageModel,
        prompts: Sequence[Sequence[int]],
        rows: Sequence[Sequence[int]],
        progress: Callable[[int, int], None] | None,
    ) -> list[torch.Tensor]:
        width = max(map(len, rows))
        found = []
        with evaluating(model):
            for start in range(0, len(rows), self.score_batch):
                part = slice(start, start + self.score_batch)
                batch = padded_batch(prompts[part], rows[part], padding=model.codec.padding).to(model.device)
                logps, _ = model.response_logps(batch, temperature=self.temperature or 1.0, chunk=1024)
                found.append(torch.nn.functional.pad(logps, (0, width - logps.shape[1])).cpu())
                if progress is not None:
                    progress(min(start + self.score_batch, len(rows)), len(rows))
        return found

    def _current(self, model: LanguageModel) -> Any:
        """The engine with the policy's present weights."""
        if not isinstance(model.causal, HubCausal):
            raise ValueError("vLLM serves models of the transformers library alone: use our own sampler with this one")
        inner = model.causal.inner
        if self._engine is None:
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # its model must be in this process
            from vllm import LLM

            with tempfile.TemporaryDirectory() as folder:
                inner.save_pretrained(folder)
                self._engine = LLM(
                    model=folder, skip_tokenizer_init=True, dtype=_engine_dtype(inner),
                    max_model_len=model.network.limit, gpu_memory_utilization=self.memory_share,
                )  # fmt: skip
        weights = [(name, value.detach()) for name, value in inner.named_parameters()]
        self._engine.apply_model(lambda served: served.load_weights(iter(weights)))
        self._engine.reset_prefix_cache()
        return self._engine


def _engine_dtype(model: Any) -> str:
    """In which numbers the engine computes: as the training around it does, else as the weights are kept."""
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else model.dtype
    return str(dtype).removeprefix("torch.")
