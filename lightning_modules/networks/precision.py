"""In which numbers weights are kept, and in which a network computes: two settings.

``model.weights_dtype`` says how weights lie on disk and how a frozen network is kept. Whatever is trained is kept in 32
bits: a bfloat16 weight has eight bits, so that a step of 5e-7 on a weight of 0.02 is rounded away.
``trainer.precision`` says in which numbers products are computed, in training and in evaluation alike (autocast).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

import torch
from torch import nn

PLUMBING = ("check_precision", "slowdown_on_cpu")
"""What here can change no result: it refuses, or advises."""

WEIGHTS_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Values of ``weights_dtype``."""

Precision = Literal["32-true", "16-mixed", "bf16-mixed"]
"""Lightning's names for what keeps weights in 32 bits."""

_COMPUTED: dict[str, torch.dtype | None] = {"32-true": None, "16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
_HALF = (torch.float16, torch.bfloat16)


def check_precision(name: str) -> None:
    """``ValueError`` for what is no ``trainer.precision``."""
    if name.endswith("-true") and name not in _COMPUTED:
        raise ValueError(
            f"trainer.precision is {name!r}, which would train weights of 16 bits, where small steps are lost: set "
            f"{'bf16-mixed' if name.startswith('bf16') else '16-mixed or 32-true'}, which keeps them in 32"
        )
    if name not in _COMPUTED:
        raise ValueError(f"trainer.precision must be one of {', '.join(_COMPUTED)}, got {name!r}")


def keep_trained_in_32_bits(network: nn.Module) -> None:
    """Raise every weight that is trained to fp32; frozen ones stay as they are, a network without any goes whole."""
    raised = [weight for weight in network.parameters() if weight.requires_grad and weight.dtype in _HALF]
    for weight in raised:
        weight.data = weight.data.float()
    if raised and not any(weight.dtype in _HALF for weight in network.parameters()):
        network.float()  # its buffers


@contextmanager
def computing(network: nn.Module) -> Iterator[None]:
    """Compute meanwhile as ``network.precision`` says; as its weights are where it says nothing."""
    dtype = _COMPUTED[getattr(network, "precision", "32-true")]
    with ExitStack() as stack:
        if dtype is not None:
            for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
                stack.enter_context(torch.autocast(device, dtype=dtype))
        yield


def computed(network: nn.Module) -> dict[str, str]:
    """For the names of stages that hold what a network computed: its precision, where that is not that of weights."""
    name = str(getattr(network, "precision", "32-true"))
    return {} if _COMPUTED[name] is None else {"precision": name}


def slowdown_on_cpu(*, size: int = 512, seconds: float = 0.02) -> float:
    """How many times as long as in fp32 a product of two matrices takes in bfloat16 on this machine's CPU.

    Some have instructions for it and take half the time, others take several times as long: measured in 40 ms.
    """
    fastest: list[float] = []
    for dtype in (torch.float32, torch.bfloat16):
        left = torch.ones(size, size, dtype=dtype)
        torch.mm(left, left)  # libraries set themselves up
        times: list[float] = []
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            begun = time.perf_counter()
            torch.mm(left, left)
            times.append(time.perf_counter() - begun)
        fastest.append(min(times))
    return fastest[1] / fastest[0]


def checked_dtype(name: str, *, key: str) -> torch.dtype:
    """The dtype that a ``weights_dtype`` names. ``ValueError`` by the name of its key."""
    if name not in WEIGHTS_DTYPES:
        raise ValueError(f"{key} must be one of {', '.join(WEIGHTS_DTYPES)}, got {name!r}")
    return WEIGHTS_DTYPES[name]
