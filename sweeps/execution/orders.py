"""Orders to go: what a signal of a person, a terminal or a scheduler makes of this process.

The first order lets a training finish its step and write a checkpoint (``lightning_modules.training.stopping``).
Elsewhere it raises ``Preempted`` where the process stands, except in a driver, which looks for it when it holds no
cell half started (``deferred``). A second Ctrl-C ends all at once; whoever sends SIGTERM twice has SIGKILL for that,
and some send it twice for once. Signals that were ignored when this process began stay ignored, as ``nohup`` wants it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from lightning_modules.training import stopping
from sweeps.execution.failures import Preempted

SIGNALS = {
    signal.SIGINT: "the process was interrupted (Ctrl-C)",
    signal.SIGTERM: "the process was told to end (SIGTERM)",
    signal.SIGHUP: "the terminal was closed (SIGHUP)",
}
"""Signals that are orders, with the reason that is recorded."""

PATIENCE = 20.0
"""Seconds that a training gets for the step that it is in; afterwards it is broken off."""

_AGAIN = 0.2
"""Seconds within which a second Ctrl-C is the first: terminals and wrappers such as ``timeout`` both send it."""


class Order(NamedTuple):
    """An order: its reason, the exit status of a process that obeys, when it came."""

    reason: str
    status: int
    at: float


class _State:
    order: Order | None = None
    last_words: Callable[[Order], None] | None = None
    deferred = False
    listeners = 0
    obeyed = False
    overdue = False


def given() -> Order | None:
    """The order that this process was given, since the newest cell began in it."""
    return _State.order


def forget() -> None:
    """Begins anew: an order to an earlier cell of this process says nothing of the next one."""
    _State.order = None
    _State.obeyed = _State.overdue = False


def obeyed() -> None:
    """Says that the order has had its effect, so that nobody is reminded of it."""
    _State.obeyed = True


def obey() -> None:
    """Raises ``Preempted`` where an order was given that has had no effect yet."""
    if _State.order is not None:
        raise Preempted(_State.order.reason)


def give(reason: str, number: int) -> None:
    """Gives an order to this process; for handlers of the signal ``number``.

    Raises:
        Preempted: where this process stands, unless it is to finish something first.
    """
    first = _State.order
    if first is None:
        _State.order = Order(reason, 128 + number, time.monotonic())
        if not stopping.ask() and not _State.deferred:
            raise Preempted(reason)
    elif _State.overdue:
        _State.overdue = False
        # Lost in code that drops exceptions, or a step takes too long. A checkpoint that is written takes its time.
        if not (_State.obeyed or _State.deferred or stopping.taken()):
            raise Preempted(first.reason)
    elif number == signal.SIGINT and time.monotonic() - first.at > _AGAIN:
        _end_at_once(first)


def _end_at_once(order: Order) -> None:
    if _State.last_words is None:
        let_go()
        raise Preempted(order.reason)
    with contextlib.suppress(Exception):
        _State.last_words(order)
    line = b"papergrid: ended at once; the same command goes on from the newest checkpoint\n"
    with contextlib.suppress(OSError):
        os.write(2, line)
    os._exit(order.status)


def let_go() -> None:
    """Gives the signals their default action back: the next one ends this process without a word."""
    for number in SIGNALS:
        if signal.getsignal(number) is _handle:
            signal.signal(number, signal.SIG_DFL)


def _handle(number: int, _: Any) -> None:
    give(SIGNALS[signal.Signals(number)], number)


@contextmanager
def listening(last_words: Callable[[Order], None] | None = None) -> Iterator[None]:
    """While the block runs, signals are orders. Does nothing outside of the main thread, which alone may do it.

    The process is reminded of an order that has had no effect for ``PATIENCE`` seconds.

    Args:
        last_words: of a process that runs a cell, before it ends at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept: dict[int, Any] = {}
    outer = _State.last_words, _State.deferred
    _State.last_words, _State.deferred = last_words, False
    over = threading.Event()
    _State.listeners += 1
    if _State.listeners == 1:
        forget()
        threading.Thread(target=_remind, args=(over,), name="orders", daemon=True).start()
    try:
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                kept[number] = signal.signal(number, _handle)
        yield
    finally:
        over.set()
        _State.listeners -= 1
        _State.last_words, _State.deferred = outer
        for one, handler in kept.items():
            if signal.getsignal(one) != signal.SIG_DFL:  # else let go of: this process ends, and must not say why
                signal.signal(one, handler)


@contextmanager
def deferred() -> Iterator[None]:
    """While the block runs, a first order raises nothing: ``obey`` does, where the block can be left."""
    outer, _State.deferred = _State.deferred, True
    try:
        yield
    finally:
        _State.deferred = outer


def _remind(over: threading.Event) -> None:
    main = threading.main_thread().ident
    reminded = 0.0
    # No timer that a handler would start: the main thread may hold any lock when a signal comes.
    while main is not None and not over.wait(1.0):
        order = _State.order
        if order and not _State.obeyed and time.monotonic() - max(order.at, reminded) > PATIENCE:
            reminded = time.monotonic()
            _State.overdue = True
            signal.pthread_kill(main, order.status - 128)


def complain(error: BaseException) -> int:
    """Says in one line why this process ends and how to go on; returns its exit status. For the command line's end."""
    let_go()
    obeyed()
    order = _State.order
    reason = str(error) or (order.reason if order else SIGNALS[signal.SIGINT])
    kept = "there" if "with a checkpoint" in reason else "the newest checkpoints; what was finished is kept"
    with contextlib.suppress(OSError):  # the terminal may have gone
        print(f"papergrid: {reason}; the same command goes on from {kept}", file=sys.stderr, flush=True)
    return order.status if order else 128 + signal.SIGINT
