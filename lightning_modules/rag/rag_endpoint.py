"""A reader behind an OpenAI-compatible endpoint (``POST <address>/chat/completions``): prompted, never trained.

Off unless an address is configured. A request that fails is tried again and then ends the cell; so does a reply without
a text (null, a refusal, a call of a tool): an error is never scored as an empty answer.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from data.endpoints.chat import endpoint_at
from data.records.readings import ReadingItem
from data.records.texts import Completion
from lightning_modules.base import Progress


class RagEndpoint:
    """Asks an endpoint every prompt of a split.

    Args:
        address: such as "http://127.0.0.1:8000/v1"; ``None``: off, and a cell that wants it ends with one line.
        served: name that the endpoint knows its model by.
        max_tokens: most tokens of a response.
        temperature: 0 is greedy, as far as the endpoint is.
        seed: sent along; endpoints may ignore it.
        key_variable: environment variable that holds the key; ``None`` sends none. A key goes out over https, or to
            this machine, alone.
        parallel: requests at a time.
        retries: further tries of a request that found no answer or status 408, 409, 429 or 5xx.
        wait: seconds before the first further try; doubled before every next one.
        timeout: seconds that an answer may take.
    """

    trains = False

    def __init__(
        self,
        *,
        address: str | None,
        served: str,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        key_variable: str | None = None,
        parallel: int = 4,
        retries: int = 3,
        wait: float = 1.0,
        timeout: float = 120.0,
    ) -> None:
        if max_tokens < 1 or parallel < 1 or retries < 0:
            raise ValueError(
                f"method.max_tokens and parallel must be at least 1 and retries at least 0, got {max_tokens}, "
                f"{parallel}, {retries}"
            )
        if not temperature >= 0:
            raise ValueError(f"method.temperature must be at least 0, got {temperature}")
        self.endpoint = endpoint_at(
            "the endpoint", address, key_variable=key_variable, attempts=retries + 1, pause=wait, timeout=timeout
        )
        self.served = served
        self.max_tokens = int(max_tokens)
        self.temperature, self.seed = float(temperature), int(seed)
        self.key_variable = key_variable
        self.parallel = int(parallel)

    def attach(self, data: Any) -> None:
        """``ValueError`` without an address, or where the variable of the key is empty."""
        if self.endpoint is None:
            raise ValueError("method=rag_endpoint is off: set method.address=http://host:port/v1 and method.served")
        if self.key_variable and not os.environ.get(self.key_variable):
            raise ValueError(f"method.key_variable names {self.key_variable}, which is not set: export it")

    def predict(
        self, data: Any, *, split: str, limit: int | None = None, progress: Progress | None = None
    ) -> list[Completion]:
        """One response to every prompt of a split, in order.

        Raises:
            ValueError: an endpoint that gave no usable answer.
        """
        items = data.items(split, limit)
        found = []
        with ThreadPoolExecutor(self.parallel) as pool:
            for completion in pool.map(self._ask, items):
                found.append(completion)
                if progress is not None:
                    progress(len(found), len(items))
        return found

    def _ask(self, item: ReadingItem) -> Completion:
        assert self.endpoint is not None
        said = self.endpoint.say(
            {
                "model": self.served,
                "messages": [{"role": "user", "content": item.prompt}],
                "max_tokens": self.max_tokens,
                "temperature": self.temperature,
                "seed": self.seed,
            }
        )
        # Endpoints that count nothing leave words to count.
        tokens = len(said.text.split()) if said.tokens is None else said.tokens
        return Completion(item.id, 0, said.text, tokens, not said.cut, math.nan)
