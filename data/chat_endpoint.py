"""A server that speaks OpenAI's chat completions (``POST <address>/chat/completions``): asked, and asked again."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may go away by themselves."""


class ChatEndpoint:
    """Posts requests. An error is never an answer: what cannot be had raises.

    Args:
        name: what messages call it, such as "the judge".
        address: such as "http://localhost:8000/v1".
        key_variable: environment variable that holds the key; ``None``, or one that is not set, sends none.
        attempts: before a request is given up.
        pause: seconds before the second attempt; it doubles.
        timeout: seconds that an answer may take.

    Raises:
        ValueError: an address that is none, a number out of range, or a key that would travel unencrypted.
    """

    def __init__(
        self, name: str, address: str, *, key_variable: str | None, attempts: int, pause: float, timeout: float
    ) -> None:
        parts = urllib.parse.urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the address of {name} must be like http://host:8000/v1, got {address!r}")
        if attempts < 1 or not pause >= 0 or not timeout > 0:
            raise ValueError(
                f"{name} wants at least 1 attempt, a pause of at least 0 and a timeout above 0, got {attempts}, "
                f"{pause}, {timeout}"
            )
        self.name, self.address, self.key_variable = name, address.rstrip("/"), key_variable
        self.attempts, self.pause, self.timeout = int(attempts), float(pause), float(timeout)
        if self._key() and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError(
                f"{self.address} is not encrypted and {key_variable} holds a key: a key is sent over https or to this "
                "machine alone; unset it, or take an https address"
            )

    def _key(self) -> str:
        return os.environ.get(self.key_variable, "") if self.key_variable else ""

    def ask(self, body: Mapping[str, Any]) -> Any:
        """The JSON that a request is answered with.

        Raises:
            ValueError: no usable answer after all attempts.
        """
        headers = {"Content-Type": "application/json"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        url, reason = f"{self.address}/chat/completions", ""
        request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers, method="POST")
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as response:
                    return json.loads(response.read())
            except urllib.error.HTTPError as error:
                reason = f"status {error.code}: {' '.join(error.read(300).decode(errors='replace').split())}"
                if error.code not in _AGAIN:
                    break
            except (OSError, ValueError) as error:  # no connection, no answer in time, no JSON
                reason = str(getattr(error, "reason", error))
        raise ValueError(
            f"{self.name} at {self.address} gave no answer after {attempt + 1} tries ({reason}): check address, key "
            "and model name"
        )


def endpoint_at(name: str, address: str | None, **options: Any) -> ChatEndpoint | None:
    """The endpoint at an address; ``None`` without one: off. Options are those of ``ChatEndpoint``."""
    return None if address is None else ChatEndpoint(name, address, **options)


def filled(template: str, **texts: str) -> str:
    """A template with each ``{name}`` replaced once by its text.

    Not ``format``: texts have braces of their own. From the last place to the first: no text can hold a place that is
    still to be filled, so texts are given in the reverse order of their places.
    """
    for name, text in texts.items():
        before, _, after = template.partition(f"{{{name}}}")
        template = before + text + after
    return template
