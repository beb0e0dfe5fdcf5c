"""Records of how products are built that cells share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class MadeBy:
    """What fills a stage's folder, with the objects that it asks: their code decides what comes into it.

    Attributes:
        build: fills the folder that it is given.
        makers: such as a retriever. An edited one makes another product under the same settings.
    """

    build: Callable[[Path], None]
    makers: tuple[Any, ...]

    def __call__(self, folder: Path) -> None:
        """Fill the folder."""
        self.build(folder)
