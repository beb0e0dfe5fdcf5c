"""Asking a training to end early: it finishes the step that it is in, writes a checkpoint and raises ``Stopped``.

Only between two steps is there a state from which a training goes on to the same bits, so whoever wants its process
asks here instead of breaking it off, and ``fitting.fit`` looks after every step. Signal handlers call this: it takes no
lock and imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

PLUMBING = ("*",)
"""All here can change no result: a training that was stopped goes on from its checkpoint to the same bits."""


class Stopped(BaseException):
    """A training ended early, as it was asked to, with a checkpoint of its last step.

    Attributes:
        step, total: optimiser steps done, and those of the whole training.
    """

    def __init__(self, step: int, total: int) -> None:
        super().__init__(f"stopped after step {step} of {total}, with a checkpoint of it")
        self.step, self.total = step, total


class _State:
    running = 0
    asked = False
    taken = False


def ask() -> bool:
    """Ask the training of this process to stop. False, and nothing is asked, where none runs."""
    _State.asked = _State.running > 0
    return _State.asked


def asked() -> bool:
    """Whether the training is to stop now; called by the training, which from then on writes its checkpoint."""
    _State.taken = _State.asked
    return _State.asked


def taken() -> bool:
    """Whether a training that was asked to stop has come to the end of its step and writes its checkpoint."""
    return _State.running > 0 and _State.taken


@contextmanager
def heeded() -> Iterator[None]:
    """While the block runs, ``ask`` finds a training that will stop."""
    _State.running += 1
    try:
        yield
    finally:
        _State.running -= 1
        _State.asked = _State.taken = False
