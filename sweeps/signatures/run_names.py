"""Names while a cell runs: as they were planned, and as they were when it began, whatever is edited meanwhile."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from typing import Any

from sweeps.errors import UserError
from sweeps.execution.receipt import spelt
from sweeps.signatures.closure import hold, loaded
from sweeps.signatures.signature import ROOT, Signer

_OURS = str(ROOT / __name__.partition(".")[0])
_signer: list[Signer] = []
"""That of the cell which this process runs."""


def as_planned(
    config: Mapping[str, Any], blanked: Mapping[str, Any], signature: str
) -> tuple[dict[str, str], dict[str, bytes]]:
    """Names a cell again, from what is there now, and holds its code as it is.

    Returns:
        Digests of its inputs by name, and its files of code by path.

    Raises:
        UserError: it would be another cell: code, data or weights have changed since it was planned.
    """
    signer = Signer()
    if signer.evaluation(config, signer.training(blanked)) != signature:
        raise UserError(
            "the code, data or weights of this cell have changed since it was planned, so its result would carry the "
            "name of another: give the same command again"
        )
    _signer[:] = [signer]
    code = signer.files(config)
    hold(code)
    return signer.inputs(config), code


def training_name(config: Mapping[str, Any]) -> str:
    """Name of the weights of a base or source of the cell that this process runs."""
    if not _signer:  # a further process of a training
        _signer.append(Signer())
    return _signer[0].training(config)


def uncounted(before: set[str], code: Mapping[str, bytes]) -> dict[str, str]:
    """Own files that a cell loaded and its names do not cover, with digests: it made up their names as it ran.

    Args:
        before: names of modules that were loaded before it began.
        code: files that its names cover.
    """
    found = {path: content for path, content in loaded(before).items() if path not in code}
    own = {spelt(path): content for path, content in sorted(found.items()) if not path.startswith(_OURS)}
    for name in own:
        told = f"{name} was loaded, but no name of a run covers it: import it by name, or edits go unseen"
        print(told, file=sys.stderr, flush=True)
    return {name: hashlib.sha256(content).hexdigest() for name, content in own.items()}
