"""No retrieval: every query gets an empty list. The arm without neighbours, under the same code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from data.files.stages import Stages
from data.retrieval.base import Banned, Gold, Hits, Progress


class NoRetriever:
    """Gives back nothing, whatever ``k``."""

    view = "sentence"

    def key(self) -> dict[str, Any]:
        """See ``Retriever.key``."""
        return {"retriever": "none"}

    def index(self, texts: Sequence[str], stages: Stages, progress: Progress | None = None) -> None:
        """See ``Retriever.index``: nothing to do."""

    def search(
        self,
        queries: Sequence[str],
        k: int,
        banned: Banned | None = None,
        progress: Progress | None = None,
        gold: Gold | None = None,
    ) -> Hits:
        """See ``Retriever.search``: (Q, 0)."""
        return Hits(np.empty((len(queries), 0), dtype=np.int64), np.empty((len(queries), 0), dtype=np.float32))
