"""A policy as a model of the lm-eval harness. Imports the harness: only where it is known to be installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from lm_eval.api.model import LM


class Policy(Protocol):
    """What the harness asks of ``lm_eval.LmEval``."""

    def scored(self, texts: list[tuple[str, str]]) -> list[tuple[float, bool]]:
        """Log-probabilities of continuations, and whether they are greedy."""
        ...

    def written(self, contexts: list[str], options: dict[str, Any]) -> list[str]:
        """Answers to contexts."""
        ...


def harness_model(policy: Policy, progress: Callable[[int, int], None] | None) -> LM:
    """``policy`` behind the harness's interface; ``progress`` is called with (requests done, requests in all)."""
    return _Policy(policy, progress)


class _Policy(LM):
    def __init__(self, policy: Policy, progress: Callable[[int, int], None] | None) -> None:
        super().__init__()
        self._policy = policy
        self._progress = progress or (lambda done, total: None)

    def loglikelihood(self, requests: list[Any], **options: Any) -> list[tuple[float, bool]]:
        texts = [tuple(request.args[:2]) for request in requests]
        found = self._policy.scored(texts)  # type: ignore[arg-type]
        self._progress(len(texts), len(texts))
        return found

    def loglikelihood_rolling(self, requests: list[Any], **options: Any) -> list[float]:
        raise ValueError("a task asks for the likelihood of whole documents, which method=lm_eval does not compute")

    def generate_until(self, requests: list[Any], **options: Any) -> list[str]:
        # Requests with the same options are written together.
        groups: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(number)
        found = [""] * len(requests)
        for spelt, numbers in groups.items():
            texts = self._policy.written([requests[number].args[0] for number in numbers], json.loads(spelt))
            for number, text in zip(numbers, texts, strict=True):
                found[number] = text
        self._progress(len(requests), len(requests))
        return found
