"""Checks configs against the constructors that they will reach, before anything is built.

The constructors are the schema (ARCHITECTURE, one-guess rule): a key must be one of their parameters, a value must fit
the parameter's annotation, and what a constructor itself refuses with ``ValueError`` is reported as it says.
"""

from __future__ import annotations

import importlib
import inspect
import json
import multiprocessing
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sweeps.engines.local import preloaded, start_alone
from sweeps.errors import UserError, nearest
from sweeps.signatures.signature import PRESENTATION

_SPLITS = ("train", "dev", "test")


def check(config: Mapping[str, Any]) -> None:
    """Builds the light parts of a cell and throws them away.

    Raises:
        UserError: the first value that does not fit, by its key, with what was wanted.
    """
    from hydra.errors import HydraException

    from lightning_modules.training.fit import check_options, fit
    from sweeps.run import build

    for section in ("data", "method"):
        _check_node(config[section], section)
    given = {"module", "data", "folder", "loggers", "progress", "group"}
    check_arguments(fit, config["trainer"], "trainer", given=given)
    evaluation = config["evaluation"]
    if evaluation["split"] not in _SPLITS:
        raise UserError(f"evaluation.split is {evaluation['split']!r}: {nearest(str(evaluation['split']), _SPLITS)}")
    limit = evaluation["limit"]
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise UserError(f"evaluation.limit is {limit!r}: give a whole number from 1 up, or null for all examples")
    for name, least in (("threads", 1), ("seed", 0)):
        value = config[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise UserError(f"{name} is {value!r}: give a whole number from {least} up")
    try:
        check_options(**config["trainer"])
        build(config)
    except HydraException as error:
        raise UserError(_reason(error)) from error
    except (ValueError, TypeError) as error:
        raise UserError(str(error).split("\n")[0]) from error
    for source in (config.get("sources") or {}).values():
        check({**config, "base": None, "sources": None, **source})
    if config.get("base") is not None:
        check({**config, "base": None, "sources": None, **config["base"]})


def _reason(error: Exception) -> str:
    """What the constructor said, and where it stood."""
    where = ""
    for line in str(error).split("\n"):
        if line.startswith("full_key:"):
            where = line.partition(":")[2].strip()
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = str(cause).split("\n")[0]
    return f"{where}: {text}" if where else text


def _check_node(node: Any, path: str) -> None:
    if isinstance(node, Mapping):
        if "_target_" in node:
            check_arguments(_located(str(node["_target_"]), path), node, path)
        for key, value in node.items():
            _check_node(value, f"{path}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            _check_node(value, f"{path}[{index}]")


def _located(target: str, path: str) -> Callable[..., Any]:
    module, _, name = target.rpartition(".")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{path}._target_ names {target!r}, which is not there ({error})") from error
    return found


def check_arguments(target: Callable[..., Any], node: Mapping[str, Any], path: str, given: Iterable[str] = ()) -> None:
    """Checks one config section against the parameters of the callable that takes it."""
    parameters = inspect.signature(target).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)  # type: ignore[misc]
    accepted = [name for name in parameters if name not in {"self", *given}]
    for key, value in node.items():
        if key.startswith("_") or (key in PRESENTATION and key not in accepted):
            continue
        if key not in accepted:
            raise UserError(f"unknown key {path}.{key}: {nearest(key, accepted)}")
        if key in hints and not fits(value, hints[key]):
            raise UserError(f"{path}.{key} is {value!r}: it takes {spelt(hints[key])}")
    for name in accepted:
        # A function that a config only binds some arguments of gets the others (tensors) when it is called.
        if parameters[name].default is inspect.Parameter.empty and name not in node and not node.get("_partial_"):
            raise UserError(f"{path}.{name} is missing: give {path}.{name}=...")


def spelt(hint: Any) -> str:
    """An annotation as a person would say it: the options of a Literal, the parts of a union, null for None."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(str(argument) for argument in arguments)
    if origin is typing.Union or type(hint).__name__ == "UnionType":
        return " or ".join(spelt(argument) for argument in arguments)
    if hint is type(None):
        return "null"
    return hint.__name__ if isinstance(hint, type) and not arguments else str(hint).replace("typing.", "")


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value fits an annotation, as far as plain values can tell; objects to be built pass."""
    if isinstance(value, Mapping) and "_target_" in value:
        return True
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return value in arguments
    if origin is typing.Union or type(hint).__name__ == "UnionType":
        return any(fits(value, argument) for argument in arguments)
    if hint is None or hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, bool):
        return isinstance(value, hint)
    if isinstance(origin or hint, type) and issubclass(origin or hint, (list, tuple)):
        return isinstance(value, (list, tuple))
    if isinstance(origin, type) and issubclass(origin, typing.cast(type, Mapping)):
        return isinstance(value, Mapping)
    if origin is not None and str(origin).startswith("collections.abc.Sequence"):
        return isinstance(value, (list, tuple))
    return True


def _check_all(configs: list[Mapping[str, Any]], connection: Any) -> None:
    try:
        for config in configs:
            check(config)
        connection.send(None)
    except UserError as error:
        connection.send(str(error))


def check_in_worker(configs: Iterable[Mapping[str, Any]]) -> None:
    """Like ``check`` for many configs, in a process forked from the warm server: the caller never imports torch.

    Configs that differ in their seed alone are checked once.
    """
    distinct = {
        json.dumps(
            {key: value for key, value in config.items() if key not in ("seed", "logger", "engine")}, sort_keys=True
        ): config
        for config in configs
    }
    if not distinct:
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(preloaded(next(iter(distinct.values()))))
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_check_all, args=(list(distinct.values()), sender), name="check")
    start_alone(process)
    sender.close()
    try:
        fault = receiver.recv()
    except EOFError:
        fault = "the configs could not be checked: the checking process died; run one cell by hand to see why"
    process.join()
    if fault:
        raise UserError(fault)
