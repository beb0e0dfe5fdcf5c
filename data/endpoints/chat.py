"""A server that speaks OpenAI's chat completions (``POST <address>/chat/completions``): asked, and asked again."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may go away by themselves."""


class Said(NamedTuple):
    """What an endpoint said.

    Attributes:
        text: "" only where the endpoint sent an empty text.
        cut: whether the text ends because it was as long as it might be.
        tokens: of the text, as the endpoint counted them; ``None`` where it did not.
        choice: the whole first choice.
    """

    text: str
    cut: bool
    tokens: int | None
    choice: Mapping[str, Any]


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

    def say(self, body: Mapping[str, Any]) -> Said:
        """What a request is answered with.

        Raises:
            ValueError: no usable answer after all attempts, or a reply without a text: no choice, a text that is null,
                a refusal, a call of a tool, a filter, or an end before the first letter.
        """
        reply = self.ask(body)
        try:
            return read_reply(reply)
        except ValueError as error:
            raise ValueError(f"{self.name} at {self.address}: {error}") from None


def read_reply(reply: Any) -> Said:
    """The text of a chat completion.

    Raises:
        ValueError: see ``ChatEndpoint.say``.
    """
    shown = json.dumps(reply)[:200]
    try:
        choice = reply["choices"][0]
        message, end = choice["message"], choice.get("finish_reason")
        content = message["content"] if "content" in message or not _instead(message) else None
        usage = reply.get("usage") or {}
        counted = usage.get("completion_tokens")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError(
            f"the reply is no chat completion, it came without choices[0].message.content: {shown}"
        ) from None
    if isinstance(content, list):  # parts, as some servers send them
        texts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        content = "".join(map(str, texts)) if texts and all(isinstance(text, str) for text in texts) else None
    if end == "content_filter":
        raise ValueError(f"a filter took the answer away (finish_reason=content_filter): {shown}")
    if instead := _instead(message):
        raise ValueError(f"{instead} came in place of an answer: {shown}")
    if not isinstance(content, str):
        raise ValueError(f"content is {json.dumps(content)[:60]}, wanted a text{_spent(end)}: {shown}")
    if end == "length" and not content:
        raise ValueError(f"the answer was cut before its first letter{_spent(end)}: {shown}")
    counts = isinstance(counted, int) and not isinstance(counted, bool)
    return Said(content, end == "length", counted if counts else None, choice)


def _instead(message: Mapping[str, Any]) -> str:
    """What a message holds in place of a text."""
    if message.get("refusal"):
        return "a refusal"
    return "the call of a tool" if message.get("tool_calls") or message.get("function_call") else ""


def _spent(end: Any) -> str:
    return " (finish_reason=length: raise max_tokens, a model that reasons first needs more)" if end == "length" else ""


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
