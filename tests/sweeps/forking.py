"""Runs a function in a process forked from the test's, as the local engine runs a cell."""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

CONTEXT = multiprocessing.get_context("fork")


def in_fork(function: Callable[[], Any]) -> Any:
    """The function's return value; its exception becomes an AssertionError with the child's traceback.

    The child leaves by ``os._exit``, as workers do: nothing at exit can hide a run that was not finished.
    """
    mine, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_work, args=(function, theirs))
    process.start()
    theirs.close()
    assert mine.poll(60), "the forked process did not answer within a minute"
    good, value = mine.recv()
    process.join()
    assert good, value
    return value


def _work(function: Callable[[], Any], pipe: Connection) -> None:
    try:
        pipe.send((True, function()))
    except BaseException:
        pipe.send((False, traceback.format_exc()))
    pipe.close()
    os._exit(0)
