"""Stages: costly products (embeddings, neighbour lists) that several cells share, seen from the data side.

The sweep layer hands in an implementation that publishes atomically under a lease. ``TemporaryStages`` serves scripts
and tests without it.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol


class Stages(Protocol):
    """Where shared products live: asked for by kind and content key, built by whoever needs them first."""

    def get(self, kind: str, key: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
        """Give the folder of a product, building it when it is missing.

        Args:
            kind: what it is, such as "embeddings"; one word, used as a folder name.
            key: everything that the content depends on; values that JSON can spell.
            build: called with an empty folder to fill; when it raises, nothing is kept.

        Returns:
            A folder that holds what ``build`` wrote; to be read, never written.
        """
        ...


class TemporaryStages:
    """Stages in a folder that vanishes with the object. One process, nothing shared, each product built once."""

    def __init__(self) -> None:
        self._root = tempfile.TemporaryDirectory(prefix="papergrid-stages-")
        self._built: dict[str, Path] = {}

    def get(self, kind: str, key: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
        """See ``Stages.get``; a key that JSON cannot spell raises ``ValueError``."""
        try:
            spelt = json.dumps({"kind": kind, "key": key}, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"stage {kind!r}: its key must be plain JSON values, got {dict(key)!r}: {error}") from None
        name = hashlib.sha256(spelt.encode()).hexdigest()[:16]
        if spelt not in self._built:
            folder = Path(tempfile.mkdtemp(prefix=f"{kind}-{name}-", dir=self._root.name))
            build(folder)
            self._built[spelt] = folder
        return self._built[spelt]
