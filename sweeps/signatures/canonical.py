"""Plain values as text that is the same on every machine, and their hashes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from sweeps.errors import UserError

_LENGTH = 16


def canonical(value: Any, path: str = "config") -> Any:
    """Plain, stably serialisable form of ``value``; equal numbers are the same: 1.0 becomes 1, True stays True.

    Raises:
        UserError: a value that has no stable serialisation (an object, a NaN, a non-string key), by its name.
    """
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UserError(f"{path} is {value}: a signature needs finite numbers; write null or a finite value")
        return int(value) if value.is_integer() else value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise UserError(
                    f"{path} has the key {key!r} of type {type(key).__name__}: only text keys can be signed"
                )
        return {key: canonical(value[key], f"{path}.{key}") for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [canonical(item, f"{path}[{index}]") for index, item in enumerate(value)]
    raise UserError(
        f"{path} is a {type(value).__name__}, which has no stable text form: give a number, text, list or mapping"
    )


def hash_of(value: Any) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of the canonical JSON of ``value``."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]
